//! `space …`: what will be needed.

use clap::{Args, Subcommand};

/// `space`.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs of `space`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How much of a volume changes within a time, by the recorded journal
    #[command(after_help = "Example:\n  strand space forecast pg --for 3h")]
    Forecast(Forecast),
}

/// `space forecast`
#[derive(Args, Debug)]
pub(crate) struct Forecast {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// The time: 90s, 15m, 3h, 2d
    #[arg(long = "for", value_name = "TIME", value_parser = super::schedule::time)]
    pub(crate) window: u64,
}
