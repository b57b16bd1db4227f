//! Commands on the store as a whole, and on the program itself.

use clap::Args;
use clap_complete::Shell;
use std::path::PathBuf;

/// `demo`
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Keep the store in this new directory
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// `init`
#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The new store's directory: new or empty
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Size of a journal segment, a power of two from 64KiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = super::size)]
    pub(crate) segment_size: u64,
    /// The journal never takes more than this [default: what the disk has]
    #[arg(long, value_name = "SIZE", value_parser = super::size)]
    pub(crate) capacity: Option<u64>,
}

/// `doctor`
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Where a store is, or shall be [default: the store]
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `completions`
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}

/// `man`
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The directory; made where it does not exist
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// `help`
#[derive(Args, Debug)]
pub(crate) struct Help {
    /// views, time, space, exit-codes, events, rollback, live, classic, or a command
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Vec<String>,
}
