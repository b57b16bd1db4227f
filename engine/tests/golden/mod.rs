//! What the goldens of events are made of: samples of every kind, the greatest event of every kind, a scripted history.

mod greatest;
pub(crate) mod history;
mod samples;

pub(crate) use greatest::greatest;
pub(crate) use samples::samples;

use strand_engine::Bytes;

/// Bytes of a text.
pub(crate) fn b(text: &str) -> Bytes {
    text.as_bytes().into()
}
