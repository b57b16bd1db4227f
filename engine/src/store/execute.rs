//! One command: decided, placed in the journal and folded, all under the store's lock; and the bookkeeping that rides along.

use super::{
    Done, Inner, Refused, Room, Store,
    beside::{Step, Trail},
    fitting,
};
use crate::admit::{MAX_TIME, admit};
use crate::command::{Command, Request};
use crate::decide::decide;
use crate::error::Error;
use crate::event::{Actor, Event, Placed};
use crate::evolve::evolve;
use crate::fold::encode;
use crate::ids::ActorId;
use crate::in_use::InUse;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::views::Views;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strand_journal::{Access, Block, Crcs, Error as JournalError, Record, Ticket};

/// A wall clock that strays from elapsed time by more than this has jumped, and an event says so.
const CLOCK_TOLERANCE_NS: u64 = 1_000_000_000;
/// Refused administrative commands of one kind are recorded at most once in this time; the event counts them.
const REFUSAL_INTERVAL_NS: u64 = 60_000_000_000;
/// Before the free space is asked for again no more may be placed than this share of what there was above the reserve (headers and segment ends may double what
/// that takes, and still nothing goes beyond it: next to the reserve it is asked for every time), …
const ROOM_REFRESH_SHARE: u64 = 8;
/// … and no more than this share of the reserve: others may have filled the disk meanwhile, and removals are to find most of it.
const ROOM_REFRESH_RESERVE: u64 = 4;
/// With less than so many blocks (64 MiB) beyond the reserve a command is kept for a second try.
const TIGHT_BLOCKS: u64 = 16_384;

impl Store {
    pub(super) fn execute(
        &self,
        inner: &mut Inner,
        actor: &Actor,
        command: Command,
        payload: &[Block],
        views: &Views,
    ) -> Result<Done, Error> {
        self.before_command(inner)?;
        self.execute_plain(inner, actor, command, payload, views, &self.in_use())
    }

    /// Whether anything can be commanded at all; and the bookkeeping that rides along.
    pub(super) fn before_command(&self, inner: &mut Inner) -> Result<(), Error> {
        if self.options.access == Access::ReadOnly {
            return Err(Refusal::new(Kind::ReadOnly, "the store is open for reading only").into());
        }
        self.still_true(inner)?;
        match self
            .note_clock_jump(inner)
            .and_then(|()| self.place_refusals(inner, false))
        {
            // No room for bookkeeping says nothing about the command.
            Err(error) if error.kind() == Kind::NoSpace => Ok(()),
            other => other,
        }
    }

    /// The state is the truth only while it is what the journal holds: not after a failed write or flush, and not after a panic
    /// between placing and folding.
    pub(super) fn still_true(&self, inner: &Inner) -> Result<(), Error> {
        self.journal.health()?;
        if inner.state.seq != self.journal.placed() {
            return Err(
                Refusal::new(Kind::Poisoned, "the store cannot be written any more")
                    .why("an earlier command died half-way")
                    .next("open the store again")
                    .into(),
            );
        }
        Ok(())
    }

    pub(super) fn execute_plain(
        &self,
        inner: &mut Inner,
        actor: &Actor,
        command: Command,
        payload: &[Block],
        views: &Views,
        in_use: &InUse,
    ) -> Result<Done, Error> {
        let command = fitting::fitted(command, &self.journal);
        let needed = payload.len() as u64 + 8;
        let low = TIGHT_BLOCKS + needed + 2 * self.reserve_blocks;
        let above = inner.room.blocks.saturating_sub(self.reserve_blocks);
        let most = (above / ROOM_REFRESH_SHARE).min(self.reserve_blocks / ROOM_REFRESH_RESERVE);
        if inner.room.placed + needed > most {
            inner.room = Room {
                blocks: self.usable_blocks(),
                placed: 0,
            };
            let tight = inner.room.blocks < low;
            self.upkeep.tight.store(tight, Ordering::Relaxed);
        }
        let administrative = command.is_administrative();
        let bad = match administrative {
            true => self.known_bad(),
            false => Arc::default(),
        };
        let request = Request {
            actor,
            free_blocks: self.free_for(&command, inner),
            reserve_blocks: self.reserve_blocks,
            open: &inner.open,
            owner: self.owner,
            bad: &bad,
            in_use,
            command,
        };
        let events = match decide(&inner.state, &request, views) {
            Ok(events) => events,
            Err(refusal) => {
                if administrative || refusal.kind == Kind::Permission {
                    remember_refusal(inner, &refusal);
                }
                return Err(refusal.into());
            }
        };
        crate::quota::warn(&inner.state, &events);
        let runs = payload_runs(&request.command);
        if administrative {
            rehearse(&inner.state, &events, actor, views)?;
        }
        let from_reserve = request.command.gives_space_back();
        self.place(inner, actor, events, (&runs, payload), views, from_reserve)
    }

    /// Blocks that a command may place.
    fn free_for(&self, command: &Command, inner: &Inner) -> u64 {
        let free = inner.room.blocks.saturating_sub(inner.room.placed);
        match command.gives_space_back() {
            true => free.saturating_add(self.kept_back),
            false => free,
        }
    }

    /// Places decided events and folds them.
    pub(super) fn place(
        &self,
        inner: &mut Inner,
        actor: &Actor,
        events: Vec<Event>,
        (runs, payload): (&[usize], &[Block]),
        views: &Views,
        from_reserve: bool,
    ) -> Result<Done, Error> {
        if events.is_empty() {
            let (seq, time) = (inner.state.boundary, inner.state.time);
            return Ok(Done {
                first: seq + 1,
                last: seq,
                time,
                ticket: Ticket(self.journal.placed()),
                events,
                trail: Trail::default(),
            });
        }
        let who = actor_number(&inner.state, actor);
        let mut time = self.clock.wall();
        if time > MAX_TIME {
            return Err(Refusal::new(
                Kind::Invalid,
                "the wall clock shows a time after the year 2262",
            )
            .next("set the clock, then try again")
            .into());
        }
        inner.bytes.clear();
        let mut ends = Vec::with_capacity(events.len());
        let mut before = inner.state.time;
        let mut times = Vec::with_capacity(events.len());
        for (i, event) in events.iter().enumerate() {
            encode(who, i + 1 == events.len(), event, &mut inner.bytes).map_err(|e| {
                Refusal::new(Kind::TooLarge, "the command cannot be recorded").why(e.to_string())
            })?;
            ends.push(inner.bytes.len());
            time = time.max(before + 1);
            before = time;
            times.push(time);
        }
        let mut records = Vec::with_capacity(events.len());
        let (mut start, mut rest, mut lengths) = (0, payload, runs.iter());
        for (i, event) in events.iter().enumerate() {
            let count = match event.carries_blocks() {
                true => lengths.next().copied().unwrap_or(0),
                false => 0,
            };
            let (blocks, left) = rest.split_at_checked(count).ok_or_else(payload_mismatch)?;
            rest = left;
            records.push(Record {
                time: times[i],
                bytes: &inner.bytes[start..ends[i]],
                blocks,
            });
            start = ends[i];
        }
        if !rest.is_empty() {
            return Err(payload_mismatch().into());
        }
        let placement = match from_reserve {
            true => self.journal.place_from_reserve(&records),
            false => self.journal.place(&records),
        };
        if let Err(JournalError::NoSpace { .. }) = placement {
            // There is less room than was thought, as others fill the disk: the next one is judged by what there is.
            inner.room = Room::default();
            self.upkeep.tight.store(true, Ordering::Relaxed);
        }
        let placement = placement?;
        inner.room.placed += payload.len() as u64 + 2;
        let mut steps = Vec::with_capacity(events.len());
        for (i, event) in events.iter().enumerate() {
            inner.crcs.clear();
            inner
                .crcs
                .extend(records[i].blocks.iter().flat_map(|b| b.crc().to_le_bytes()));
            let placed = Placed {
                seq: placement.first + i as u64,
                time: times[i],
                actor: who,
                last: i + 1 == events.len(),
                event,
                first: placement.addrs[i],
                crcs: Crcs::from_le_bytes(&inner.crcs),
            };
            debug_assert_eq!(
                admit(&inner.state, &placed, views),
                Ok(()),
                "decide and admit disagree on {event:?}"
            );
            evolve(&mut inner.state, &placed, views);
            steps.push(Step {
                time: times[i],
                first: placement.addrs[i].0,
                crcs: inner.crcs.clone(),
            });
            if matches!(event, Event::CopiedOutScope { .. }) {
                self.unsettled.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(records);
        if events.iter().any(moves) {
            self.present.set(&inner.state.places);
        }
        let last = placement.first + events.len() as u64 - 1;
        Ok(Done {
            first: placement.first,
            last,
            time: before,
            ticket: placement.ticket,
            events,
            trail: Trail { actor: who, steps },
        })
    }

    /// Bookkeeping of the program's own.
    fn execute_own(&self, inner: &mut Inner, command: Command) -> Result<Done, Error> {
        let (actor, views) = (Actor::program(), Views::none());
        self.execute_plain(inner, &actor, command, &[], &views, &InUse::nothing())
    }

    /// A jump of the wall clock against elapsed time is an event of its own, before the command that noticed it.
    fn note_clock_jump(&self, inner: &mut Inner) -> Result<(), Error> {
        let (wall, elapsed) = (self.clock.wall(), self.clock.monotonic());
        let expected = match inner.clocks.replace((wall, elapsed)) {
            Some((wall_before, before)) => {
                wall_before.saturating_add(elapsed.saturating_sub(before))
            }
            // The first command since the store was opened: only a step back behind the last event can be told.
            None => wall.max(inner.state.time),
        };
        if wall.abs_diff(expected) > CLOCK_TOLERANCE_NS && inner.state.seq > 0 {
            tracing::warn!(expected, found = wall, "the wall clock jumped");
            let command = Command::RecordClockJump {
                expected,
                found: wall,
            };
            self.execute_own(inner, command)?;
        }
        Ok(())
    }

    /// Records refused administrative commands: they ride with the next command, or with the closing.
    pub(super) fn place_refusals(&self, inner: &mut Inner, closing: bool) -> Result<(), Error> {
        if inner.refused.is_empty() {
            return Ok(());
        }
        let now = self.clock.monotonic();
        let due = |r: &Refused| {
            r.count > 0
                && (closing
                    || r.recorded
                        .is_none_or(|at| now.saturating_sub(at) >= REFUSAL_INTERVAL_NS))
        };
        let kinds: Vec<&'static str> = inner
            .refused
            .iter()
            .filter(|(_, r)| due(r))
            .map(|(kind, _)| *kind)
            .collect();
        for kind in kinds {
            let Some(refused) = inner.refused.get_mut(kind) else {
                continue;
            };
            let (message, count) = (refused.message.clone(), std::mem::take(&mut refused.count));
            refused.recorded = Some(now);
            let command = Command::RecordRefused {
                kind: kind.to_owned(),
                message,
                count,
            };
            self.execute_own(inner, command)?;
        }
        Ok(())
    }
}

pub(super) fn remember_refusal(inner: &mut Inner, refusal: &Refusal) {
    let known = inner.refused.entry(refusal.kind.name()).or_default();
    known.message = refusal.to_string();
    known.count = known.count.saturating_add(1);
}

fn actor_number(state: &State, actor: &Actor) -> ActorId {
    state
        .actor_ids
        .get(actor)
        .copied()
        .unwrap_or(state.next_actor)
}

/// Whether versions lie elsewhere after it.
fn moves(event: &Event) -> bool {
    matches!(
        event,
        Event::Relocated { .. } | Event::SegmentsReclaimed { .. }
    )
}

/// How many payload blocks each `Written` event of a command takes.
fn payload_runs(command: &Command) -> Vec<usize> {
    match command {
        Command::Write { runs, .. } => runs
            .iter()
            .filter(|r| r.data)
            .filter_map(|r| usize::try_from(r.count).ok())
            .collect(),
        Command::Truncate { tail: true, .. } => vec![1],
        Command::Relocate { births } => {
            vec![births.iter().map(|(_, count)| *count as usize).sum()]
        }
        _ => Vec::new(),
    }
}

fn payload_mismatch() -> Refusal {
    Refusal::new(
        Kind::Invalid,
        "the blocks given are not those that the command names",
    )
}

/// Folds an administrative command's events into a copy first: what `admit` would stop at the next opening must never be written.
fn rehearse(state: &State, events: &[Event], actor: &Actor, views: &Views) -> Result<(), Error> {
    let mut trial = state.clone();
    let actor = actor_number(state, actor);
    for (i, event) in events.iter().enumerate() {
        let placed = Placed {
            seq: trial.seq + 1,
            time: trial.time + 1,
            actor,
            last: i + 1 == events.len(),
            event,
            first: strand_journal::BlockAddr::NONE,
            crcs: Crcs::from_le_bytes(&[]),
        };
        admit(&trial, &placed, views)?;
        evolve(&mut trial, &placed, views);
    }
    Ok(())
}
