//! Quotas: what a command may pass to checkpoints, and which of them give way.
//!
//! Only everyday work is held to the hard limit. Rollbacks, removals and the like move ownership too, in bulk and counted afterwards: they are never
//! refused, and what they exceed is put right by the next everyday command that passes anything.

use super::in_use::holder;
use super::{is_auto_before, judge};
use crate::block::BLOCK;
use crate::command::{Command, Request};
use crate::event::{Cause, Event, MAX_SHIFTS, Placed, Shift};
use crate::evolve::evolve;
use crate::ids::{ActorId, CheckpointId, Seq, VolumeId};
use crate::in_use::InUse;
use crate::owner::settle;
use crate::quota::{Limit, Quota, usage};
use crate::refusal::{Kind, Refusal};
use crate::state::{Checkpoint, State, Volume};
use crate::views::Views;
use std::sync::Arc;
use strand_journal::{BlockAddr, Crcs};

/// Sets limits, or switches them on and off.
pub(super) fn set(volume: &Volume, quota: Quota, below_use: bool) -> Result<Vec<Event>, Refusal> {
    let cannot = |kind, why: String| {
        Refusal::new(kind, format!("cannot set the limits of {}", volume.name)).why(why)
    };
    if let (Some(soft), Some(hard)) = (quota.soft, quota.hard)
        && soft >= hard
    {
        return Err(cannot(
            Kind::Invalid,
            format!("the soft limit, {soft} bytes, is not below the hard one, {hard} bytes"),
        )
        .next("choose a soft limit below the hard one"));
    }
    if quota.hard.is_some_and(|hard| hard < BLOCK) {
        return Err(cannot(
            Kind::Invalid,
            format!("a hard limit is at least one block, {BLOCK} bytes"),
        )
        .next(
            "strand quota off stops enforcing; strand checkpoint create --nodata keeps nothing",
        ));
    }
    if quota.on && quota.soft.is_none() && quota.hard.is_none() {
        return Err(
            cannot(Kind::Invalid, "there are no limits to enforce".into())
                .next(format!("strand quota set {} --hard 10GiB", volume.name)),
        );
    }
    if quota.above_hard(volume.images.owned()) && !below_use {
        return Err(cannot(
            Kind::Unconfirmed,
            format!(
                "its checkpoints own {} bytes: some would be given up by the next write",
                usage(volume)
            ),
        )
        .next("confirm it, or remove checkpoints first: strand checkpoint list"));
    }
    if volume.quota == quota {
        return Ok(Vec::new());
    }
    Ok(vec![Event::QuotaSet {
        volume: volume.id,
        quota,
    }])
}

/// Refuses a new checkpoint of a volume whose checkpoints own more than its soft limit.
pub(super) fn may_create(volume: &Volume) -> Result<(), Refusal> {
    // Nothing is added up where nothing limits it: a checkpoint costs the same however many there are.
    let limited = volume.quota.on && volume.quota.soft.is_some();
    if !limited || !volume.quota.above_soft(volume.images.owned()) {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::OverQuota,
        format!("cannot take a checkpoint of {}", volume.name),
    )
    .why(format!(
        "its checkpoints own {} bytes, the soft limit is {}",
        usage(volume),
        volume.quota.soft.unwrap_or(0)
    ))
    .next(format!(
        "remove some (strand checkpoint list --volume {0}), or raise it: strand quota set {0} --soft N",
        volume.name
    )))
}

/// Everyday commands that pass versions to checkpoints: their volume, and whether they may fail for it. What closing a file lets go may not.
fn subject(command: &Command) -> Option<(VolumeId, bool)> {
    match command {
        Command::Write { volume, .. }
        | Command::Truncate { volume, .. }
        | Command::Share { volume, .. }
        | Command::Unlink { volume, .. }
        | Command::Rename { volume, .. } => Some((*volume, true)),
        Command::DropOrphan { volume, .. } => Some((*volume, false)),
        _ => None,
    }
}

/// What events pass to checkpoints of a volume, in blocks; `None` where they pass nothing. The bulk form counts as nothing yet.
fn passed(events: &[Event]) -> Option<u64> {
    let mut blocks = None;
    for event in events {
        let more = match event {
            Event::CopiedOut { ranges, .. } => ranges.iter().map(|range| range.count).sum(),
            Event::CopiedOutScope { .. } => 0,
            _ => continue,
        };
        blocks = Some(blocks.unwrap_or(0_u64).saturating_add(more));
    }
    blocks
}

/// Holds a decided command to the quota of its volume. Gives its events, with what gives way to it in front.
pub(super) fn within(
    state: &State,
    request: &Request<'_>,
    views: &Views,
    seen: Option<&Event>,
    decided: Vec<Event>,
) -> Result<Vec<Event>, Refusal> {
    let Some((id, may_fail)) = subject(&request.command) else {
        return Ok(decided);
    };
    let Some(volume) = state.volume(id).filter(|v| v.quota.on) else {
        return Ok(decided);
    };
    let Some(blocks) = passed(&decided) else {
        return Ok(decided);
    };
    let (quota, owned) = (volume.quota, volume.images.owned());
    let next = owned.saturating_add(blocks);
    let reached = |limit, owned| Event::QuotaReached {
        volume: id,
        limit,
        owned,
    };
    let mut alerts = Vec::new();
    if quota.above_soft(next) && !quota.above_soft(owned) {
        alerts.push(reached(Limit::Soft, next));
    }
    if !quota.above_hard(next) {
        alerts.extend(decided);
        return Ok(alerts);
    }
    let mut work = Work {
        id,
        in_use: request.in_use,
        state: state.clone(),
        events: Vec::new(),
    };
    if let Some(seen) = seen {
        work.fold(seen);
    }
    for alert in alerts {
        work.push(alert);
    }
    work.settle_waiting();
    work.push(reached(Limit::Hard, next));
    let said = work.events.len();
    loop {
        let decided = judge(&work.state, request, views)?;
        let blocks = passed(&decided);
        let need = work.owned().saturating_add(blocks.unwrap_or(0));
        if blocks.is_none() || !quota.above_hard(need) {
            if work.events.len() == said {
                work.events.pop(); // counting alone made room: nothing gave way
            }
            work.events.extend(decided);
            return Ok(work.events);
        }
        // What would be needed after somebody gave way.
        let ask = |work: &Work<'_>| {
            let blocks = judge(&work.state, request, views).map_or(None, |events| passed(&events));
            work.owned().saturating_add(blocks.unwrap_or(0))
        };
        let may_give_way = !(quota.fail_writes && may_fail);
        if may_give_way && (work.drop_one(need, &ask) || work.convert_one(need, &ask)) {
            continue;
        }
        if may_fail {
            return Err(full(volume, quota));
        }
        work.events.extend(decided);
        return Ok(work.events);
    }
}

fn full(volume: &Volume, quota: Quota) -> Refusal {
    let why = if quota.fail_writes {
        "writes fail rather than checkpoints give way (--on-full fail-writes)"
    } else {
        "what is left of them is held"
    };
    Refusal::new(
        Kind::OverQuota,
        format!("the checkpoints of {} own all they may", volume.name),
    )
    .why(format!(
        "the hard limit is {} bytes, and {why}",
        quota.hard.unwrap_or(0)
    ))
    .next(format!(
        "remove checkpoints (strand checkpoint list --volume {0}), or strand quota set {0} --hard N",
        volume.name
    ))
}

/// A state in which checkpoints give way, event by event, before the command is judged again.
struct Work<'a> {
    id: VolumeId,
    in_use: &'a InUse,
    state: State,
    events: Vec<Event>,
}

impl Work<'_> {
    fn volume(&self) -> Option<&Arc<Volume>> {
        self.state.volume(self.id)
    }

    fn owned(&self) -> u64 {
        self.volume().map_or(0, |v| v.images.owned())
    }

    /// Folds an event as it will be placed: the events of a command are numbered without a gap.
    fn fold(&mut self, event: &Event) {
        let placed = Placed {
            seq: self.state.seq + 1,
            time: self.state.time,
            actor: ActorId(0),
            last: false,
            event,
            first: BlockAddr::NONE,
            crcs: Crcs::from_le_bytes(&[]),
        };
        evolve(&mut self.state, &placed, &Views::none());
    }

    fn push(&mut self, event: Event) -> Seq {
        self.fold(&event);
        self.events.push(event);
        self.state.seq
    }

    /// Counts what waits, so that the books are exact.
    fn settle_waiting(&mut self) {
        while let Some(volume) = self.volume() {
            let Some(pending) = volume.pending.front().filter(|p| p.after.is_some()) else {
                return;
            };
            let (scope, shifts) = (pending.scope, settle(pending, &volume.spread));
            self.settled(scope, &shifts);
        }
    }

    fn settled(&mut self, scope: Seq, shifts: &[Shift]) {
        let parts = shifts.len().div_ceil(MAX_SHIFTS).max(1);
        for part in 0..parts {
            let of_part = shifts.iter().skip(part * MAX_SHIFTS).take(MAX_SHIFTS);
            self.push(Event::Settled {
                volume: self.id,
                scope,
                shifts: of_part.copied().collect(),
                last: part + 1 == parts,
            });
        }
    }

    /// Gives up one removable checkpoint, the first in the order that helps by going: safety images before others, the oldest first. One without data
    /// never helps.
    fn drop_one(&mut self, need: u64, ask: &dyn Fn(&Work<'_>) -> u64) -> bool {
        let Some(volume) = self.volume() else {
            return false;
        };
        let mut removable: Vec<Arc<Checkpoint>> = volume
            .images
            .data_newest_first()
            .filter_map(|(id, _)| self.state.checkpoints.get(&id))
            .filter(|c| c.removable && !c.held && holder(self.in_use, c.id).is_none())
            .cloned()
            .collect();
        removable.sort_by_key(|c| (!is_auto_before(&c.name), c.id));
        for found in removable {
            let mut trial = self.trial();
            let mut own = 0;
            for member in &found.volumes {
                let scope = trial.push(Event::CopiedOutScope {
                    volume: *member,
                    cause: Cause::Quota,
                });
                if *member == self.id {
                    own = scope;
                }
            }
            trial.push(Event::CheckpointDropped {
                checkpoint: found.id,
                volume: self.id,
            });
            trial.count(own);
            if ask(&trial) < need {
                self.take(trial);
                return true;
            }
        }
        false
    }

    /// Makes an image nodata: the newest that nobody holds and that helps by it, or just the newest where none helps alone.
    fn convert_one(&mut self, need: u64, ask: &dyn Fn(&Work<'_>) -> u64) -> bool {
        let Some(volume) = self.volume() else {
            return false;
        };
        let held = |id: &CheckpointId| {
            let held = self.state.checkpoints.get(id).is_none_or(|c| c.held);
            held || holder(self.in_use, *id).is_some()
        };
        let newest_first: Vec<CheckpointId> = volume
            .images
            .data_newest_first()
            .map(|(id, _)| id)
            .filter(|id| !held(id))
            .collect();
        let mut newest = None;
        for checkpoint in newest_first {
            let mut trial = self.trial();
            let scope = trial.push(Event::CopiedOutScope {
                volume: self.id,
                cause: Cause::Quota,
            });
            trial.push(Event::CheckpointConverted {
                checkpoint,
                volumes: vec![self.id],
            });
            trial.count(scope);
            if ask(&trial) < need {
                self.take(trial);
                return true;
            }
            newest = newest.or(Some(trial));
        }
        match newest {
            Some(trial) => {
                self.take(trial);
                true
            }
            None => false,
        }
    }

    fn trial(&self) -> Self {
        Self {
            id: self.id,
            in_use: self.in_use,
            state: self.state.clone(),
            events: Vec::new(),
        }
    }

    fn take(&mut self, mut trial: Self) {
        self.state = trial.state;
        self.events.append(&mut trial.events);
    }

    /// Counts the scope that stands alone.
    fn count(&mut self, scope: Seq) {
        let front = self.volume().and_then(|v| {
            let front = v.pending.front()?;
            (front.scope == scope && front.after.is_some()).then(|| settle(front, &v.spread))
        });
        if let Some(shifts) = front {
            self.settled(scope, &shifts);
        }
    }
}
