//! The grammar of the command line: one file per group of commands. This list drives parsing, help, man pages and
//! completions; nothing here acts.

pub(crate) mod checkpoint;
pub(crate) mod files;
pub(crate) mod history;
pub(crate) mod live;
pub(crate) mod quota;
pub(crate) mod schedule;
pub(crate) mod space;
pub(crate) mod store;
pub(crate) mod volume;

use crate::output::units::parse_size;
use clap::builder::styling::{AnsiColor, Styles};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// How long a command waits for another one's lock, unless told.
const LOCK_TIMEOUT: &str = "10s";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold());

/// A copy-on-write storage engine whose only truth is a journal of events: checkpoints, rollback and an audit trail.
#[derive(Debug, Parser)]
#[command(
    name = "strand",
    version,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    styles = STYLES,
    max_term_width = 80,
    after_help = "Example:\n  strand status\n\nMore: strand help TOPIC, where TOPIC is views, time, space, exit-codes, events, rollback, live or classic."
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do; nothing: the first page.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What holds for every command; stands before or after the verb.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The store's directory
    #[arg(
        short,
        long,
        global = true,
        value_name = "DIR",
        env = "STRAND_STORE",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON ("format": 1)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Confirm what cannot be brought back
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Why you do this; kept in the audit trail
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How long to wait for another command's lock
    #[arg(long, global = true, value_name = "TIME", default_value = LOCK_TIMEOUT, value_parser = parse_duration, hide_default_value = true)]
    pub(crate) lock_timeout: Duration,
    /// Say more on standard error (-vv: still more); STRAND_LOG chooses in detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The main job on a real SQLite database, told step by step
    #[command(after_help = "Example:\n  strand demo")]
    Demo(store::Demo),
    /// Make a new store
    #[command(after_help = "Example:\n  strand init ./tank --segment-size 16MiB --capacity 10GiB")]
    Init(store::Init),
    /// Identity, sizes, position and chain head of the store
    #[command(after_help = "Example:\n  strand info")]
    Info,
    /// One screen: health, space, volumes, the last checkpoint, what undo would undo
    #[command(after_help = "Example:\n  strand status")]
    Status,
    /// Whether this machine can do it: each check is really made
    #[command(after_help = "Example:\n  strand doctor .")]
    Doctor(store::Doctor),
    /// Volumes: POSIX file trees with checkpoints
    #[command(visible_alias = "vol", after_help = "Example:\n  strand volume list")]
    Volume(volume::Noun),
    /// Bring a file or a tree into a volume
    #[command(
        after_help = "Importing over a file writes only the blocks that differ.\n\nExample:\n  strand import web site /site"
    )]
    Import(files::Import),
    /// Take a file or a tree out of a view
    #[command(
        after_help = "Example:\n  strand export pg@before-upgrade /base ./base-before-upgrade"
    )]
    Export(files::Export),
    /// List a directory of a view
    #[command(after_help = "Example:\n  strand ls -l pg@before-upgrade /base")]
    Ls(files::Ls),
    /// Print a file of a view
    #[command(after_help = "Example:\n  strand cat pg@before-upgrade /postgresql.conf")]
    Cat(files::Cat),
    /// Attributes, size and blocks of a file of a view
    #[command(after_help = "Example:\n  strand stat pg /postgresql.conf")]
    Stat(files::Stat),
    /// Write bytes into a file; it is made where it does not exist
    #[command(
        after_help = "Example:\n  echo 'port = 5433' | strand write pg /postgresql.conf --offset 0"
    )]
    Write(files::Write),
    /// Remove files
    #[command(after_help = "Example:\n  strand rm -r web /old")]
    Rm(files::Rm),
    /// Make directories
    #[command(after_help = "Example:\n  strand mkdir -p web /site/images")]
    Mkdir(files::Mkdir),
    /// Move or rename a file
    #[command(after_help = "Example:\n  strand mv web /index.html /index.old.html")]
    Mv(files::Mv),
    /// Set the size of a file
    #[command(after_help = "Example:\n  strand truncate pg /base/16384 --size 64KiB")]
    Truncate(files::Truncate),
    /// Checkpoints: frozen images of volumes
    #[command(
        visible_alias = "ckpt",
        after_help = "Example:\n  strand checkpoint list"
    )]
    Checkpoint(checkpoint::Noun),
    /// Quotas: what all checkpoints of a volume may own
    #[command(after_help = "Example:\n  strand quota show")]
    Quota(quota::Noun),
    /// History windows: how far back every commit of a volume can be viewed
    #[command(after_help = "Example:\n  strand retention show")]
    Retention(schedule::RetentionNoun),
    /// Schedules: checkpoints by the clock, thinned out as they grow older
    #[command(after_help = "Example:\n  strand schedule show")]
    Schedule(schedule::Noun),
    /// Space: who owns what, what is given back, what will be needed
    #[command(after_help = "Example:\n  strand space")]
    Space(space::Noun),
    /// Jobs: what works in the background
    #[command(after_help = "Example:\n  strand job list")]
    Job(space::JobNoun),
    /// Old events: archived, bounded, moved out of the store
    #[command(after_help = "Example:\n  strand journal audit")]
    Journal(space::JournalNoun),
    /// Every version of a file within reach: when, who, size
    #[command(after_help = "Example:\n  strand versions pg /base/16384")]
    Versions(history::Versions),
    /// Take a volume, or files of it, back to an image; undoable
    #[command(
        after_help = "Without VOL every member volume of the checkpoint goes back, in one commit. The state before stays as a\nremovable checkpoint auto-before-SEQ, and strand undo returns to it.\n\nExample:\n  strand rollback pg --to before-upgrade --dry-run"
    )]
    Rollback(history::Rollback),
    /// Undo the latest administrative change; again: one further
    #[command(
        after_help = "Undoes rollbacks, resets, renames and removals, never file writes.\n\nExample:\n  strand undo pg"
    )]
    Undo(history::Undo),
    /// Do again what was undone last
    #[command(after_help = "Example:\n  strand undo pg && strand redo pg")]
    Redo(history::Undo),
    /// Clones: writable branches, each with its own root
    #[command(after_help = "Example:\n  strand clone list")]
    Clone(volume::CloneNoun),
    /// Hold the store, mount views of it, and answer commands, until a signal or strand stop
    #[command(
        after_help = "Every command works the same while a store is served.\n\nExample:\n  strand serve --mount pg=/mnt/pg"
    )]
    Serve(live::Serve),
    /// Mount a view; alone: list the mounts
    #[command(
        after_help = "Uses the daemon that serves the store, or starts one that ends with its last mount.\n\nExample:\n  strand mount pg@before-upgrade /mnt/before"
    )]
    Mount(live::Mount),
    /// Unmount; what was written there is durable then
    #[command(after_help = "Example:\n  strand umount /mnt/before")]
    Umount(live::Umount),
    /// End the daemon that serves the store: unmount, make durable, close
    #[command(after_help = "Example:\n  strand stop")]
    Stop(live::Stop),
    /// What the daemon does, as it does it: rates, flushes, space, slow operations
    #[command(
        after_help = "On a terminal the screen is renewed until q. In a pipe one screen follows the other; with --json one object a line.\n\nExample:\n  strand top -n 1"
    )]
    Top(live::Top),
    /// The audit trail, newest first, runs collapsed
    #[command(after_help = "Example:\n  strand log --volume pg -n 20")]
    Log(history::Log),
    /// Fold the journal again, and compare digests
    #[command(after_help = "Example:\n  strand replay --check")]
    Replay(history::Replay),
    /// Prove the store: headers, chain, ledger, copy-outs, digests, state files
    #[command(
        after_help = "Exits with 3 where it finds damage.\n\nExample:\n  strand verify --data"
    )]
    Verify(history::Verify),
    /// Print SEQ:HASH, to be kept elsewhere and given to verify --anchor
    #[command(after_help = "Example:\n  strand verify --anchor $(strand anchor)")]
    Anchor,
    /// Print completions for a shell
    #[command(after_help = "Example:\n  strand completions bash > strand.bash")]
    Completions(store::Completions),
    /// Write the manual pages into a directory
    #[command(after_help = "Example:\n  strand man ./man")]
    Man(store::Man),
    /// Explain a topic or a command
    #[command(after_help = "Example:\n  strand help views")]
    Help(store::Help),
}

/// For clap: a stretch of time; a bare number counts seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => strand_engine::parse_duration(text).map(Duration::from_nanos),
    }
}

/// For clap: a size in bytes.
fn size(text: &str) -> Result<u64, String> {
    parse_size(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example:\n  "), "{path} has no example");
            for sub in command.get_subcommands() {
                walk(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        walk(&Cli::command(), "strand");
    }

    /// The commands that a page shows: in backquotes, or on lines of their own, in a shell's words.
    fn shown(page: &str) -> impl Iterator<Item = Vec<&str>> {
        let parts = page.split(['`', '\n', '|', '#']);
        let parts = parts.flat_map(|part| part.split("&&"));
        let parts = parts.map(|part| part.rsplit("/bin/").next().unwrap_or(part).trim());
        let shown = parts.filter(|part| part.starts_with("strand "));
        shown.map(|part| part.split_whitespace().collect())
    }

    /// Only the name of a command, which may want more.
    fn is_name(words: &[&str]) -> bool {
        let mut at = Some(Cli::command());
        for word in &words[1..] {
            at = at.and_then(|command| command.find_subcommand(word).cloned());
        }
        at.is_some()
    }

    #[test]
    fn every_command_of_the_pages_can_be_typed_like_that() {
        let pages = [
            ("operations.md", include_str!("../../../docs/operations.md")),
            ("README.md", include_str!("../../../README.md")),
        ];
        for (page, text) in pages {
            let shown: Vec<_> = shown(text).collect();
            assert!(shown.len() > 20, "{page} shows {shown:?}");
            for words in shown.iter().filter(|words| !is_name(words)) {
                if let Err(error) = Cli::try_parse_from(words) {
                    panic!("{page}: {}\n{error}", words.join(" "));
                }
            }
        }
        let wrong = ["strand", "export", "VOL@CHECKPOINT", "DEST"];
        assert!(!is_name(&wrong) && Cli::try_parse_from(wrong).is_err());
    }

    #[test]
    fn durations_are_understood() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        for bad in [
            "",
            "s",
            "-1",
            "99999999999999999999",
            "18446744073709551615m",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
