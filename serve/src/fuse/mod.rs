//! The one place that knows the kernel's protocol and the crate that speaks it: requests are decoded here and carried out in `mounted`,
//! replies and notifications go out from here.

mod answers;
mod convert;
mod filesystem;
mod listing;
mod notify;
mod session;

pub(crate) use notify::Caches;
pub(crate) use session::{Place, serve, unmount};
