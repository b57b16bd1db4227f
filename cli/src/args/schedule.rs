//! `schedule …` and `retention …`: what happens by the clock.

use clap::{Args, Subcommand};
use strand_engine::Keep;
use strand_engine::parse_duration;
use strand_engine::schedule::parse_keep;

/// `schedule`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// Without a verb: show
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// The verbs of `schedule`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Take checkpoints of a volume by the clock, and thin them out
    #[command(
        after_help = "KEEP is AGE:HOW,AGE:HOW…: up to that age all of them are kept, or one a minute, an hour,\na day, a week (minutely, hourly, daily, weekly) or any time (30m). Older ones go.\n\nA daemon runs it (strand serve); at rest nothing is taken.\n\nExample:\n  strand schedule set pg --every 15m --keep 4h:all,2d:hourly,30d:daily"
    )]
    Set(Set),
    /// Schedules, and what they have taken
    #[command(after_help = "Example:\n  strand schedule show")]
    Show(Show),
    /// End a schedule; the checkpoints that it took stay
    #[command(after_help = "Example:\n  strand schedule clear pg")]
    Clear(Volume),
    /// The space that a schedule would have taken, by the recorded journal
    #[command(
        after_help = "Example:\n  strand schedule plan pg --every 15m --keep 4h:all,2d:hourly,30d:daily"
    )]
    Plan(Set),
}

/// `schedule set`, `schedule plan`
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// Time between two checkpoints: 90s, 15m, 1h
    #[arg(long, value_name = "TIME", value_parser = every)]
    pub(crate) every: u64,
    /// What is kept up to which age
    #[arg(long, value_name = "KEEP", value_parser = keep)]
    pub(crate) keep: Kept,
}

/// What a schedule keeps.
#[derive(Clone, Debug)]
pub(crate) struct Kept(pub(crate) Vec<Keep>);

/// `schedule show`, `retention show`
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

/// `retention`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct RetentionNoun {
    /// Without a verb: show
    #[command(subcommand)]
    pub(crate) verb: Option<RetentionVerb>,
}

/// The verbs of `retention`.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionVerb {
    /// Set how far back every commit of a volume can be viewed
    #[command(
        after_help = "Where space runs out the window gives way first. Checkpoints are not part of it: they stay.\n\nExample:\n  strand retention set pg --keep 48h --keep 10GiB --yes"
    )]
    Set(RetentionSet),
    /// History windows, and how far back they reach now
    #[command(after_help = "Example:\n  strand retention show pg")]
    Show(Show),
}

/// `retention set`
#[derive(Args, Debug)]
pub(crate) struct RetentionSet {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// A time (24h), or a size written since (10GiB); both: whichever is reached first; default: 24h or a tenth of the capacity
    #[arg(long, value_name = "HOW MUCH", required = true, value_parser = limit)]
    pub(crate) keep: Vec<Limit>,
}

/// One limit of a history window.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Limit {
    /// ns
    Age(u64),
    /// Bytes
    Bytes(u64),
    /// As if nothing were set.
    Default,
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "default" {
        return Ok(Limit::Default);
    }
    if let Ok(age) = parse_duration(text) {
        return Ok(Limit::Age(age));
    }
    super::size(text)
        .map(Limit::Bytes)
        .map_err(|_| format!("{text:?} is neither a time nor a size: write 24h, 7d or 10GiB"))
}

fn every(text: &str) -> Result<u64, String> {
    match parse_duration(text)? {
        0 => Err("at least a second lies between two".into()),
        every => Ok(every),
    }
}

fn keep(text: &str) -> Result<Kept, String> {
    parse_keep(text).map(Kept)
}

/// For clap: a stretch of time, in ns.
pub(super) fn time(text: &str) -> Result<u64, String> {
    match parse_duration(text)? {
        0 => Err("it is no time at all".into()),
        time => Ok(time),
    }
}
