//! `volume …` and `clone …`.

use clap::{Args, Subcommand};

/// `volume`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct Noun {
    /// Without a verb: list
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// The verbs of `volume`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an empty volume
    #[command(after_help = "Example:\n  strand volume create mail")]
    Create(Name),
    /// List the volumes
    #[command(after_help = "Example:\n  strand volume list")]
    List,
    /// Show one volume
    #[command(after_help = "Example:\n  strand volume show pg")]
    Show(Name),
    /// Give a volume another name
    #[command(after_help = "Example:\n  strand volume rename web www")]
    Rename(Rename),
    /// Remove a volume
    #[command(after_help = "Example:\n  strand volume remove test --yes")]
    Remove(Remove),
}

/// One volume.
#[derive(Args, Debug)]
pub(crate) struct Name {
    /// The volume's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `rename`
#[derive(Args, Debug)]
pub(crate) struct Rename {
    /// The name it has
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The name it gets
    #[arg(value_name = "NEW")]
    pub(crate) new: String,
}

/// `volume remove`
#[derive(Args, Debug)]
pub(crate) struct Remove {
    /// The volume's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Remove the checkpoints that keep images of it too
    #[arg(long)]
    pub(crate) with_checkpoints: bool,
}

/// `clone`, with a verb or without.
#[derive(Args, Debug)]
pub(crate) struct CloneNoun {
    /// Without a verb: list
    #[command(subcommand)]
    pub(crate) verb: Option<CloneVerb>,
}

/// The verbs of `clone`.
#[derive(Debug, Subcommand)]
pub(crate) enum CloneVerb {
    /// Make a writable clone of a view
    #[command(after_help = "Example:\n  strand clone create trial --from pg@before-upgrade")]
    Create(CloneCreate),
    /// List the clones
    #[command(after_help = "Example:\n  strand clone list")]
    List,
    /// Remove a clone
    #[command(after_help = "Example:\n  strand clone remove test --yes")]
    Remove(Remove),
    /// Set a clone back to what it started from; undoable
    #[command(after_help = "Example:\n  strand clone reset test")]
    Reset(Name),
}

/// `clone create`
#[derive(Args, Debug)]
pub(crate) struct CloneCreate {
    /// The clone's name; it is a volume wherever a VOL stands
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it starts from: VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME
    #[arg(long, value_name = "VIEW")]
    pub(crate) from: String,
}
