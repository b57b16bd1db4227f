//! Bookkeeping off the commit path: state files, settlement, digests.

use super::{MOST_UNSETTLED, Store};
use crate::block::BLOCK;
use crate::command::Command;
use crate::error::Error;
use crate::event::Actor;
use crate::ids::Seq;
use crate::jobs::{Job, JobKind};
use crate::owner::settle;
use crate::state::State;
use crate::statefile;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strand_journal::{Access, Disk, Journal, Start};

/// How many state files are kept: the newest may turn out bad.
const KEEP: usize = 2;
/// However large the state is, a state file is written after so many events: an opening folds no more than this.
const MOST_BEHIND: u64 = 1_000_000;
/// Counting is a job where it takes longer than this, …
const AT_ONCE: Duration = Duration::from_millis(100);
/// … and where it may, from the start: a movement in a tree of so many blocks (1 GiB), or [`MOST_UNSETTLED`] movements. One that was over sooner is not
/// remembered.
const MUCH: u64 = 1 << 18;

/// What is known of the state files.
pub(super) struct StateFiles {
    last: AtomicU64,
    /// Bytes of the last one, and of the journal when it was written: a large state is not written again for a few events.
    size: Arc<AtomicU64>,
    journal_bytes: AtomicU64,
    wanted: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held by whoever writes state files or removes them.
    files: Arc<Mutex<()>>,
}

impl StateFiles {
    /// There is none yet.
    pub(super) fn none() -> Self {
        Self::new(0, 0, 0)
    }

    /// After an opening that began with the state file of that position, if any, and went on in the journal at that place.
    pub(super) fn begun_with(
        disk: &dyn Disk,
        found: Option<(Seq, Start)>,
        journal: &Journal,
    ) -> Self {
        let Some((seq, start)) = found else {
            return Self::none();
        };
        let bytes = position_bytes(journal, start.segment, start.block);
        Self::new(seq, statefile::size(disk, seq), bytes)
    }

    fn new(last: Seq, size: u64, journal_bytes: u64) -> Self {
        Self {
            last: AtomicU64::new(last),
            size: Arc::new(AtomicU64::new(size)),
            journal_bytes: AtomicU64::new(journal_bytes),
            wanted: AtomicBool::new(false),
            thread: Mutex::new(None),
            files: Arc::default(),
        }
    }

    /// While this is held, nobody writes or removes state files. Not to be held where something is committed: that may write one.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last(&self) -> Seq {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Asks for a state file at the next occasion.
    pub(super) fn write_soon(&self, store: &Store) {
        self.wanted.store(true, Ordering::Relaxed);
        self.after_commit(store);
    }

    /// A state file is due after `every` events, and not before the journal has grown by as much as the last file took: so state files
    /// at most double what is written, however large the state is. An opening still folds no more than [`MOST_BEHIND`] events.
    pub(super) fn due(&self, store: &Store, every: u64) -> bool {
        let behind = store.journal.flushed().saturating_sub(self.last());
        if behind < every {
            return false;
        }
        let grown = journal_bytes(&store.journal)
            .saturating_sub(self.journal_bytes.load(Ordering::Relaxed));
        behind >= MOST_BEHIND.max(every) || grown >= self.size.load(Ordering::Relaxed)
    }

    fn note(&self, seq: Seq, journal_bytes: u64) {
        self.last.store(seq, Ordering::Relaxed);
        self.journal_bytes.store(journal_bytes, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Writes a state file where one is due.
    pub(super) fn after_commit(&self, store: &Store) {
        let every = store.options.state_every;
        if every == 0 || store.options.access == Access::ReadOnly {
            return;
        }
        if !self.due(store, every) && !self.wanted() {
            return;
        }
        if !store.options.background || !store.disk.background() {
            if let Err(error) = store.write_state_file() {
                tracing::warn!(%error, "no state file was written");
            }
            return;
        }
        let Ok(mut thread) = self.thread.try_lock() else {
            return;
        };
        if thread.as_ref().is_some_and(|t| !t.is_finished()) {
            return;
        }
        // The frozen root and its place in the journal are taken now, cheaply; the thread does the rest.
        let frozen = store.freeze();
        self.note(frozen.state.seq, journal_bytes(&store.journal));
        let (journal, disk, size) = (store.journal.clone(), store.disk.clone(), self.size.clone());
        let files = self.files.clone();
        let write = move || {
            let _alone = files.lock().unwrap_or_else(PoisonError::into_inner);
            match frozen.write(&journal, &*disk) {
                Ok(bytes) => size.store(bytes, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "no state file was written"),
            }
        };
        match std::thread::Builder::new()
            .name("state-file".into())
            .spawn(write)
        {
            Ok(spawned) => *thread = Some(spawned),
            // The one before is good for longer; an opening folds more.
            Err(error) => tracing::warn!(%error, "no thread, and so no state file"),
        }
    }

    /// Waits for the thread.
    pub(super) fn join(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::warn!("the thread that wrote a state file died");
        }
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        self.join();
    }
}

/// A state, and the ticket behind which its journal position lies.
pub(super) struct Frozen {
    state: State,
    fence: strand_journal::Ticket,
}

impl Frozen {
    /// Where nobody else writes or removes state files.
    fn write(&self, journal: &Journal, disk: &dyn Disk) -> Result<u64, Error> {
        let start = journal.start_after(self.fence)?;
        let written = statefile::write(disk, &self.state, &start, journal.store())?;
        prune(journal, disk, &self.state)?;
        Ok(written.bytes)
    }
}

/// After a state file was written, and where nobody else writes or removes one: those that are too many go, and the journal hears what the others take.
pub(super) fn prune(journal: &Journal, disk: &dyn Disk, now: &State) -> Result<(), Error> {
    // What stands for events that have moved away, and what the windows' oldest views are folded from.
    let base = journal.reader().origin().number - 1;
    let window = now.oldest_window().unwrap_or(0);
    let pruned = statefile::prune(disk, KEEP, &[base, window]);
    super::room::count_others(journal, disk);
    Ok(pruned?)
}

/// How far the journal reaches, in bytes.
fn journal_bytes(journal: &Journal) -> u64 {
    let head = journal.head();
    position_bytes(journal, head.segment, head.block)
}

fn position_bytes(journal: &Journal, segment: u64, block: u32) -> u64 {
    segment
        .saturating_mul(u64::from(journal.blocks_per_segment()))
        .saturating_add(u64::from(block))
        .saturating_mul(BLOCK)
}

impl Store {
    pub(super) fn freeze(&self) -> Frozen {
        let inner = self.lock();
        self.froze(&inner.state);
        Frozen {
            state: inner.state.clone(),
            fence: self.journal.fence(),
        }
    }

    /// Records the digest of the state and writes a state file at the present position; everything before it is made durable.
    ///
    /// # Errors
    /// [`Error::Journal`], or what the disk says.
    pub fn write_state_file(&self) -> Result<Seq, Error> {
        self.record_digest()?;
        let frozen = self.freeze();
        let alone = self.state_files.alone();
        let bytes = frozen.write(&self.journal, &*self.disk)?;
        drop(alone);
        self.state_files.size.store(bytes, Ordering::Relaxed);
        let seq = frozen.state.seq;
        self.state_files.note(seq, journal_bytes(&self.journal));
        Ok(seq)
    }

    /// Counts every bulk movement of ownership that waits: afterwards every ledger says what is. Gives how many there were. Where that may take long it is a
    /// job; told to end, it leaves the rest for the next time.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn settle(&self) -> Result<u64, Error> {
        let begun = Instant::now();
        let mut settled = 0;
        let mut job: Option<Job> = None;
        self.unsettled.store(0, Ordering::Relaxed);
        loop {
            let state = self.state();
            let mut next = None;
            for (id, volume) in &state.volumes {
                // A scope that nothing followed, which only a forged journal has, cannot be counted.
                let front = volume.pending.front();
                if let Some(pending) = front.filter(|p| p.after.is_some()) {
                    next = Some((*id, pending.clone(), volume.spread.clone()));
                    break;
                }
            }
            let waiting = state.volumes.values().map(|v| v.pending.len() as u64);
            let waiting: u64 = waiting.sum();
            drop(state);
            let Some((volume, pending, spread)) = next else {
                if let Some(quick) = job.filter(|_| begun.elapsed() < AT_ONCE) {
                    quick.end_unseen();
                }
                return Ok(settled);
            };
            let large = pending.before.live.blocks >= MUCH || waiting >= MOST_UNSETTLED;
            if job.is_none() && (large || begun.elapsed() >= AT_ONCE) {
                let now = self.clock.wall();
                job = Some(self.jobs.begin(JobKind::Settle, "bulk movements", now));
            }
            if let Some(job) = &job {
                job.set_total(settled + waiting);
                if job.is_cancelled() {
                    self.unsettled.fetch_add(waiting, Ordering::Relaxed);
                    return Ok(settled);
                }
            }
            // Counted outside the lock: the roots are frozen.
            let shifts = settle(&pending, &spread);
            self.submit(
                &Actor::program(),
                Command::Settle {
                    volume,
                    scope: pending.scope,
                    shifts,
                },
            )?;
            settled += 1;
            if let Some(job) = &job {
                job.add_done(1);
            }
        }
    }

    /// The digest of the state as it is now.
    #[must_use]
    pub fn digest(&self) -> u128 {
        let state = self.state();
        let mut cache = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        crate::digest::digest(&state, &mut cache)
    }

    /// Records the digest of the state at the last boundary, for later folds to compare. Gives the position and the digest.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn record_digest(&self) -> Result<(Seq, u128), Error> {
        let state = self.state();
        let digest = {
            let mut cache = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
            crate::digest::digest(&state, &mut cache)
        };
        let at = state.seq;
        drop(state);
        self.submit(&Actor::program(), Command::RecordDigest { at, digest })?;
        Ok((at, digest))
    }
}
