//! The store: the shell around the pure core. It holds the lock, the journal, the clock and the open handles; the rules are in `decide`.
//!
//! A command is decided, placed in the journal (which gives its numbers and addresses) and folded, all under one lock; the flush is waited for
//! outside it. What is read meanwhile may not be durable yet, as with any file system; what was acknowledged is.

mod background;
mod beside;
mod content;
mod defrag;
mod fitting;
mod history;
mod horizon;
mod leases;
mod live;
mod making_room;
mod open;
mod present;
mod read;
mod reclaim;
mod room;
mod verified;
mod window;

pub use beside::{Step, Trail};
pub use defrag::Defragged;
pub use horizon::MovedArchives;
pub use leases::{Lease, LeaseInfo};
pub use open::{InitOptions, OpenOptions, Opening};
pub use read::FileReader;
pub use reclaim::{LeftAlone, ReclaimOptions, Reclaimed};
pub use window::Reach;

use crate::admit::{MAX_TIME, admit};
use crate::clock::Clock;
use crate::command::{Command, Request};
use crate::decide::decide;
use crate::digest::DigestCache;
use crate::error::Error;
use crate::event::{Actor, Event, Placed};
use crate::evolve::evolve;
use crate::fold::encode;
use crate::ids::{ActorId, EventTime, Ino, Seq, VolumeId};
use crate::in_use::InUse;
use crate::jobs::Jobs;
use crate::last_verify::BadVersion;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::views::Views;
use imbl::OrdSet;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use strand_journal::{Access, Block, Crcs, Disk, Journal, Record, Ticket};

/// A wall clock that strays from elapsed time by more than this has jumped, and an event says so.
const CLOCK_TOLERANCE_NS: u64 = 1_000_000_000;
/// Refused administrative commands of one kind are recorded at most once in this time; the event counts them.
const REFUSAL_INTERVAL_NS: u64 = 60_000_000_000;
/// Journal blocks kept back for removals on a full store: 4 MiB, or four segments where those are smaller.
const RESERVE_BLOCKS: u64 = 1024;
/// Bulk movements that may wait before a commit counts them.
const MOST_UNSETTLED: u64 = 64;
/// How many blocks may be placed before the free space is asked for again. Headers and segment ends may double what that takes, so
/// below four times as much it is asked for every time.
const ROOM_REFRESH_BLOCKS: u64 = 4096;

/// An open store. All methods may be called from many threads.
pub struct Store {
    inner: Mutex<Inner>,
    digests: Mutex<DigestCache>,
    /// Held while a reader beside the writer goes on.
    following: Mutex<()>,
    /// The user who owns a store that serves others too.
    owner: Option<u32>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    options: OpenOptions,
    opening: Opening,
    reserve_blocks: u64,
    /// Most blocks of one write event in segments of this size.
    write_blocks: u64,
    state_files: background::StateFiles,
    /// Bulk movements placed since the last settlement.
    unsettled: AtomicU64,
    settled_elsewhere: AtomicBool,
    /// Versions known to be bad; read at the first need.
    bad: Mutex<Option<Arc<[BadVersion]>>>,
    leases: Arc<leases::Leases>,
    /// Where versions lie, as the newest state has it.
    present: present::Present,
    window: window::Window,
    jobs: Jobs,
    /// Held by whoever moves versions.
    moving: Mutex<()>,
    /// Elapsed time by the events, and by the monotonic clock, and the journal's end, when the store was opened.
    opened: window::Opened,
    capacity: Option<u64>,
    /// Asks the writer how far it is: of a reader beside it.
    asking: OnceLock<beside::Asking>,
    upkeep: making_room::Upkeep,
    /// Journal blocks that only what gives space back may use.
    kept_back: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("store", &self.journal.store())
            .finish_non_exhaustive()
    }
}

struct Inner {
    state: State,
    /// Inodes that handles keep.
    open: OrdSet<(VolumeId, Ino)>,
    handles: BTreeMap<(VolumeId, Ino), u64>,
    room: Room,
    /// Wall and elapsed time of the command before.
    clocks: Option<(u64, u64)>,
    refused: BTreeMap<&'static str, Refused>,
    /// Scratch space, so that a commit allocates little.
    bytes: Vec<u8>,
    crcs: Vec<u8>,
}

/// What is known of the free space without asking: it is asked for again when this runs low.
#[derive(Default)]
struct Room {
    blocks: u64,
    placed: u64,
}

#[derive(Default)]
struct Refused {
    message: String,
    count: u32,
    recorded: Option<u64>,
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Done {
    /// Number of its first event.
    pub first: Seq,
    /// Number of its last event: a commit boundary.
    pub last: Seq,
    /// Time of its last event.
    pub time: EventTime,
    /// What [`Store::commit`] waits for.
    pub ticket: Ticket,
    /// Its events.
    pub events: Vec<Event>,
    /// Where they went.
    pub trail: Trail,
}

impl Store {
    /// How the opening went.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// A consistent snapshot of the state: what was placed, flushed or not. Whoever shows it to others as what is asks [`Store::health`]
    /// afterwards: of a poisoned store nobody knows how much of it will be there when it is opened again.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Fails where the state is not what the journal holds, or will hold at the next flush: after a failed write or flush, or a
    /// command that died half-way. Cheap.
    ///
    /// # Errors
    /// [`Kind::Poisoned`].
    pub fn health(&self) -> Result<(), Error> {
        self.still_true(&self.lock())
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What works in the background.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Decides, places and folds a command. It is not durable yet: [`Store::commit`].
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing changed. [`Error::Journal`]: poisoned or read-only.
    pub fn submit(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        self.submit_with(actor, command, &[])
    }

    /// As [`Store::submit`], with the payload blocks that a write or a truncation needs, in order.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn submit_with(
        &self,
        actor: &Actor,
        command: Command,
        payload: &[Block],
    ) -> Result<Done, Error> {
        self.submit_views(actor, command, payload, &Views::none())
    }

    fn submit_views(
        &self,
        actor: &Actor,
        command: Command,
        payload: &[Block],
        views: &Views,
    ) -> Result<Done, Error> {
        // Nothing gives way to what is no file system's call; a command is kept for a second try only where the first may find no room.
        let tight = self.upkeep.tight.load(Ordering::Relaxed);
        // A promise of room takes none: nothing gives way to it, whatever is asked for.
        let promise = matches!(command, Command::Preallocate { .. });
        if command.is_of_files() && tight && !promise {
            let blocks = payload.len() as u64;
            return self.with_room(blocks, &mut || {
                let mut inner = self.lock();
                self.execute(&mut inner, actor, command.clone(), payload, views)
            });
        }
        if promise || (tight && command.is_administrative()) {
            return self.with_dead_room(&mut || {
                let mut inner = self.lock();
                self.execute(&mut inner, actor, command.clone(), payload, views)
            });
        }
        let mut inner = self.lock();
        self.execute(&mut inner, actor, command, payload, views)
    }

    /// What is in use: what is leased, as far as the caller knows no more.
    fn in_use(&self) -> Arc<InUse> {
        self.leases.in_use(self.clock.monotonic())
    }

    /// Waits until everything up to a ticket is durable.
    ///
    /// # Errors
    /// [`Error::Journal`] where a write or flush failed: the store is poisoned until it is opened again.
    pub fn commit(&self, ticket: Ticket) -> Result<(), Error> {
        self.journal.commit(ticket)?;
        if self.unsettled() > MOST_UNSETTLED && !self.settled_elsewhere.load(Ordering::Relaxed) {
            // What was asked for is durable; the counting can wait.
            if let Err(error) = self.settle() {
                tracing::warn!(%error, "bulk movements wait to be counted");
            }
        }
        self.state_files.after_commit(self);
        self.keep_on_the_way();
        Ok(())
    }

    /// Bulk movements placed since the last settlement.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// From now on the caller settles, on a thread of his own: a commit then never counts, however many movements wait.
    pub fn settle_elsewhere(&self) {
        self.settled_elsewhere.store(true, Ordering::Relaxed);
    }

    /// Makes everything placed so far durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn sync(&self) -> Result<(), Error> {
        let placed = self.journal.placed();
        self.commit(Ticket(placed))
    }

    /// Carries a command out, durably. A rollback, clone or file rollback to a position folds the history for it first.
    ///
    /// # Errors
    /// As [`Store::submit`] and [`Store::commit`].
    pub fn run(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        let views = self.prepare(&command)?;
        let done = self.submit_prepared(actor, command, &views)?;
        self.finish(&done, &views)?;
        Ok(done)
    }

    /// What a command would do: its events, without doing it.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn plan(&self, actor: &Actor, command: Command) -> Result<Vec<Event>, Error> {
        let views = self.prepare(&command)?;
        self.plan_prepared(actor, command, &views)
    }

    /// Says whose store it is: from now on `decide` refuses what another user (but for root) commands. At rest the permissions of the
    /// store's files say it.
    pub fn owned_by(&mut self, uid: u32) {
        self.owner = Some(uid);
    }

    /// Whether this actor may command the store at all; a refusal is recorded, as any other of an administrative command.
    ///
    /// # Errors
    /// [`Kind::Permission`].
    pub fn permit(&self, actor: &Actor) -> Result<(), Refusal> {
        crate::decide::permitted(self.owner, actor).inspect_err(|refusal| {
            remember_refusal(&mut self.lock(), refusal);
        })
    }

    /// Says that a handle is open on a file: the inode stays when its last name goes.
    pub fn open_handle(&self, volume: VolumeId, ino: Ino) {
        let mut inner = self.lock();
        *inner.handles.entry((volume, ino)).or_default() += 1;
        inner.open.insert((volume, ino));
    }

    /// Says that a handle was closed; with the last one an unlinked file goes.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn close_handle(&self, actor: &Actor, volume: VolumeId, ino: Ino) -> Result<(), Error> {
        let mut inner = self.lock();
        let Some(count) = inner.handles.get_mut(&(volume, ino)) else {
            return Ok(());
        };
        *count -= 1;
        if *count > 0 {
            return Ok(());
        }
        inner.handles.remove(&(volume, ino));
        inner.open.remove(&(volume, ino));
        let orphan = inner
            .state
            .volume(volume)
            .is_some_and(|v| v.live.orphans.contains(&ino));
        if orphan {
            self.execute(
                &mut inner,
                actor,
                Command::DropOrphan { volume, ino },
                &[],
                &Views::none(),
            )?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves a state that may be half folded; the journal is not written from it, because the panic
        // came before or after `place`, and reading it is harmless.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execute(
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
    fn before_command(&self, inner: &mut Inner) -> Result<(), Error> {
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

    /// Free blocks, less what headers and the ends of small segments take of them.
    fn usable_blocks(&self) -> u64 {
        self.usable_of(self.journal.space().free_blocks)
    }

    fn usable_of(&self, free: u64) -> u64 {
        free - free / u64::from(self.journal.blocks_per_segment() / 4).max(4)
    }

    /// The state is the truth only while it is what the journal holds: not after a failed write or flush, and not after a panic
    /// between placing and folding.
    fn still_true(&self, inner: &Inner) -> Result<(), Error> {
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

    fn execute_plain(
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
        let low = 4 * ROOM_REFRESH_BLOCKS + needed + 2 * self.reserve_blocks;
        if inner.room.placed + needed > ROOM_REFRESH_BLOCKS || inner.room.blocks < low {
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
    fn place(
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
            let count = if matches!(event, Event::Written { .. } | Event::Relocated { .. }) {
                lengths.next().copied().unwrap_or(0)
            } else {
                0
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
            true => self.journal.place_from_reserve(&records)?,
            false => self.journal.place(&records)?,
        };
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
    fn place_refusals(&self, inner: &mut Inner, closing: bool) -> Result<(), Error> {
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

fn remember_refusal(inner: &mut Inner, refusal: &Refusal) {
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
