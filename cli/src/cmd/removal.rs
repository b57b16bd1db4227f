//! `strand checkpoint remove`, and what the end of an image moved: by the ledgers before and after.

use super::checkpoint::whole;
use super::space::Freed;
use crate::args::checkpoint::Remove;
use crate::confirm::confirm;
use crate::context::{self, Context, checkpoint};
use crate::error::Outcome;
use crate::output::units;
use serde_json::{Map, Value, json};
use strand_engine::{BLOCK, Checkpoint, Command, GiveUp, State};

/// `checkpoint remove`
pub(super) fn run(context: &mut Context, args: Remove) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let chosen = args
        .names
        .iter()
        .map(|name| checkpoint(&state, name).cloned())
        .collect::<Outcome<Vec<_>>>()?;
    let command = |c: &Checkpoint| match args.now {
        false => Command::CheckpointRemove { checkpoint: c.id },
        true => Command::CheckpointGiveUp {
            checkpoint: c.id,
            cause: GiveUp::Asked,
        },
    };
    // What cannot be done is refused before anyone is asked about it.
    for c in &chosen {
        store.plan(context.actor(), command(c))?;
    }
    let owned: u64 = chosen.iter().map(|c| whole(&state, c).ledger.owned()).sum();
    let one = chosen.len() == 1;
    let what = format!(
        "remove {} {}",
        if one {
            "the checkpoint"
        } else {
            "the checkpoints"
        },
        context::list(args.names.iter().map(String::as_str))
    );
    let loses = format!(
        "{} {}{}",
        if one { "it owns" } else { "they own" },
        units::blocks_size(owned),
        if args.now {
            "; undo will not bring it back"
        } else {
            ""
        }
    );
    confirm(context, &what, &loses)?;
    let mut removed = Vec::new();
    for c in &chosen {
        let before = store.state();
        let done = store.run(context.actor(), command(c))?;
        store.settle()?;
        let after = store.state();
        let moved = movement(&before, &after, c);
        let freed = Freed::of(&store, c, freed_by(&before, c, moved.released));
        removed.push((c, moved, freed, done.last));
    }
    context.close(store)?;
    if context.out.json {
        let rows = removed.iter().map(|(c, moved, freed, seq)| {
            let to: Map<String, Value> = moved.handed.iter().map(|(name, blocks)| (name.clone(), json!(blocks * BLOCK))).collect();
            json!({
                "checkpoint": c.name.as_ref(), "seq": seq, "handed_down_bytes": to, "released_bytes": moved.released * BLOCK,
                "frees_now_bytes": 0, "frees_later_bytes": freed.later, "frees_later_at": freed.at.map(units::json_time),
            })
        });
        let rows: Vec<Value> = rows.collect();
        return context.out.object(json!({"removed": rows}));
    }
    for (c, moved, freed, _) in &removed {
        let handed = moved.handed_text();
        context.out.line(format!(
            "removed {}{handed}; {} released",
            c.name,
            units::counted(moved.released, "block")
        ))?;
        if moved.released > 0 {
            context.out.line(format!("  {}", freed.text()))?;
        }
    }
    Ok(())
}

/// How many of the blocks that a checkpoint released become free: a clone may show some of them for ever.
fn freed_by(before: &State, removed: &Checkpoint, released: u64) -> u64 {
    // Without one, nothing else can show them, and nothing has to be walked.
    if released == 0 || before.volumes.values().all(|v| v.origin.is_none()) {
        return released;
    }
    released.min(strand_replay::space::unique(before, removed) / BLOCK)
}

/// What the removal of a checkpoint, or its conversion to nodata, moved.
pub(super) struct Movement {
    /// To which checkpoints, in blocks.
    pub(super) handed: Vec<(String, u64)>,
    /// What no checkpoint owns any more, in blocks.
    pub(super) released: u64,
}

impl Movement {
    pub(super) fn handed_text(&self) -> String {
        let to = |(name, blocks): &(String, u64)| {
            let blocks = units::counted(*blocks, "block");
            format!("; {blocks} passed to {name} (0 bytes moved)")
        };
        self.handed.iter().map(to).collect()
    }
}

pub(super) fn movement(before: &State, after: &State, removed: &Checkpoint) -> Movement {
    let owned = whole(before, removed).ledger.owned();
    let mut handed = Vec::new();
    for c in after.checkpoints.values() {
        let was = before
            .checkpoints
            .get(&c.id)
            .map_or(0, |c| whole(before, c).ledger.handed_in);
        let got = whole(after, c).ledger.handed_in.saturating_sub(was);
        if got > 0 {
            handed.push((c.name.to_string(), got));
        }
    }
    let sum: u64 = handed.iter().map(|(_, blocks)| blocks).sum();
    Movement {
        handed,
        released: owned.saturating_sub(sum),
    }
}
