//! The engine and the reference, step by step: the same steps, the same refusals, and afterwards the same trees, bytes, images,
//! owners and living versions. The two number things in their own way; which number stands for which is found by comparison and
//! must be one to one.

mod compare;
mod engine_side;
mod life;
mod pairs;
mod reference_side;

pub use compare::Depth;
pub use engine_side::{EngineSide, Ran, source};
pub use pairs::Pairs;
pub use reference_side::{bytes, on_reference};

use crate::history::Step;
use crate::reference::{Reference, Source, Tree, VolumeNumber};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::fold::fold_from;
use strand_engine::{
    Actor, CheckpointId, Clock, Event, Fileset, GiveUp, Grade, InitOptions, Kind, Lease,
    ManualClock, OpenOptions, Placed, Seq, State, Store, UNDO_DEPTH, digest,
};
use strand_journal::disk::Disk;
use strand_journal::{Access, StoreId, max_record_blocks};
use strand_replay::verify;

/// Segments so small that a history crosses from one to the next many times.
pub const SEGMENT_SIZE: u64 = 64 * 1024;
/// When the tests' time begins, ns since the Unix epoch.
pub const BEGIN: u64 = 1_800_000_000_000_000_000;

/// Both stores, and what stands for what.
pub struct Lockstep {
    /// The reference.
    pub reference: Reference,
    pub(crate) store: Option<Store>,
    disk: Arc<dyn Disk>,
    clock: Arc<ManualClock>,
    actor: Actor,
    inos: Pairs,
    versions: Pairs,
    leased: Vec<Leased>,
    state_every: u64,
    /// Space may run out: what the store gives up for lack of it is taken over, and what it refuses for it is left out.
    tight: bool,
    /// Checkpoints that gave way to a full store.
    pub gave_way: u64,
    /// Checkpoints that a schedule let go.
    pub thinned: u64,
    windows: life::Windows,
}

/// A view that somebody reads, as both have it.
struct Leased {
    ours: Tree,
    theirs: Fileset,
    lease: Lease,
    /// By the monotonic clock, in ns.
    until: Option<u64>,
}

/// How the tests open stores: no threads, so that a run is the same every time.
#[must_use]
pub fn open_options(state_every: u64, ignore_state_files: bool) -> OpenOptions {
    OpenOptions {
        access: Access::ReadWrite,
        // Where another test of this process starts a program, that one holds our descriptors for a moment: a lock with them.
        lock_timeout: Duration::from_secs(5),
        state_every,
        ignore_state_files,
        background: false,
    }
}

/// An actor of the tests.
#[must_use]
pub fn actor(name: &str) -> Actor {
    Actor {
        grade: Grade::Caller,
        uid: 1000,
        pid: 4242,
        started: 1,
        name: name.into(),
        command: String::new(),
        login: "tester".into(),
        reason: String::new(),
    }
}

/// The state by folding the journal from the first event that is still in the store.
///
/// # Errors
/// What the fold says.
pub fn fold(store: &Store) -> Result<State, String> {
    fold_all(store, &mut |_, _| {}).map_err(|e| format!("fold from the start: {e}"))
}

/// Folds all events that are still in a store, from its beginning on.
fn fold_all(
    store: &Store,
    on: &mut dyn FnMut(&State, &Placed<'_>),
) -> Result<State, strand_engine::Error> {
    fold_from(
        &store.journal().reader(),
        &mut |_| store.beginning(),
        None,
        on,
    )
}

/// A digest computed from nothing but the state.
#[must_use]
pub fn fresh_digest(state: &State) -> u128 {
    digest::digest(state, &mut digest::DigestCache::default())
}

/// What the books of the volumes say where bulk movements wait to be counted.
fn uncounted(state: &State) -> BTreeMap<VolumeNumber, u64> {
    let waiting = state.volumes.iter().filter(|(_, v)| v.settling());
    waiting.map(|(id, v)| (id.0, v.images.owned())).collect()
}

/// What somebody decides about the store, and what the store does of itself: nothing gives way to it.
fn is_administrative(step: &Step) -> bool {
    matches!(
        step,
        Step::CheckpointCreate { .. }
            | Step::CheckpointRemove(_)
            | Step::CheckpointRename(..)
            | Step::CheckpointHold(..)
            | Step::CheckpointFlag(..)
            | Step::CheckpointConvert(_)
            | Step::CheckpointGiveUp(_)
            | Step::Rollback { .. }
            | Step::RollbackAll(_)
            | Step::RollbackFiles { .. }
            | Step::CloneCreate { .. }
            | Step::CloneReset(_)
            | Step::VolumeCreate(_)
            | Step::VolumeRename(..)
            | Step::VolumeRemove(..)
            | Step::QuotaSet { .. }
            | Step::Undo(_)
            | Step::Redo(_)
            | Step::Settle
            | Step::StateFile
            | Step::Reopen { .. }
            | Step::Reclaim { .. }
            | Step::Defrag(_)
            | Step::RetentionSet { .. }
            | Step::MoveWindowsOn
            | Step::ScheduleSet { .. }
            | Step::FollowSchedule(_)
            | Step::MoveArchives(_)
            | Step::AuditSet(_)
            | Step::TrimArchives
    )
}

impl Lockstep {
    /// A new store on a disk, and an empty reference. A state file is written every so many events.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new(disk: Arc<dyn Disk>, state_every: u64) -> Result<Self, String> {
        Self::of_capacity(disk, state_every, None)
    }

    /// As [`Lockstep::new`], a store of at most so many bytes. The reference knows no bytes: what the engine gives up for lack of space is taken over, and
    /// judged; and what it refuses for it is left out.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of_capacity(
        disk: Arc<dyn Disk>,
        state_every: u64,
        capacity: Option<u64>,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::new(BEGIN));
        let actor = actor("model");
        let options = InitOptions {
            segment_size: SEGMENT_SIZE,
            capacity,
            store: StoreId([7; 16]),
        };
        let store = Store::init(disk.clone(), clock.clone(), options, &actor)
            .map_err(|e| format!("init: {e}"))?;
        let mut lockstep = Self {
            reference: Reference::new(max_record_blocks(SEGMENT_SIZE).into()),
            store: Some(store),
            disk,
            clock,
            actor,
            inos: Pairs::default(),
            versions: Pairs::default(),
            leased: Vec::new(),
            state_every,
            tight: capacity.is_some(),
            gave_way: 0,
            thinned: 0,
            windows: life::Windows::default(),
        };
        lockstep.reopen(true, false)?;
        Ok(lockstep)
    }

    /// From now on the disk may be full.
    pub fn may_be_full(&mut self) {
        self.tight = true;
    }

    /// The open store.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
            .as_ref()
            .expect("a step that ends the process also opens the store again")
    }

    fn engine(&self) -> EngineSide<'_> {
        EngineSide {
            store: self.store(),
            actor: &self.actor,
            inos: &self.inos,
            clock: &self.clock,
        }
    }

    /// What the reference's inode numbers mean in the engine.
    #[must_use]
    pub fn inos(&self) -> &Pairs {
        &self.inos
    }

    /// Runs a step on both sides. Gives what both refused it with, if they did.
    ///
    /// # Errors
    /// Where one refuses and the other does not, or for another reason.
    pub fn step(&mut self, step: &Step) -> Result<Option<&'static str>, String> {
        if let Step::Reopen { clean, from_start } = step {
            self.uncounted(*clean);
            self.leased.clear();
            self.reference.leases.clear();
            let seq = self.store().state().seq;
            self.reopen(*clean, *from_start)?;
            if self.tight {
                self.follow_room(seq, step)?;
            }
            let inos = &self.inos;
            self.reference
                .reopened(&|ino| inos.theirs(ino).unwrap_or(ino));
            return Ok(None);
        }
        self.uncounted(false);
        let state = self.store().state();
        self.windows
            .remember(state.boundary, self.clock.monotonic());
        let (images, seq) = (state.next_checkpoint, state.seq);
        drop(state);
        let theirs = self.engine().run(step);
        self.reference.times_differ = self.store().state().next_checkpoint != images;
        if let Step::FollowSchedule(volume) = step {
            return self.follow_schedule(*volume, seq, theirs.err());
        }
        if self.tight {
            self.follow_room(seq, step)?;
            if theirs.as_ref().is_err_and(|e| e.kind() == Kind::NoSpace) {
                return Ok(Some("no-space"));
            }
            let first = theirs.as_ref().map_or(Some(Seq::MAX), |ran| ran.first);
            self.counted_for_room(seq, first)?;
        }
        let first = theirs.as_ref().ok().and_then(|ran| ran.first).unwrap_or(0);
        let ours = on_reference(&mut self.reference, step, first);
        match step {
            Step::Lease(source) => return self.lease(*source, None),
            Step::LeaseFor(source, term) => return self.lease(*source, Some(*term)),
            Step::Pass(_) => self.end_leases()?,
            Step::EndLease(which) if !self.leased.is_empty() => {
                let which = *which as usize % self.leased.len();
                self.leased.remove(which);
                self.reference.leases.remove(which);
            }
            _ => {}
        }
        if life::moves_history(step) {
            self.follow_history(seq, step)?;
        }
        self.number_changes()?;
        match (ours, theirs) {
            (Ok(()), Ok(_)) => Ok(None),
            (Err(ours), Err(theirs)) if ours == theirs.kind().name() => Ok(Some(ours)),
            (ours, Err(theirs)) => Err(format!(
                "the reference: {ours:?}, the engine: {} ({theirs})",
                theirs.kind().name()
            )),
            (ours, Ok(_)) => Err(format!("the reference: {ours:?}, the engine did it")),
        }
    }

    /// Somebody reads a view from now on, on both sides, for so many ns at most.
    fn lease(&mut self, source: Source, term: Option<u64>) -> Result<Option<&'static str>, String> {
        let ours = self.reference.image(source);
        let theirs = self.store().view_with_data(engine_side::source(source));
        match (ours, theirs) {
            (Ok(mut ours), Ok(theirs)) if self.leased.len() < 4 => {
                ours.drop_orphans();
                let of = engine_side::source(source);
                let until = term.map(|term| self.clock.monotonic() + term);
                let term = term.map(Duration::from_nanos);
                let lease = self.store().lease(of, theirs.clone(), "model".into(), term);
                self.leased.push(Leased {
                    ours,
                    theirs,
                    lease,
                    until,
                });
                self.reference.leases.push(source);
                Ok(None)
            }
            (Ok(_), Ok(_)) => Ok(None),
            (Err(ours), Err(theirs)) if ours == theirs.kind().name() => Ok(Some(ours)),
            (ours, theirs) => Err(format!(
                "a view of {source:?}: {:?} by the reference, {theirs:?} by the engine",
                ours.err()
            )),
        }
    }

    /// The events behind a number, with theirs.
    fn events_after(&self, before: Seq) -> Result<Vec<(Seq, Event)>, String> {
        let mut found = Vec::new();
        let store = self.store();
        store.sync().map_err(|e| format!("sync: {e}"))?;
        let mut see = |_: &State, placed: &Placed<'_>| {
            if placed.seq > before && found.last().is_none_or(|(last, _)| *last < placed.seq) {
                found.push((placed.seq, placed.event.clone()));
            }
        };
        fold_all(store, &mut see).map_err(|e| format!("fold from the start: {e}"))?;
        Ok(found)
    }

    /// What a full store gave up for a step: history, and checkpoints in the order of the reference, but none for an administrative step.
    fn follow_room(&mut self, before: Seq, step: &Step) -> Result<(), String> {
        let events = self.events_after(before)?;
        self.follow_trimmed(before, step)?;
        for (seq, event) in &events {
            match event {
                Event::HistoryReleased { before: first, .. } => {
                    self.reference.release_history(*first);
                }
                Event::CheckpointGivenUp { checkpoint, cause } if *cause == GiveUp::Capacity => {
                    if let Some(volume) = self.reference.viewable_before(before) {
                        return Err(format!(
                            "checkpoint {checkpoint} gave way at {seq}, and volume {volume} still had history"
                        ));
                    }
                    let next = self.reference.next_to_give_way();
                    if is_administrative(step) || next != Some(checkpoint.0) {
                        return Err(format!(
                            "checkpoint {checkpoint} gave way at {seq} to {step:?}; the next in order was {next:?}"
                        ));
                    }
                    self.reference
                        .give_way()
                        .map_err(|e| format!("nothing gives way: {e}"))?;
                    self.gave_way += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Archives go first where space runs out, and events of this very step may go with them: what they gave up is told by the state that stands for them.
    fn follow_trimmed(&mut self, before: Seq, step: &Step) -> Result<(), String> {
        let base = self.store().beginning();
        let (base, _) = base.map_err(|e| format!("the base state: {e}"))?;
        if base.seq <= before || is_administrative(step) {
            return Ok(());
        }
        if let Some(window) = base.oldest_window() {
            self.reference.release_history(window);
        }
        while let Some(next) = self.reference.next_to_give_way()
            && !base.checkpoints.contains_key(&CheckpointId(next))
        {
            if let Some(volume) = self.reference.viewable_before(before) {
                return Err(format!(
                    "checkpoint {next} gave way, and volume {volume} still had history"
                ));
            }
            let gave_way = self.reference.give_way();
            gave_way.map_err(|e| format!("nothing gives way: {e}"))?;
            self.gave_way += 1;
        }
        Ok(())
    }

    /// The changes that undo knows are the same, one by one; new ones get their numbers.
    fn number_changes(&mut self) -> Result<(), String> {
        let state = self.store().state();
        let (ours, theirs) = (&mut self.reference.changes, &state.changes);
        if theirs.len() == UNDO_DEPTH {
            return Err("a history with so many changes that undo forgets some".into());
        }
        if ours.len() != theirs.len() {
            let (ours, theirs) = (ours.len(), theirs.len());
            return Err(format!(
                "{ours} changes by the reference, {theirs} by the engine"
            ));
        }
        for (ours, theirs) in ours.iter_mut().zip(theirs) {
            if ours.seq == 0 {
                ours.seq = theirs.seq;
            }
            if (ours.seq, ours.undone.is_some()) != (theirs.seq, theirs.undone.is_some()) {
                return Err(format!("change {} is the engine's {theirs:?}", ours.seq));
            }
        }
        Ok(())
    }

    /// Where bulk movements wait to be counted, what is used is what the books say so far: an input of the reference.
    fn uncounted(&mut self, all_counted: bool) {
        self.reference.books = match all_counted {
            true => BTreeMap::new(),
            false => uncounted(&self.store().state()),
        };
    }

    /// Whoever makes room for a step counts what waits, and what gives way waits to be counted: the step is judged by the books as they are then, just before
    /// its first event, or now where it was refused.
    fn counted_for_room(&mut self, before: Seq, first: Option<Seq>) -> Result<(), String> {
        let now = self.store().state();
        let Some(first) = first.filter(|first| *first > before + 1 && now.seq > before) else {
            return Ok(());
        };
        let mut books = uncounted(&now);
        let mut see = |state: &State, placed: &Placed<'_>| {
            if placed.seq == first {
                books = uncounted(state);
            }
        };
        fold_all(self.store(), &mut see).map_err(|e| format!("fold from the start: {e}"))?;
        self.reference.books = books;
        Ok(())
    }

    /// Keeps the live trees as the view of the present position.
    pub fn remember(&mut self) {
        let boundary = self.store().state().boundary;
        self.reference.remember(boundary);
    }

    fn reopen(&mut self, clean: bool, from_start: bool) -> Result<(), String> {
        let store = self.store.take().expect("open between steps");
        if clean {
            store.close().map_err(|e| format!("close: {e}"))?;
        } else {
            store.sync().map_err(|e| format!("sync: {e}"))?;
            drop(store);
        }
        let options = open_options(self.state_every, from_start);
        let store = Store::open(self.disk.clone(), self.clock.clone(), options)
            .map_err(|e| format!("open: {e}"))?;
        if let Some(recovery) = &store.opening().recovery
            && (recovery.torn.is_some() || recovery.damage.is_some())
        {
            return Err(format!("nothing was lost, but recovery says {recovery:?}"));
        }
        self.store = Some(store);
        Ok(())
    }

    /// The state is what a fold of the whole journal yields, and so is its digest, however it is computed.
    ///
    /// # Errors
    /// The difference.
    pub fn check_fold(&self) -> Result<(), String> {
        let store = self.store();
        store.sync().map_err(|e| format!("sync: {e}"))?;
        let (state, folded) = (store.state(), fold(store)?);
        if (state.seq, state.boundary) != (folded.seq, folded.boundary) {
            return Err(format!(
                "the state is at {}, a fold of the journal at {}",
                state.seq, folded.seq
            ));
        }
        let (kept, fresh, again) = (store.digest(), fresh_digest(&state), fresh_digest(&folded));
        if kept == fresh && fresh == again {
            return Ok(());
        }
        Err(format!(
            "digests at {}: {kept:x} kept, {fresh:x} computed afresh, {again:x} after a fold",
            state.seq
        ))
    }

    /// All the trouble there can be, at the end of a history: everything compared, settled, folded.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_all(&mut self) -> Result<(), String> {
        self.compare(Depth::Full)?;
        self.store().settle().map_err(|e| format!("settle: {e}"))?;
        if self.store().state().volumes.values().any(|v| v.settling()) {
            return Err("settled, but a volume says it is settling".into());
        }
        self.compare(Depth::Full)?;
        self.check_fold()?;
        self.check_verified()
    }

    /// Verification finds nothing wrong: copy-outs recomputed, ledgers, digests, every payload block.
    fn check_verified(&self) -> Result<(), String> {
        let options = verify::Options {
            data: true,
            anchor: None,
            from_scratch: true,
        };
        let report =
            verify::verify(self.store(), &options, &|_| {}).map_err(|e| format!("verify: {e}"))?;
        if report.ok() {
            Ok(())
        } else {
            Err(format!("verify: {:#?}", report.findings))
        }
    }
}
