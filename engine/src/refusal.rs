//! What `decide` says when it says no: a stable kind to match on, and what a person needs to go on.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $errno:literal, $exit:literal;)*) => {
        /// The stable kind of a refusal or failure. The one table that maps it to its name, its errno and its exit code is here.
        #[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &[Kind] = &[$(Kind::$variant,)*];

            /// The stable name, as `--json` prints it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// The errno that a mount answers (Linux numbers).
            #[must_use]
            pub fn errno(self) -> i32 {
                match self { $(Kind::$variant => $errno,)* }
            }

            /// The exit code of the command line.
            #[must_use]
            pub fn exit_code(self) -> u8 {
                match self { $(Kind::$variant => $exit,)* }
            }
        }
    };
}

kinds! {
    /// No such volume, checkpoint, file, attribute or position.
    NotFound => "not-found", 2, 1;
    /// The name is taken.
    Exists => "exists", 17, 1;
    /// A path component is not a directory.
    NotADirectory => "not-a-directory", 20, 1;
    /// A file was asked for, a directory stands there.
    IsADirectory => "is-a-directory", 21, 1;
    /// The directory is not empty.
    NotEmpty => "not-empty", 39, 1;
    /// A name breaks the rules for names.
    InvalidName => "invalid-name", 22, 1;
    /// A file name is longer than 255 bytes, or a path or target too long.
    NameTooLong => "name-too-long", 36, 1;
    /// An argument makes no sense (a range, a kind of file, a combination).
    Invalid => "invalid", 22, 1;
    /// A size or offset is beyond what a file can have.
    TooLarge => "too-large", 27, 1;
    /// A directory cannot move into itself, a link would cross volumes, too many links.
    CrossLink => "cross-link", 18, 1;
    /// There is no room; nothing was changed.
    NoSpace => "no-space", 28, 1;
    /// A checkpoint is held, or open files stand in the way.
    Busy => "busy", 16, 4;
    /// The request is not allowed on this object (its kind or a flag forbids it).
    NotAllowed => "not-allowed", 1, 1;
    /// The caller has no permission.
    Permission => "permission", 13, 1;
    /// What was meant is no longer there (rolled back, expired).
    Stale => "stale", 116, 1;
    /// A view outside the reachable range, or in the future.
    OutOfRange => "out-of-range", 34, 1;
    /// Nothing to undo or redo.
    NothingToUndo => "nothing-to-undo", 61, 1;
    /// The operation needs a confirmation that was not given.
    Unconfirmed => "unconfirmed", 125, 1;
    /// Not supported for this kind of object.
    Unsupported => "unsupported", 95, 1;
    /// The command line was wrong.
    Usage => "usage", 22, 2;
    /// Stored bytes are wrong.
    Damaged => "damaged", 5, 3;
    /// The journal was poisoned by a failed write or flush; reopen the store.
    Poisoned => "poisoned", 5, 1;
    /// The path is not a store.
    NotAStore => "not-a-store", 22, 1;
    /// The store was written by a newer program.
    NewerFormat => "newer-format", 95, 1;
    /// Another process holds the store.
    Locked => "locked", 11, 4;
    /// The store, or its directory, can only be read.
    ReadOnly => "read-only", 30, 1;
    /// The operating system failed a call.
    Io => "io", 5, 1;
    /// Interrupted by a signal.
    Interrupted => "interrupted", 4, 130;
    /// A volume's checkpoints own as much as their quota allows.
    OverQuota => "over-quota", 122, 1;
}

/// Why a command was refused, in the three lines of the contract: what was asked, what stands in the way, what to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The stable kind.
    pub kind: Kind,
    /// What was asked and did not happen, without a full stop.
    pub message: String,
    /// What stands in the way.
    pub why: Option<String>,
    /// What to do next.
    pub next: Option<String>,
}

impl Refusal {
    /// A refusal with its first line.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            why: None,
            next: None,
        }
    }

    /// Adds what stands in the way.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
