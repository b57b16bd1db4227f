//! Work on a volume's files without a mount.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// `import`
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// A file or a directory outside the store
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// Where it goes; a directory's contents go into it [default: / for a directory, /NAME for a file]
    #[arg(value_name = "DEST")]
    pub(crate) dest: Option<OsString>,
}

/// `export`
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME
    #[arg(value_name = "VIEW")]
    pub(crate) view: String,
    /// The path in the view
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Where it goes, outside the store; - writes a file to standard output
    #[arg(value_name = "DEST")]
    pub(crate) dest: PathBuf,
    /// Replace DEST where it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// `ls`
#[derive(Args, Debug)]
pub(crate) struct Ls {
    /// VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME
    #[arg(value_name = "VIEW")]
    pub(crate) view: String,
    /// The path in the view
    #[arg(value_name = "PATH", default_value = "/", hide_default_value = true)]
    pub(crate) path: OsString,
    /// Modes, owners, sizes and times
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Directories below it too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// `cat`
#[derive(Args, Debug)]
pub(crate) struct Cat {
    /// VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME
    #[arg(value_name = "VIEW")]
    pub(crate) view: String,
    /// The file's path in the view
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
}

/// `stat`
#[derive(Args, Debug)]
pub(crate) struct Stat {
    /// VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME
    #[arg(value_name = "VIEW")]
    pub(crate) view: String,
    /// The path in the view
    #[arg(value_name = "PATH", default_value = "/", hide_default_value = true)]
    pub(crate) path: OsString,
}

/// `write`
#[derive(Args, Debug)]
pub(crate) struct Write {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The file's path; made where it does not exist
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Where in the file the first byte goes, in bytes
    #[arg(long, value_name = "N", value_parser = super::size)]
    pub(crate) offset: u64,
    /// Where the bytes come from [default: standard input]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

/// `rm`
#[derive(Args, Debug)]
pub(crate) struct Rm {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// What to remove
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
    /// Directories with all that is in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

/// `mkdir`
#[derive(Args, Debug)]
pub(crate) struct Mkdir {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The new directories
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<OsString>,
    /// Make missing parents too, and accept what exists
    #[arg(short, long)]
    pub(crate) parents: bool,
}

/// `mv`
#[derive(Args, Debug)]
pub(crate) struct Mv {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The path it has
    #[arg(value_name = "FROM")]
    pub(crate) from: OsString,
    /// The path it gets; into it, where that is a directory
    #[arg(value_name = "TO")]
    pub(crate) to: OsString,
    /// Refuse where TO exists
    #[arg(long)]
    pub(crate) no_replace: bool,
    /// Exchange the two
    #[arg(long, conflicts_with = "no_replace")]
    pub(crate) exchange: bool,
}

/// `truncate`
#[derive(Args, Debug)]
pub(crate) struct Truncate {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The file's path
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// The new size, in bytes or as 64KiB
    #[arg(long, value_name = "SIZE", value_parser = super::size)]
    pub(crate) size: u64,
}
