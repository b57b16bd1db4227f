//! What can go wrong with a store: a refusal, the journal's trouble, or damage.

use crate::damage::Damage;
use crate::refusal::{Kind, Refusal};
use std::fmt;
use strand_journal::{Error as JournalError, Kind as JournalKind};

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// `decide` said no; nothing changed.
    Refused(Refusal),
    /// The journal failed, or said no.
    Journal(JournalError),
    /// Stored bytes are wrong.
    Damage(Damage),
}

impl Error {
    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Error::Refused(refusal) => refusal.kind,
            Error::Damage(_) => Kind::Damaged,
            Error::Journal(error) => match error.kind() {
                JournalKind::NotAStore => Kind::NotAStore,
                JournalKind::Exists => Kind::Exists,
                JournalKind::NewerFormat => Kind::NewerFormat,
                JournalKind::Locked => Kind::Locked,
                JournalKind::NoSpace => Kind::NoSpace,
                JournalKind::Poisoned => Kind::Poisoned,
                JournalKind::Damaged | JournalKind::BadStart => Kind::Damaged,
                JournalKind::Misuse => Kind::Invalid,
                JournalKind::ReadOnly => Kind::ReadOnly,
                JournalKind::TooLarge => Kind::TooLarge,
                JournalKind::Gone => Kind::Stale,
                _ => of_the_system(error),
            },
        }
    }

    /// The three lines that a person reads.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Error::Refused(refusal) => refusal.clone(),
            Error::Damage(damage) => Refusal::new(Kind::Damaged, "stored bytes are damaged")
                .why(damage.to_string())
                .next("strand verify --data says what else is; do not write to the store before"),
            Error::Journal(error) => {
                let kind = self.kind();
                let (message, next) = match kind {
                    Kind::Damaged if matches!(error, JournalError::Horizon { .. }) => (
                        "nobody knows where the journal begins",
                        "copy journal/HORIZON from a backup made since events last moved away",
                    ),
                    Kind::Stale if matches!(error, JournalError::Moved { .. }) => (
                        "older events moved away while they were read",
                        "run it again: it then begins with those that are there",
                    ),
                    Kind::Stale => (
                        "what was read is not there any more",
                        "open the view again, or read the live volume",
                    ),
                    Kind::Invalid => (
                        "that cannot be done",
                        "where it was not asked for like that, it is a fault of strand: please report it",
                    ),
                    Kind::NotAStore => ("this is not a store", "strand init DIR makes one"),
                    Kind::NewerFormat => (
                        "the store was written by a newer strand",
                        "use a newer strand",
                    ),
                    Kind::Locked => (
                        "the store is in use",
                        "wait for it to end, or give --lock-timeout more seconds",
                    ),
                    Kind::NoSpace => (
                        "the store is full",
                        "give it more room, or remove checkpoints: strand checkpoint list",
                    ),
                    Kind::Poisoned => (
                        "the store cannot be written any more",
                        "see to the disk, then open the store again",
                    ),
                    Kind::Damaged => (
                        "the journal is damaged",
                        "strand verify --data says how far; reading still works",
                    ),
                    Kind::ReadOnly => (
                        "the store can only be read",
                        "open it for writing, on a file system that can be written",
                    ),
                    Kind::Permission => (
                        "the store may not be used by this user",
                        "run it as the owner of the store's directory",
                    ),
                    Kind::Exists => ("there is a store already", "choose another directory"),
                    Kind::TooLarge => ("the command is too large", "do it in smaller parts"),
                    _ => ("the disk failed", "see to the disk, then try again"),
                };
                Refusal::new(kind, message)
                    .why(error.to_string())
                    .next(next)
            }
        }
    }
}

/// What the operating system's refusal of a call means here.
fn of_the_system(error: &JournalError) -> Kind {
    use std::io::ErrorKind;
    let JournalError::Io { source, .. } = error else {
        return Kind::Io;
    };
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::NoSpace,
        ErrorKind::PermissionDenied => Kind::Permission,
        ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        _ => Kind::Io,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refusal) => refusal.fmt(f),
            Error::Journal(error) => error.fmt(f),
            Error::Damage(damage) => damage.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Refused(refusal) => Some(refusal),
            Error::Journal(error) => Some(error),
            Error::Damage(damage) => Some(damage),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::Refused(refusal)
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Error::Journal(error)
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Error::Damage(damage)
    }
}
