//! `quota …`.

use clap::{Args, Subcommand, ValueEnum};

/// `quota`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// Without a verb: show
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// The verbs of `quota`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Set limits, and enforce them
    #[command(after_help = "Example:\n  strand quota set pg --hard 10GiB --soft 8GiB")]
    Set(Set),
    /// Limits, and what is used of them
    #[command(after_help = "Example:\n  strand quota show pg")]
    Show(Show),
    /// Enforce the limits that are set
    #[command(after_help = "Example:\n  strand quota set pg --hard 1GiB && strand quota on pg")]
    On(Volume),
    /// Keep the limits, and enforce none
    #[command(after_help = "Example:\n  strand quota off pg")]
    Off(Volume),
}

/// `quota set`
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// What its checkpoints may own at most, or none
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    pub(crate) hard: Option<Limit>,
    /// Above this no new checkpoint is taken, or none
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    pub(crate) soft: Option<Limit>,
    /// What happens at the hard limit [default: drop]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_full: Option<OnFull>,
}

/// `quota show`
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The volume [default: all]
    #[arg(value_name = "VOL")]
    pub(crate) volume: Option<String>,
}

/// One volume.
#[derive(Args, Debug)]
pub(crate) struct Volume {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
}

/// A limit in bytes, or that there is none.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Limit(pub(crate) Option<u64>);

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    super::size(text).map(|bytes| Limit(Some(bytes)))
}

/// What happens at the hard limit.
#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OnFull {
    /// Removable checkpoints go, then images; writes go on
    Drop,
    /// Checkpoints stay, writes fail
    FailWrites,
}
