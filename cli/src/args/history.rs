//! Going back, and looking back.

use clap::Args;
use std::ffi::OsString;

/// `versions`
#[derive(Args, Debug)]
pub(crate) struct Versions {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The file's path
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
}

/// `rollback`
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The volume [default: every member volume of the checkpoint]
    #[arg(value_name = "VOL")]
    pub(crate) volume: Option<String>,
    /// The image: CHECKPOINT, seq:N or TIME
    #[arg(long, value_name = "IMAGE")]
    pub(crate) to: String,
    /// Only this file or tree; give it again for more
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "volume")]
    pub(crate) file: Vec<OsString>,
    /// Mode, owner, times and extended attributes of files that still live too
    #[arg(long, requires = "file")]
    pub(crate) attributes: bool,
    /// Delete files that the image does not have
    #[arg(long, requires = "file")]
    pub(crate) delete_new: bool,
    /// Only VOL, although the checkpoint has other member volumes
    #[arg(long, requires = "volume")]
    pub(crate) only: bool,
    /// Although files are open for writing on a mount: those handles become stale
    #[arg(long)]
    pub(crate) force: bool,
    /// Print the numbers, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `undo`, `redo`
#[derive(Args, Debug)]
pub(crate) struct Undo {
    /// The latest change that concerns this volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: Option<String>,
    /// Even where that change concerns other volumes too: for all of them
    #[arg(long, requires = "volume")]
    pub(crate) all: bool,
    /// Although files are open for writing on a mount: those handles become stale
    #[arg(long)]
    pub(crate) force: bool,
}

/// `log`
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// Of this volume
    #[arg(long, value_name = "VOL")]
    pub(crate) volume: Option<String>,
    /// Of this file or directory entry
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<OsString>,
    /// Of this block of the file
    #[arg(long, value_name = "N", requires = "path")]
    pub(crate) block: Option<u64>,
    /// Not before this time (strand help time), or this position: seq:N
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// By this actor: a part of its name, or its pid or uid
    #[arg(long, value_name = "WHO")]
    pub(crate) actor: Option<String>,
    /// Of this kind of event; give it again for more (strand help events)
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<String>,
    /// What passed to, or befell, this checkpoint
    #[arg(long, value_name = "NAME")]
    pub(crate) checkpoint: Option<String>,
    /// Every event by itself
    #[arg(long)]
    pub(crate) events: bool,
    /// Go on with what happens next, until interrupted
    #[arg(long, conflicts_with = "expand")]
    pub(crate) follow: bool,
    /// List the blocks of the bulk movement with this number
    #[arg(long, value_name = "SEQ")]
    pub(crate) expand: Option<u64>,
    /// At most so many rows [default: all; 10 with --follow]
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub(crate) lines: Option<usize>,
}

/// `replay`
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// Up to this position: seq:N or TIME
    #[arg(long, value_name = "VIEW")]
    pub(crate) to: Option<String>,
    /// Compare with every digest recorded in the journal; exit 3 where one differs
    #[arg(long)]
    pub(crate) check: bool,
}

/// `verify`
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Read every block too
    #[arg(long)]
    pub(crate) data: bool,
    /// What strand anchor printed once: nothing before it was altered
    #[arg(long, value_name = "SEQ:HASH")]
    pub(crate) anchor: Option<String>,
}
