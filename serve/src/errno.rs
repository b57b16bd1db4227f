//! What a mount answers: the engine's refusals as the system's numbers.

use rustix::io::Errno;
use strand_engine::{Error, Kind};

/// A result that a mount can answer.
pub(crate) type Answer<T> = Result<T, Errno>;

/// The number of a refusal or failure, by the one table in [`Kind`].
pub(crate) fn errno(error: &Error) -> Errno {
    let kind = error.kind();
    if matches!(kind, Kind::Damaged | Kind::Io) {
        tracing::error!(%error, "a request of a mount failed");
    }
    Errno::from_raw_os_error(kind.errno())
}
