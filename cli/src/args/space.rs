//! `space …`, `job …` and `journal …`: who owns what, what is given back, and what works on it.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// `space`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// Without a verb: who owns what
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// The verbs of `space`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Who owns what, and what could be given back
    #[command(after_help = "Example:\n  strand space show")]
    Show,
    /// Give back the space of what nobody can reach any more
    #[command(
        after_help = "It goes on in the background while a daemon serves the store; this waits for it.\n\nExample:\n  strand space reclaim"
    )]
    Reclaim(Reclaim),
    /// Lay fragmented files of a volume out in order; images stay as they are
    #[command(after_help = "Example:\n  strand space defrag pg /base/16384")]
    Defrag(Defrag),
    /// How much of a volume changes within a time, by the recorded journal
    #[command(after_help = "Example:\n  strand space forecast pg --for 3h")]
    Forecast(Forecast),
}

/// `space reclaim`
#[derive(Args, Debug)]
pub(crate) struct Reclaim {
    /// Move every history window up to now first: earlier positions cannot be viewed any more
    #[arg(long)]
    pub(crate) now: bool,
    /// Copy so many bytes a second at most [default: as fast as it goes]
    #[arg(long, value_name = "SIZE", value_parser = super::size)]
    pub(crate) rate: Option<u64>,
    /// Do not wait for it; see strand job list (only while a daemon serves the store)
    #[arg(long)]
    pub(crate) background: bool,
}

/// `space defrag`
#[derive(Args, Debug)]
pub(crate) struct Defrag {
    /// The volume
    #[arg(value_name = "VOL")]
    pub(crate) volume: String,
    /// A file or directory of it [default: everything]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<OsString>,
    /// Copy so many bytes a second at most [default: as fast as it goes]
    #[arg(long, value_name = "SIZE", value_parser = super::size)]
    pub(crate) rate: Option<u64>,
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

/// `job`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct JobNoun {
    /// Without a verb: list
    #[command(subcommand)]
    pub(crate) verb: Option<JobVerb>,
}

/// The verbs of `job`.
#[derive(Debug, Subcommand)]
pub(crate) enum JobVerb {
    /// What works in the background, and what ended lately
    #[command(after_help = "Example:\n  strand job list")]
    List,
    /// Wait until a job has ended, or all of them
    #[command(after_help = "Example:\n  strand job wait")]
    Wait(JobWait),
    /// Tell a job to end; what it did stays
    #[command(after_help = "Example:\n  strand job cancel 1 || strand job list")]
    Cancel(JobId),
}

/// `job wait`
#[derive(Args, Debug)]
pub(crate) struct JobWait {
    /// The job's number [default: all]
    #[arg(value_name = "ID")]
    pub(crate) id: Option<u64>,
}

/// One job.
#[derive(Args, Debug)]
pub(crate) struct JobId {
    /// The job's number, as strand job list shows it
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
}

/// `journal …`
#[derive(Args, Debug)]
pub(crate) struct JournalNoun {
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: JournalVerb,
}

/// The verbs of `journal`.
#[derive(Debug, Subcommand)]
pub(crate) enum JournalVerb {
    /// Move old archived events out of the store, into files
    #[command(
        after_help = "Only whole segments whose space was given back move (strand space reclaim). A base state\nstays: verify and replay begin there, and no view of a volume reaches back behind it.\n\nExample:\n  strand journal archive --before seq:20 --to ./old-events --yes"
    )]
    Archive(Archive),
    /// How much of archived events the store keeps; the oldest go beyond it
    #[command(after_help = "Example:\n  strand journal audit --keep 64MiB --yes")]
    Audit(Audit),
}

/// `journal archive`
#[derive(Args, Debug)]
pub(crate) struct Archive {
    /// Events before this time, or before seq:N
    #[arg(long, value_name = "TIME")]
    pub(crate) before: String,
    /// A directory outside the store; made where it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

/// `journal audit`
#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// A size, or all
    #[arg(long, value_name = "SIZE", value_parser = audit)]
    pub(crate) keep: Option<AuditKeep>,
}

/// How much is kept.
#[derive(Copy, Clone, Debug)]
pub(crate) struct AuditKeep(pub(crate) Option<u64>);

fn audit(text: &str) -> Result<AuditKeep, String> {
    if text == "all" {
        return Ok(AuditKeep(None));
    }
    super::size(text).map(|bytes| AuditKeep(Some(bytes)))
}
