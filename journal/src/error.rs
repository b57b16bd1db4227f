//! One error type: a small stable kind to match on, the context, and the source. The kind maps to errno in one table.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use crate::recovery::Damage;

/// What the caller of [`Journal::open`](crate::Journal::open) may stop the opening with.
pub type VisitError = Box<dyn std::error::Error + Send + Sync>;

/// The stable kind of an [`Error`].
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// No store lies there.
    NotAStore,
    /// A store lies there already.
    Exists,
    /// The store was written by a newer release.
    NewerFormat,
    /// Another process holds the store.
    Locked,
    /// No room is left; nothing was changed.
    NoSpace,
    /// An earlier write or flush failed; the store must be reopened.
    Poisoned,
    /// Acknowledged records are damaged or missing.
    Damaged,
    /// The place where reading was to begin is not in this journal.
    BadStart,
    /// A segment was given back: what is left of it is its events; or events moved away meanwhile.
    Gone,
    /// The journal was opened for reading, or is closed.
    ReadOnly,
    /// A record, a command or an option beyond its limit.
    TooLarge,
    /// A call that breaks the rules of the interface.
    Misuse,
    /// The caller's visitor stopped the opening.
    Visit,
    /// The disk failed.
    Io,
}

impl Kind {
    /// The error number that stands for this kind.
    pub fn errno(self) -> i32 {
        let errno = match self {
            Kind::NotAStore => Errno::NOENT,
            Kind::Exists => Errno::EXIST,
            Kind::NewerFormat => Errno::PROTONOSUPPORT,
            Kind::Locked => Errno::BUSY,
            Kind::NoSpace => Errno::NOSPC,
            Kind::Poisoned | Kind::Io | Kind::Visit => Errno::IO,
            Kind::Damaged | Kind::BadStart => Errno::UCLEAN,
            Kind::Gone => Errno::STALE,
            Kind::ReadOnly => Errno::ROFS,
            Kind::TooLarge => Errno::FBIG,
            Kind::Misuse => Errno::INVAL,
        };
        errno.raw_os_error()
    }
}

/// Who holds a store's lock, as far as it said.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Holder {
    /// Process id, if known.
    pub pid: Option<u32>,
    /// When the lock was taken, in seconds since the Unix epoch, if known.
    pub since: Option<u64>,
    /// The command line, cut to a few hundred characters; may be empty.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => write!(f, "another process")?,
        }
        if !self.command.is_empty() {
            write!(f, " ({})", self.command)?;
        }
        Ok(())
    }
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory holds no store, or its `STORE` file is not one.
    #[error("no store here: {reason}")]
    NotAStore {
        /// What was found instead.
        reason: String,
    },
    /// Creation where a store, or the rest of one, lies.
    #[error("a store lies here already: {reason}")]
    Exists {
        /// What was found.
        reason: String,
    },
    /// The format's version is above the one known.
    #[error("the store has format {found}, this release knows {known}")]
    NewerFormat {
        /// The version found.
        found: u16,
        /// The newest version known.
        known: u16,
    },
    /// The lock was not to be had in the time given.
    #[error("the store is in use by {holder}")]
    Locked {
        /// Who has it.
        holder: Holder,
    },
    /// The command does not fit. Nothing was changed.
    #[error(
        "no space: the command needs {needed} blocks in new segments, and the journal cannot grow by them"
    )]
    NoSpace {
        /// Blocks in segments still to be made.
        needed: u64,
        /// What the disk said, if it was the disk.
        #[source]
        source: Option<io::Error>,
    },
    /// A write or flush failed earlier; nothing placed since is known to be durable.
    #[error("the journal stopped after a failed write: {cause}")]
    Poisoned {
        /// What failed.
        #[source]
        cause: Arc<Error>,
    },
    /// The thread that was flushing panicked.
    #[error("the thread that was flushing the journal panicked")]
    LeaderDied,
    /// Acknowledged records are damaged: the journal opens for reading only.
    #[error("{0}")]
    Damaged(Damage),
    /// A [`Start`](crate::Start) that does not match this journal.
    #[error(
        "the journal does not hold the place to begin at (segment {segment}, block {block}): {reason}"
    )]
    BadStart {
        /// The segment named.
        segment: u64,
        /// The block named.
        block: u32,
        /// What was found there.
        reason: String,
    },
    /// The file `journal/HORIZON` is not as it was written.
    #[error("the file journal/HORIZON is damaged: {reason}")]
    Horizon {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A segment's file was given back: its blocks and leaves cannot be read any more, its events stand in its archive.
    #[error("the blocks of segment {segment} are gone: its space was given back")]
    Gone {
        /// The segment.
        segment: u64,
    },
    /// What was to be read lies before the horizon by now: it moved away while it was read.
    #[error("the records before number {before} have moved away meanwhile")]
    Moved {
        /// The first record that is still there.
        before: u64,
    },
    /// A change was asked of a journal opened for reading, or closed.
    #[error("the journal is {state}")]
    ReadOnly {
        /// "open for reading only" or "closed".
        state: &'static str,
    },
    /// Something above its limit.
    #[error("{what} is too large: {size}, at most {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A call that breaks the rules of the interface.
    #[error("{0}")]
    Misuse(String),
    /// The visitor stopped the opening.
    #[error("opening was stopped: {0}")]
    Visit(#[source] VisitError),
    /// The disk failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: "read", "write", "flush" …
        action: &'static str,
        /// The file, relative to the store's directory.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The stable kind.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotAStore { .. } => Kind::NotAStore,
            Error::Exists { .. } => Kind::Exists,
            Error::NewerFormat { .. } => Kind::NewerFormat,
            Error::Locked { .. } => Kind::Locked,
            Error::NoSpace { .. } => Kind::NoSpace,
            Error::Poisoned { .. } | Error::LeaderDied => Kind::Poisoned,
            Error::Damaged(_) | Error::Horizon { .. } => Kind::Damaged,
            Error::Gone { .. } | Error::Moved { .. } => Kind::Gone,
            Error::BadStart { .. } => Kind::BadStart,
            Error::ReadOnly { .. } => Kind::ReadOnly,
            Error::TooLarge { .. } => Kind::TooLarge,
            Error::Misuse(_) => Kind::Misuse,
            Error::Visit(_) => Kind::Visit,
            Error::Io { .. } => Kind::Io,
        }
    }

    /// The error number that stands for it.
    pub fn errno(&self) -> i32 {
        self.kind().errno()
    }

    /// Whether the disk could not give what lies there. What it could not take is another matter.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Error::Io { action: "read", .. })
    }

    pub(crate) fn io(action: &'static str, path: &str, source: io::Error) -> Error {
        Error::Io {
            action,
            path: if path.is_empty() {
                "the store's directory".into()
            } else {
                path.into()
            },
            source,
        }
    }
}
