//! What `strand help TOPIC` says. Tables that the program has elsewhere (kinds of refusals) are printed from there.

use crate::output::Out;
use crate::output::table::{Align, Table};
use strand_engine::Kind;

/// The topics, with one line about each.
pub(crate) const TOPICS: [(&str, &str); 8] = [
    (
        "views",
        "how to name a volume, a checkpoint of it, or a moment",
    ),
    ("time", "how to write a time, and what it means"),
    ("space", "who owns what, and what a checkpoint costs"),
    (
        "exit-codes",
        "exit codes, and the kinds of refusals and failures",
    ),
    ("events", "the kinds of events that the audit trail shows"),
    ("rollback", "going back, and coming back from it"),
    ("live", "mounts, and the daemon that serves a store"),
    ("classic", "these words beside those of storage checkpoints"),
];

/// Every kind of event, with what it means.
pub(crate) const EVENT_KINDS: [(&str, &str); 51] = [
    ("store-created", "the store begins"),
    ("actor-seen", "an actor is seen for the first time"),
    ("clock-jumped", "the wall clock jumped"),
    ("refused", "an administrative command was refused"),
    ("digest-recorded", "the digest of the state at a position"),
    ("volume-created", "a new volume"),
    ("volume-renamed", "a volume has another name"),
    ("volume-removed", "a volume is gone"),
    ("volume-restored", "a removed volume is back"),
    ("clone-created", "a new writable clone"),
    ("clone-reset", "a clone is as it started"),
    ("created", "a new file, directory, link or node"),
    ("linked", "one more name for a file"),
    ("unlinked", "a name is gone"),
    ("renamed", "a name moved"),
    ("exchanged", "two names were exchanged"),
    (
        "orphan-dropped",
        "an unlinked file was closed for the last time",
    ),
    ("written", "blocks were written"),
    ("punched", "blocks became a hole"),
    ("truncated", "the size was set"),
    ("preallocated", "space was promised to a file"),
    ("shared", "blocks were mapped into another file"),
    ("attributes-set", "mode, owner or times were set"),
    ("xattr-set", "an extended attribute was set"),
    ("xattr-removed", "an extended attribute was removed"),
    ("copied-out", "before-images passed to a checkpoint"),
    ("copied-out-scope", "the same in bulk: see log --expand"),
    ("settled", "what a bulk movement moved, counted"),
    ("checkpoint-created", "a frozen image was taken"),
    ("checkpoint-removed", "a checkpoint is gone"),
    ("checkpoint-restored", "a removed checkpoint is back"),
    ("checkpoint-renamed", "a checkpoint has another name"),
    ("checkpoint-held", "a checkpoint is held, or let go"),
    ("checkpoint-flagged", "flags of a checkpoint changed"),
    ("rolled-back", "volumes went back to an image"),
    ("file-restored", "a file went back to an image"),
    ("files-rolled-back", "files went back: closes the rollback"),
    (
        "undone",
        "an administrative change was undone, or done again",
    ),
    ("change-marked", "blocks changed since a nodata checkpoint"),
    ("checkpoint-converted", "a checkpoint keeps no images now"),
    ("quota-set", "what a volume's checkpoints may own"),
    ("quota-reached", "an alert: a limit is reached"),
    ("checkpoint-dropped", "a checkpoint gave way to a quota"),
    ("relocated", "versions were copied elsewhere"),
    ("segments-reclaimed", "space was given back"),
    ("retention-set", "how far back a volume can be viewed"),
    ("history-released", "a history window moved on"),
    ("checkpoint-given-up", "a checkpoint is gone for good"),
    ("schedule-set", "when checkpoints are taken, and kept"),
    ("archive-moved", "old events left the store"),
    ("audit-set", "how much of old events is kept"),
];

const VIEWS: &str = "\
A VIEW names one tree of files, to read or to start from:

  VOL                 the volume as it is now
  VOL@CHECKPOINT      the image that a checkpoint keeps of it
  VOL@seq:N           the volume at position N of the journal
  VOL@TIME            the volume at a time (strand help time)

Positions and times mean the last commit at or before them; the command says which
on standard error before it acts:  → seq 48211, 2026-11-21 10:00:02 +01:00

Every commit within a volume's history window can be viewed (strand retention), and
checkpoints at any age. A clone is a volume wherever VOL stands. Names of checkpoints
are unique in the store.

Examples:
  strand ls pg@before-upgrade /base
  strand export pg@10m /base ./base-ten-minutes-ago
  strand clone create trial --from pg@before-upgrade";

const TIME: &str = "\
A TIME is written as

  10m  2h  3d                     so long ago (ms, s, m, h, d, w)
  10:00  10:00:02                 today, local time
  \"2026-11-21 10:00\"              local time, seconds or not
  2026-11-21T10:00:02+01:00       RFC 3339, also with Z

It means the last commit at or before it. Refused, with the reachable range: the
future, a time before the history window (strand retention show), and a local time
that the clock showed twice or never. Local means the time zone of TZ, or the
system's.

Events carry the wall clock's time, made to grow from event to event. A jump of the
clock is an event of its own: strand log --kind clock-jumped

Ages are measured in time that passed, not by the clock on the wall: a clock that
jumps a year ahead and back makes no checkpoint and no commit older. So does the age
up to which a schedule keeps (4h, 30d), and the length of a history window.

A schedule's checkpoints are named by UTC: auto-20261121T100000Z. If that name is
taken already, as after a clock was set back, -2, -3 and so on follow.";

const SPACE: &str = "\
A checkpoint costs nothing when it is taken. When a block of the live volume is
written over, its before-image passes to the newest checkpoint that shows it. The
engine writes elsewhere, so ownership passes and no byte moves:

  2,001 blocks passed to before-upgrade (0 bytes moved)

A checkpoint owns what neither the live volume nor a newer checkpoint shows. Its
ledger is kept by double entry, and strand checkpoint show prints it:

  copied out A + handed in B − handed down C − released D = owned E

A nodata checkpoint remembers which blocks change, and owns nothing. A quota bounds
what the checkpoints of a volume own (strand quota set): above the soft limit none
is taken; at the hard one removable ones give way, then the newest image that helps.

Removing a checkpoint hands what an older one shows down to that one, and releases
the rest. Rollbacks and removals move ownership in bulk; until that is counted the
figures say settling. strand verify compares every ledger with a walk of all trees.

What nobody can reach any more is given back in the background while the store is
served, and by strand space reclaim: what still lives in an old segment is copied to
the end of the journal, and the segment's file goes; its events stay, compressed.
Reached is what a live volume shows, a checkpoint with data, a clone's origin, the
history window, what undo could bring back, and whatever is mounted or read.

When the store is full, it gives up in this order: dead space; the history window,
its oldest part first; auto-before-* checkpoints; removable checkpoints; and then it
refuses to write. Nothing held, mounted or read is ever given up.

  strand space forecast VOL --for 3h      how much changes in three hours
  strand schedule plan VOL --every .. --keep ..    what a schedule would have taken";

const ROLLBACK: &str = "\
  strand rollback VOL --to IMAGE              one volume
  strand rollback VOL --to IMAGE --file PATH  files or trees of it
  strand rollback --to CHECKPOINT             every member volume, in one commit

IMAGE is a checkpoint, seq:N or a time. --dry-run prints the numbers of the real run.

The state before stays as a removable checkpoint auto-before-SEQ; newer checkpoints
stay too. strand undo returns; strand redo goes again. Nothing asks for confirmation.

Files: the path is looked up in the image. Content and size go back into the same
file where it still lives, under the names it has now; else it is made anew. Mode,
owner, times and extended attributes of a file that lives go back with --attributes.
Files that the image does not have stay, unless --delete-new.

A checkpoint of several volumes is refused for one of them without --only. A
checkpoint with the flag nomount is refused until that is cleared.";

const LIVE: &str = "\
  strand mount VIEW DIR           a view as a directory; starts a daemon if none runs
  strand umount DIR               durable when it returns
  strand serve --mount pg=/mnt/pg in the foreground, for a service manager
  strand stop                     unmount, make durable, close

While a daemon serves a store every command works as at rest, with the same
output: it reads the journal beside the daemon, and sends what it changes
through the socket \"control\" in the store's directory. The daemon takes commands
from the store's owner and from root; what others try is refused and recorded.
Who works in a mount need not name the store.

A live volume mounts read-write, everything else read-only. strand mount
VOL@CHECKPOINT DIR --rw makes a shadow, a clone CHECKPOINT_wrNNN, and mounts
that: the image stays fit for rollback, and the shadow stays until strand clone
remove.

A rollback under a mount is refused while files are open for writing, naming who
has them; with --force their handles become stale, and nothing they write any
more counts. A daemon that strand mount started ends with its last mount. One
that died leaves its mounts dead: the next strand serve, mount or umount takes
them away.

At the root of a live mount, and in no listing, .strand/CHECKPOINT shows the
volume as it was: so do .strand/at/2026-11-21T10:00:02Z (RFC 3339 only) and
.strand/at/seq:N.

strand status shows the mounts; strand serve --metrics 127.0.0.1:9464 shows
figures for Prometheus.";

const CLASSIC: &str = "\
  here                    elsewhere
  store                   disk group
  volume                  file system, primary fileset
  checkpoint              storage checkpoint
  clone                   writable (mounted read-write) checkpoint
  copy-out                copy-on-write push
  handed down             push to the next older checkpoint
  position, boundary      log sequence number
  rollback VOL            restore a file system from a checkpoint
  rollback --file         restore one file from a checkpoint
  checkpoint list         list the storage checkpoints of a file system
  checkpoint hold         exempt a checkpoint from automatic removal
  shadow, mount --rw      writable checkpoint NAME_wrNNN, mounted in its place

What differs: taking and rolling back cost the same at any size; checkpoints can be
removed in any order; a rollback keeps newer checkpoints and can be undone; every
overwrite is an event with its actor (strand log).";

/// Prints a topic; `false` where there is none of that name.
pub(crate) fn print(out: &mut Out, topic: &str) -> crate::error::Outcome<bool> {
    let text = match topic {
        "views" => VIEWS,
        "time" => TIME,
        "space" => SPACE,
        "rollback" => ROLLBACK,
        "live" => LIVE,
        "classic" => CLASSIC,
        "events" => {
            out.line("Kinds of events, for strand log --kind; handed-down, handed-in and released find\ncounted bulk movements.\n")?;
            let mut table = Table::new(&[("KIND", Align::Left), ("MEANS", Align::Left)]);
            EVENT_KINDS
                .iter()
                .for_each(|(name, means)| table.row(vec![(*name).into(), (*means).into()]));
            table.print(out)?;
            return Ok(true);
        }
        "exit-codes" => {
            exit_codes(out)?;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    out.line(text)?;
    Ok(true)
}

fn exit_codes(out: &mut Out) -> crate::error::Outcome {
    for line in [
        "  0    done",
        "  1    refused or failed",
        "  2    wrong usage",
        "  3    damaged: stored bytes are wrong (verify, replay --check, opening)",
        "  4    busy: locked, files open, timed out; a retry may help",
        "  130  interrupted",
        "",
        "With --json an error goes to standard error as {\"error\":{\"kind\",\"message\",\"why\",\"next\"}}.",
        "",
    ] {
        out.line(line)?;
    }
    let mut table = Table::new(&[
        ("KIND", Align::Left),
        ("EXIT", Align::Right),
        ("ERRNO", Align::Right),
    ]);
    for kind in Kind::ALL {
        table.row(vec![
            kind.name().into(),
            kind.exit_code().to_string(),
            kind.errno().to_string(),
        ]);
    }
    table.print(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_explained() {
        let source = include_str!("../../engine/src/event/kind.rs");
        let names = source.lines().filter_map(|line| {
            line.trim()
                .strip_prefix("Event::")?
                .split_once("=> \"")?
                .1
                .strip_suffix("\",")
        });
        let names: Vec<&str> = names.collect();
        assert!(names.len() >= 38);
        assert_eq!(names, EVENT_KINDS.map(|(name, _)| name));
    }

    #[test]
    fn topics_fit_80_columns_in_width() {
        for text in [VIEWS, TIME, SPACE, ROLLBACK, LIVE, CLASSIC] {
            for line in text.lines() {
                assert!(line.chars().count() <= 85, "{line}");
            }
        }
    }
}
