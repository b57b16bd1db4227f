//! What following a schedule takes, as commands: for whoever follows one in live use, and for whoever simulates that.

use super::{Taken, is_scheduled_name, plan, scheduled_name};
use crate::command::Command;
use crate::ids::{CheckpointId, VolumeId};
use crate::space::GiveUp;
use crate::state::{Checkpoint, State};
use std::sync::Arc;

/// What the state does not say of a look at a schedule.
#[derive(Copy, Clone)]
pub struct Look<'a> {
    /// The time by which checkpoints age, in elapsed ns.
    pub now: u64,
    /// The wall clock, in ns since the Unix epoch: how the next checkpoint is called.
    pub wall: u64,
    /// When the last one was taken, as far as whoever looks knows better than the state.
    pub last: Option<u64>,
    /// When one was taken, likewise; the later counts.
    pub taken: &'a dyn Fn(CheckpointId) -> Option<u64>,
    /// Whether somebody reads one: it stays.
    pub in_use: &'a dyn Fn(CheckpointId) -> bool,
}

/// The checkpoints that the schedule of a volume took and that are there, oldest first.
pub fn scheduled(
    state: &State,
    volume: VolumeId,
) -> impl DoubleEndedIterator<Item = &Arc<Checkpoint>> {
    let all = state.checkpoints.values();
    all.filter(move |c| c.volumes == [volume] && is_scheduled_name(&c.name))
}

/// The commands that follow a schedule now, in this order. One that is refused is no reason to leave the others out.
#[derive(Debug, Default)]
pub struct Due {
    /// Checkpoints that go.
    pub drop: Vec<Command>,
    /// The one that is taken, where one is due.
    pub take: Option<Command>,
}

/// What follows the schedule of a volume now; nothing where it has none.
#[must_use]
pub fn due(state: &State, volume: VolumeId, look: &Look<'_>) -> Due {
    let Some(schedule) = state.volume(volume).and_then(|v| v.schedule.as_ref()) else {
        return Due::default();
    };
    let theirs: Vec<&Arc<Checkpoint>> = scheduled(state, volume).collect();
    let existing: Vec<Taken> = theirs
        .iter()
        .map(|c| Taken {
            at: (look.taken)(c.id).unwrap_or(0).max(c.elapsed),
            stays: c.held || !c.removable || (look.in_use)(c.id),
        })
        .collect();
    let plan = plan(look.now, look.last, &existing, schedule);
    let drop = plan.drop.into_iter();
    Due {
        drop: drop
            .map(|place| Command::CheckpointGiveUp {
                checkpoint: theirs[place].id,
                cause: GiveUp::Schedule,
            })
            .collect(),
        take: plan.take.then(|| Command::CheckpointCreate {
            name: Some(scheduled_name(state, look.wall)),
            volumes: vec![volume],
            nomount: false,
            removable: true,
            nodata: false,
            note: String::new(),
        }),
    }
}
