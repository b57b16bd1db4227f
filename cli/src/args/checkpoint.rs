//! `checkpoint …`.

use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;

/// `checkpoint`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// Without a verb: list
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// The verbs of `checkpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Freeze one or more volumes at one instant
    #[command(
        after_help = "Example:\n  strand checkpoint create tuesday --volume pg --volume web --note release"
    )]
    Create(Create),
    /// List the checkpoints, newest first
    #[command(after_help = "Example:\n  strand checkpoint list --volume pg")]
    List(List),
    /// How full it is, and its ledger
    #[command(after_help = "Example:\n  strand checkpoint show before-upgrade")]
    Show(Name),
    /// The block map: own, shared with live, via a newer one, hole
    #[command(after_help = "Example:\n  strand checkpoint map before-upgrade /base/16384")]
    Map(Map),
    /// Changed files and ranges between two checkpoints or views
    #[command(after_help = "Example:\n  strand checkpoint diff before-upgrade pg")]
    Diff(Diff),
    /// Give a checkpoint another name
    #[command(after_help = "Example:\n  strand checkpoint rename monday last-monday")]
    Rename(Rename),
    /// Remove checkpoints, in any order
    #[command(after_help = "Example:\n  strand checkpoint remove monday --yes")]
    Remove(Remove),
    /// Hold a checkpoint: it cannot be removed
    #[command(after_help = "Example:\n  strand checkpoint hold before-upgrade")]
    Hold(Name),
    /// Let a held checkpoint go
    #[command(
        after_help = "Example:\n  strand checkpoint hold monday && strand checkpoint release monday"
    )]
    Release(Name),
    /// Set a flag
    #[command(after_help = "Example:\n  strand checkpoint set monday removable")]
    Set(Flagged),
    /// Clear a flag
    #[command(after_help = "Example:\n  strand checkpoint clear monday nomount")]
    Clear(Flagged),
}

/// `checkpoint create`
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name [default: ckpt-N]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A volume to freeze; give it again for more [default: the only volume]
    #[arg(long, value_name = "VOL", num_args = 1..)]
    pub(crate) volume: Vec<String>,
    /// Remember which blocks change, keep none of them
    #[arg(long)]
    pub(crate) nodata: bool,
    /// May be given up when space is short
    #[arg(long)]
    pub(crate) removable: bool,
    /// Cannot be read, cloned or rolled back to until cleared
    #[arg(long)]
    pub(crate) nomount: bool,
    /// A note to keep with it
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) note: String,
}

/// `checkpoint list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only those that keep an image of this volume
    #[arg(long, value_name = "VOL")]
    pub(crate) volume: Option<String>,
}

/// One checkpoint.
#[derive(Args, Debug)]
pub(crate) struct Name {
    /// The checkpoint's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `checkpoint remove`
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The checkpoints' names
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// For good: undo cannot bring it back
    #[arg(long)]
    pub(crate) now: bool,
}

/// `checkpoint map`
#[derive(Args, Debug)]
pub(crate) struct Map {
    /// The checkpoint's name, or VOL@NAME where it has several volumes
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A file in its image [default: every file]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<OsString>,
}

/// `checkpoint diff`
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// Before: a checkpoint, or VOL, VOL@CHECKPOINT, VOL@seq:N, VOL@TIME
    #[arg(value_name = "A")]
    pub(crate) before: String,
    /// After: the same forms
    #[arg(value_name = "B")]
    pub(crate) after: String,
}

/// `checkpoint rename`
#[derive(Args, Debug)]
pub(crate) struct Rename {
    /// The name it has
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The name it gets
    #[arg(value_name = "NEW")]
    pub(crate) new: String,
}

/// `checkpoint set`, `checkpoint clear`
#[derive(Args, Debug)]
pub(crate) struct Flagged {
    /// The checkpoint's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The flags
    #[arg(value_name = "FLAG", required = true)]
    pub(crate) flags: Vec<Flag>,
}

/// A flag of a checkpoint.
#[derive(Copy, Clone, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Flag {
    /// May be given up when space is short
    Removable,
    /// Cannot be read, cloned or rolled back to
    Nomount,
    /// Keeps no images, only which blocks changed; for good
    Nodata,
}
