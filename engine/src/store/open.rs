//! Making, opening and closing a store.

use super::{Inner, RESERVE_BLOCKS, Room, Store, background};
use crate::clock::Clock;
use crate::command::Command;
use crate::damage::Damage;
use crate::error::Error;
use crate::event::Actor;
use crate::fold::{Folder, fold_from};
use crate::ids::Seq;
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::statefile;
use crate::views::Views;
use imbl::OrdSet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strand_journal::{
    Access, CreateOptions, Disk, Journal, Recovery, Start, StoreId, max_record_blocks,
};

/// How a store is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Bytes of a segment: a power of two from 64 KiB to 1 GiB.
    pub segment_size: u64,
    /// Bytes that all segments may take; `None`: what the disk has.
    pub capacity: Option<u64>,
    /// The store's id: random, made by the caller.
    pub store: StoreId,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// For reading (beside other readers) or for writing (alone).
    pub access: Access,
    /// How long to wait for the lock.
    pub lock_timeout: Duration,
    /// Events between two state files; 0: none are written.
    pub state_every: u64,
    /// Fold from the start, whatever state files there are.
    pub ignore_state_files: bool,
    /// State files may be written by a thread.
    pub background: bool,
}

impl OpenOptions {
    /// For reading, with the defaults: ten seconds for the lock, a state file every 500,000 events.
    #[must_use]
    pub fn read_only() -> Self {
        Self {
            access: Access::ReadOnly,
            lock_timeout: Duration::from_secs(10),
            state_every: 500_000,
            ignore_state_files: false,
            background: false,
        }
    }

    /// For writing, with the same defaults.
    #[must_use]
    pub fn read_write() -> Self {
        Self {
            access: Access::ReadWrite,
            ..Self::read_only()
        }
    }
}

/// How an opening went.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What the journal says; `None` for a store just made.
    pub recovery: Option<Recovery>,
    /// The position of the state file begun with.
    pub state_file: Option<Seq>,
    /// State files that could not be used, with the reason.
    pub bad_state_files: Vec<String>,
    /// Events folded.
    pub folded: u64,
    /// An event that could not be folded: the state ends before it (for reading only; for writing this is an error).
    pub damage: Option<Damage>,
}

/// Mapped blocks and inodes up to which a close records a digest: some 20 ms.
const QUICK_DIGEST: u64 = 1 << 20;

/// Events behind the last state file from which a clean close writes another one.
const CLOSE_STATE_EVENTS: u64 = 20_000;

impl Store {
    /// Makes a store and opens it for writing.
    ///
    /// # Errors
    /// [`Error::Journal`] for a directory in use, bad sizes, no room.
    pub fn init(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: InitOptions,
        actor: &Actor,
    ) -> Result<Store, Error> {
        let create = CreateOptions {
            segment_size: options.segment_size,
            store: options.store,
            capacity: options.capacity,
        };
        let journal = Journal::create(disk.clone(), create)?;
        disk.create_dir(statefile::STATE_DIR)
            .map_err(|e| io("make the directory of state files", &e))?;
        let opening = Opening {
            recovery: None,
            state_file: None,
            bad_state_files: Vec::new(),
            folded: 0,
            damage: None,
        };
        let store = Self::assemble(
            disk,
            clock,
            journal,
            State::empty(),
            opening,
            OpenOptions::read_write(),
            background::StateFiles::none(),
        );
        store.run(actor, create_store())?;
        Ok(store)
    }

    /// Opens a store: the newest good state file, then the journal behind it.
    ///
    /// # Errors
    /// [`Error::Journal`] (no store, locked, damaged, newer), [`Error::Damage`] where an event cannot be folded and the access is for writing.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: OpenOptions,
    ) -> Result<Store, Error> {
        let mut bad = Vec::new();
        let mut unbound = Vec::new();
        let mut below = Seq::MAX;
        // A state file was written behind a flush: what it covers was durable, even where the file cannot be used.
        let mut proven = 0;
        loop {
            let base = if options.ignore_state_files {
                None
            } else {
                newest_state(&*disk, below, &mut bad)?
            };
            let from_file = base.is_some();
            let (found, state, start) = match base {
                Some((state, start)) => (Some(state.seq), state, Some(start)),
                None => first_state(&*disk)?,
            };
            let known_flushed = state.seq.max(proven);
            let mut folder = Folder::new(state, BTreeSet::new(), None);
            let mut passed = super::window::Passed::none();
            let opened = Journal::open(
                disk.clone(),
                strand_journal::OpenOptions {
                    access: options.access,
                    start,
                    known_flushed,
                    lock_timeout: options.lock_timeout,
                    spare_blocks: RESERVE_BLOCKS / 2,
                },
                &mut |frame| {
                    folder.frame(frame, &mut |state, placed| {
                        passed.pass(state, placed.first);
                    });
                    Ok(())
                },
            );
            let (journal, recovery) = match opened {
                Ok(opened) => opened,
                Err(strand_journal::Error::BadStart { .. }) if from_file => {
                    bad.push(format!(
                        "the state file at {} does not belong to this journal",
                        found.unwrap_or(0)
                    ));
                    below = found.unwrap_or(0);
                    proven = proven.max(below);
                    unbound.push(below);
                    continue;
                }
                // Whoever had the lock before moved events away.
                Err(strand_journal::Error::BadStart { .. }) if !begins_at(&*disk, start)? => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut damage = folder.damage().cloned();
            let mut state = folder.state.clone();
            if damage.is_none() && !folder.missing().is_empty() {
                let mut bases = |first: Seq| base_for(&*disk, &journal, first);
                // What was passed by the first fold shares nothing with what this one gives.
                passed = super::window::Passed::none();
                match fold_from(&journal.reader(), &mut bases, None, &mut |_, _| {}) {
                    Ok(folded) => state = folded,
                    Err(Error::Damage(found)) => damage = Some(found),
                    Err(error) => return Err(error),
                }
            }
            if let (Some(damage), Access::ReadWrite) = (&damage, options.access) {
                return Err(damage.clone().into());
            }
            drop(folder);
            if options.access == Access::ReadWrite {
                statefile::forget(&*disk, &unbound);
            }
            let folded = state.seq - found.unwrap_or(0).min(state.seq);
            let opening = Opening {
                recovery: Some(recovery),
                state_file: found,
                bad_state_files: bad,
                folded,
                damage,
            };
            let state_files =
                background::StateFiles::begun_with(&*disk, found.zip(start), &journal);
            let store = Self::assemble(disk, clock, journal, state, opening, options, state_files);
            store.keep_passed(passed);
            store.finish_creation()?;
            store.drop_orphans()?;
            store.release_again();
            if store.options.access == Access::ReadWrite {
                store.tell_horizon()?;
            }
            return Ok(store);
        }
    }

    pub(super) fn assemble(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        journal: Journal,
        state: State,
        opening: Opening,
        options: OpenOptions,
        state_files: background::StateFiles,
    ) -> Store {
        let reserve = RESERVE_BLOCKS.min(4 * u64::from(journal.blocks_per_segment()));
        let segment_size = u64::from(journal.blocks_per_segment()) * crate::block::BLOCK;
        let write_blocks = u64::from(max_record_blocks(segment_size)).max(1);
        let waiting = state.volumes.values().map(|v| v.pending.len() as u64).sum();
        let present = super::present::Present::of(&state.places);
        let opened = super::window::Opened {
            elapsed: state.elapsed,
            monotonic: clock.monotonic(),
            head: journal.head().next_addr,
        };
        let capacity = journal.space().capacity;
        let kept_back = super::room::segments_kept(capacity, segment_size)
            * u64::from(journal.blocks_per_segment());
        super::room::count_others(&journal, &*disk);
        Store {
            inner: Mutex::new(Inner {
                state,
                open: OrdSet::new(),
                handles: BTreeMap::new(),
                room: Room::default(),
                clocks: None,
                refused: BTreeMap::new(),
                bytes: Vec::new(),
                crcs: Vec::new(),
            }),
            digests: Mutex::default(),
            following: Mutex::default(),
            owner: None,
            journal: Arc::new(journal),
            clock,
            disk,
            options,
            opening,
            reserve_blocks: reserve,
            write_blocks,
            state_files,
            unsettled: AtomicU64::new(waiting),
            settled_elsewhere: std::sync::atomic::AtomicBool::new(false),
            bad: Mutex::default(),
            leases: Arc::default(),
            present,
            window: super::window::Window::default(),
            jobs: crate::jobs::Jobs::default(),
            moving: Mutex::default(),
            leaving: super::horizon::Leaving::default(),
            opened,
            capacity,
            asking: std::sync::OnceLock::new(),
            upkeep: super::making_room::Upkeep::default(),
            kept_back,
        }
    }

    /// A crash while the store was made may have left a journal without its first event.
    fn finish_creation(&self) -> Result<(), Error> {
        if self.options.access == Access::ReadOnly || self.state().created.is_some() {
            return Ok(());
        }
        self.run(&Actor::program(), create_store()).map(|_| ())
    }

    /// Files whose last name went while a handle of the last run kept them: the handles are gone.
    fn drop_orphans(&self) -> Result<(), Error> {
        if self.options.access == Access::ReadOnly {
            return Ok(());
        }
        let mut inner = self.lock();
        let orphans: Vec<_> = inner
            .state
            .volumes
            .iter()
            .flat_map(|(id, v)| v.live.orphans.iter().map(|ino| (*id, *ino)))
            .collect();
        for (volume, ino) in orphans {
            let dropped = self.execute(
                &mut inner,
                &Actor::program(),
                Command::DropOrphan { volume, ino },
                &[],
                &Views::none(),
            );
            match dropped {
                // A full store opens all the same; they go when there is room.
                Err(error) if error.kind() == Kind::NoSpace => return Ok(()),
                other => other?,
            };
        }
        Ok(())
    }

    /// Closes the store in good order: bulk movements counted, refusals recorded, a state file where the journal grew long, and a last frame that
    /// says so. Dropping a store without this loses nothing that was committed.
    ///
    /// # Errors
    /// [`Error::Journal`].
    pub fn close(self) -> Result<(), Error> {
        if self.options.access == Access::ReadOnly {
            return Ok(());
        }
        self.state_files.join();
        let kept = self.keep_books();
        let kept = kept.and_then(|()| self.housekeep_at_rest());
        let closed = if self.journal.space().free_blocks <= self.reserve_blocks / 2 {
            self.journal.close_without_frame()
        } else {
            self.journal.close()
        };
        closed?;
        match kept {
            // On a full store the books are kept later; what was asked for is done.
            Err(error) if error.kind() == Kind::NoSpace => Ok(()),
            other => other,
        }
    }

    /// What a close records.
    fn keep_books(&self) -> Result<(), Error> {
        self.settle()?;
        self.place_refusals(&mut self.lock(), true)?;
        let every = self.options.state_every;
        let due = every > 0 && self.state_files.due(self, CLOSE_STATE_EVENTS.min(every));
        if due || self.state_files.wanted() {
            if let Err(error) = self.write_state_file() {
                tracing::warn!(%error, "no state file was written; the next opening folds more");
            }
        } else if self.worth_a_digest() {
            self.record_digest()?;
        }
        Ok(())
    }

    /// Ends what one command did in a store that stays open: records what a close would have recorded, durably.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn end_session(&self) -> Result<(), Error> {
        let kept = self.keep_session();
        self.sync()?;
        match kept {
            // On a full store the books are kept later; what was asked for is done.
            Err(error) if error.kind() == Kind::NoSpace => Ok(()),
            other => other,
        }
    }

    fn keep_session(&self) -> Result<(), Error> {
        self.settle()?;
        {
            let mut inner = self.lock();
            self.place_refusals(&mut inner, true)?;
            // The next command is another one: its refusals are told at once, as those of a store that was opened for it.
            inner.refused.clear();
        }
        let every = self.options.state_every;
        let due = every > 0 && self.state_files.due(self, CLOSE_STATE_EVENTS.min(every));
        // The file itself is written in the background, when the journal has grown far enough.
        if due || self.state_files.wanted() || self.worth_a_digest() {
            self.record_digest()?;
        }
        Ok(())
    }

    /// A digest is recorded at a close that follows changes, unless the first one of this process would take long.
    fn worth_a_digest(&self) -> bool {
        let state = self.state();
        let mapped: u64 = state
            .volumes
            .values()
            .map(|v| v.live.blocks + v.live.inodes.len())
            .sum();
        let recorded = state.digest.map_or(0, |(at, _)| at + 1); // its own event follows what it covers
        state.seq > recorded && mapped <= QUICK_DIGEST
    }
}

fn create_store() -> Command {
    Command::CreateStore {
        program: concat!("strand ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// The newest state file below a position that loads.
pub(super) fn newest_state(
    disk: &dyn Disk,
    below: Seq,
    bad: &mut Vec<String>,
) -> Result<Option<(State, Start)>, Error> {
    let store = strand_journal::StoreFile::read(disk)?.store;
    let mut files = statefile::list(disk)?;
    files.sort_unstable();
    for (_, name) in files.into_iter().rev().filter(|(seq, _)| *seq < below) {
        match statefile::load(disk, &name, store) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(damage) => {
                tracing::warn!(file = %name, %damage, "a state file cannot be used; an older one, or the start, will do");
                bad.push(format!("{name}: {damage}"));
            }
        }
    }
    Ok(None)
}

/// What an opening without a state file begins with: the empty state, or what stands for events that have moved away.
pub(super) fn first_state(disk: &dyn Disk) -> Result<(Option<Seq>, State, Option<Start>), Error> {
    let store = strand_journal::StoreFile::read(disk)?.store;
    loop {
        let Some(origin) = strand_journal::horizon(disk, store)? else {
            return Ok((None, State::empty(), None));
        };
        match super::horizon::beginning(disk, store, origin) {
            Ok((state, start)) => return Ok((Some(state.seq), state, Some(start))),
            Err(Error::Journal(strand_journal::Error::Moved { .. })) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the base state that stands for events that have moved away: the last position that it covers, `None` where every event is still there. Takes no
/// lock; costs what loading a state file costs.
///
/// # Errors
/// [`Error::Damage`] where it cannot be read; [`Error::Journal`].
pub fn base_state(disk: &dyn Disk) -> Result<Option<Seq>, Error> {
    first_state(disk).map(|(covered, ..)| covered)
}

/// Whether the store still begins at a place.
pub(super) fn begins_at(disk: &dyn Disk, place: Option<Start>) -> Result<bool, Error> {
    let store = strand_journal::StoreFile::read(disk)?.store;
    Ok(strand_journal::horizon(disk, store)? == place)
}

/// A state to fold from: the newest good state file at or before a position, or where the store's events begin.
pub(super) fn base_for(
    disk: &dyn Disk,
    journal: &Journal,
    first: Seq,
) -> Result<(State, Start), Error> {
    let reader = journal.reader();
    let mut below = first.saturating_add(1);
    while let Ok(Some((state, start))) = newest_state(disk, below, &mut Vec::new()) {
        if reader.holds(&start).unwrap_or(false) {
            return Ok((state, start));
        }
        below = state.seq;
    }
    super::horizon::beginning(disk, journal.store(), reader.origin())
}

fn io(action: &'static str, error: &std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let kind = if full { Kind::NoSpace } else { Kind::Io };
    Refusal::new(kind, format!("cannot {action}"))
        .why(error.to_string())
        .into()
}
