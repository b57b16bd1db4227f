//! Steps about time on the engine, and what the reference takes over of them. Which history and which scheduled checkpoints go is the engine's affair, which are
//! allowed to is judged here.

use super::Lockstep;
use super::engine_side::Ran;
use crate::history::Step;
use crate::reference::{Position, VolumeNumber};
use std::collections::BTreeMap;
use strand_engine::schedule::{Look, due, is_scheduled_name};
use strand_engine::{
    Actor, Clock, Command, Error, Event, Keep, Kind, ManualClock, Retention, Schedule, Seq, Source,
    Store, VolumeId,
};

/// How long everything can be viewed, in ns, where nothing else is set.
const DAY: u64 = 24 * 3_600_000_000_000;

/// Steps that may move the history windows on.
pub(super) fn moves_history(step: &Step) -> bool {
    matches!(
        step,
        Step::ReleaseHistory(_)
            | Step::Reclaim { .. }
            | Step::MoveWindowsOn
            | Step::MoveArchives(_)
            | Step::TrimArchives
            | Step::RetentionSet { .. }
    )
}

/// Runs a step about time.
pub(super) fn run(
    store: &Store,
    actor: &Actor,
    clock: &ManualClock,
    step: &Step,
) -> Result<Ran, Error> {
    match step {
        Step::Pass(ns) => clock.advance(*ns),
        Step::ClockJump(by) => clock.jump_to(clock.wall().saturating_add_signed(*by)),
        Step::RetentionSet { volume, age, bytes } => {
            let retention = Retention {
                age: *age,
                bytes: *bytes,
            };
            let volume = VolumeId(*volume);
            return done(store, actor, Command::RetentionSet { volume, retention });
        }
        Step::MoveWindowsOn => drop(store.move_windows_on()?),
        Step::ScheduleSet {
            volume,
            every,
            keep,
        } => {
            let keep = keep.iter().map(|&(age, every)| Keep { age, every });
            let keep: Vec<Keep> = keep.collect();
            let schedule = every.map(|every| Schedule { every, keep });
            let volume = VolumeId(*volume);
            return done(store, actor, Command::ScheduleSet { volume, schedule });
        }
        Step::FollowSchedule(volume) => follow_schedule(store, clock, VolumeId(*volume))?,
        Step::MoveArchives(before) => {
            let before = (*before).min(store.state().boundary);
            let mut copied = 0;
            let mut copy = |_: &str, bytes: &[u8]| {
                copied += bytes.len();
                Ok(())
            };
            store.move_archives(before, Some(&mut copy))?;
        }
        Step::AuditSet(keep) => {
            return done(store, actor, Command::AuditSet { keep: *keep });
        }
        Step::TrimArchives => drop(store.trim_archives()?),
        other => unreachable!("{other:?} is no step about time"),
    }
    Ok(Ran::default())
}

fn done(store: &Store, actor: &Actor, command: Command) -> Result<Ran, Error> {
    store.run(actor, command).map(|done| Ran {
        first: Some(done.first),
        acknowledged: Some(done.last),
    })
}

/// What a daemon does at one look at the schedule of a volume, but for its patience: what is refused ends the step.
fn follow_schedule(store: &Store, clock: &ManualClock, volume: VolumeId) -> Result<(), Error> {
    let leases = store.leases();
    let look = Look {
        now: store.elapsed(),
        wall: clock.wall(),
        last: None,
        taken: &|_| None,
        in_use: &|id| {
            let mut sources = leases.iter().map(|lease| lease.source);
            sources.any(|source| matches!(source, Source::Checkpoint(_, c) if c == id))
        },
    };
    let due = due(&store.state(), volume, &look);
    for command in due.drop.into_iter().chain(due.take) {
        store.run(&Actor::program(), command)?;
    }
    Ok(())
}

/// Ages of history, by the clock that nobody sets.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// When a position was remembered, in ns.
    times: BTreeMap<Position, u64>,
    /// What was set for a volume: age, bytes.
    retentions: BTreeMap<VolumeNumber, (Option<u64>, Option<u64>)>,
}

impl Windows {
    pub(super) fn remember(&mut self, position: Position, now: u64) {
        self.times.entry(position).or_insert(now);
    }

    /// Whether a position of that time may lie behind a volume's window. Of bytes the reference knows nothing.
    fn may_go(&self, volume: VolumeNumber, then: u64, now: u64) -> bool {
        match self.retentions.get(&volume) {
            Some((_, Some(_))) => true,
            Some((Some(age), None)) => now - then > *age,
            Some((None, None)) | None => now - then > DAY,
        }
    }
}

impl Lockstep {
    /// What of history goes with a step is the engine's affair, what goes with it is the reference's too. Nothing goes by itself that any volume's retention
    /// still reaches, nor anything at all with archives that are trimmed.
    pub(super) fn follow_history(&mut self, before: Seq, step: &Step) -> Result<(), String> {
        if let Step::RetentionSet { volume, age, bytes } = step {
            self.windows.retentions.insert(*volume, (*age, *bytes));
        }
        let now = self.clock.monotonic();
        let by_itself = matches!(step, Step::MoveWindowsOn | Step::Reclaim { now: false, .. });
        for (_, event) in self.events_after(before)? {
            let Event::HistoryReleased { before: first, .. } = event else {
                continue;
            };
            for (position, then) in self.windows.times.range(..first) {
                let reference = &self.reference;
                let shown = |v: &VolumeNumber| {
                    reference.volumes.contains_key(v) && reference.viewable_from(*v) <= *position
                };
                let trees = reference.history.get(position);
                if self.tight || !trees.is_some_and(|trees| trees.keys().any(shown)) {
                    continue;
                }
                let mut volumes = reference.volumes.keys();
                let holder = volumes.find(|v| match by_itself {
                    true => !self.windows.may_go(**v, *then, now),
                    false => matches!(step, Step::TrimArchives),
                });
                if let Some(holder) = holder {
                    return Err(format!(
                        "history before {first} went, and volume {holder} reaches back to {position}"
                    ));
                }
            }
            self.reference.release_history(first);
        }
        Ok(())
    }

    /// What a schedule took and let go, in order: only what it had taken of this volume itself, what may go, and never the newest.
    pub(super) fn follow_schedule(
        &mut self,
        volume: VolumeNumber,
        before: Seq,
        error: Option<Error>,
    ) -> Result<Option<&'static str>, String> {
        // Once something went, what is used is known when it was counted, which nobody waits for.
        let mut unknown = false;
        for (seq, event) in self.events_after(before)? {
            match event {
                Event::CheckpointGivenUp { checkpoint, cause } => {
                    let goes = self.reference.thinned(volume, checkpoint.0);
                    goes.map_err(|why| format!("{checkpoint} went at {seq} ({cause:?}): {why}"))?;
                    self.thinned += 1;
                    unknown = true;
                }
                Event::CheckpointCreated { name, volumes, .. } => {
                    if volumes != [VolumeId(volume)] || !is_scheduled_name(&name) {
                        return Err(format!("a schedule took {name} of {volumes:?}"));
                    }
                    self.reference
                        .taken_by_schedule(&name, volume, unknown)
                        .map_err(|why| format!("a schedule took {name}: {why}"))?;
                }
                Event::HistoryReleased { before, .. } => self.reference.release_history(before),
                _ => {}
            }
        }
        match error {
            None => Ok(None),
            Some(error) if error.kind() == Kind::NoSpace && self.tight => Ok(Some("no-space")),
            Some(error) if error.kind() == Kind::OverQuota => {
                let refused = unknown || self.reference.is_above_soft(volume);
                refused
                    .then_some(Some("over-quota"))
                    .ok_or_else(|| format!("a schedule: {error}"))
            }
            Some(error) => Err(format!("a schedule: {error}")),
        }
    }

    /// Leases whose time is over are told so, and hold nothing any more.
    pub(super) fn end_leases(&mut self) -> Result<(), String> {
        let now = self.clock.monotonic();
        for at in (0..self.leased.len()).rev() {
            if self.leased[at].until.is_none_or(|until| now < until) {
                continue;
            }
            let ended = self.leased.remove(at);
            self.reference.leases.remove(at);
            let told = self.store().still_leased(&ended.lease);
            if told.as_ref().err().map(Error::kind) != Some(Kind::Stale) {
                return Err(format!("a lease that is over: {told:?}"));
            }
        }
        Ok(())
    }
}
