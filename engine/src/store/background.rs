//! Bookkeeping off the commit path: state files, settlement, digests.

use super::Store;
use crate::command::Command;
use crate::error::Error;
use crate::event::Actor;
use crate::ids::Seq;
use crate::owner::settle;
use crate::statefile;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use strand_journal::Access;

/// How many state files are kept: the newest may turn out bad.
const KEEP: usize = 2;

/// What is known of the state files.
pub(super) struct StateFiles {
    last: AtomicU64,
    wanted: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl StateFiles {
    pub(super) fn new(last: Seq) -> Self {
        Self {
            last: AtomicU64::new(last),
            wanted: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
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

    /// Writes a state file where one is due.
    pub(super) fn after_commit(&self, store: &Store) {
        let every = store.options.state_every;
        if every == 0 || store.options.access == Access::ReadOnly {
            return;
        }
        let behind = store.journal.flushed().saturating_sub(self.last());
        if behind < every && !self.wanted() {
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
        self.last.store(frozen.state.seq, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        let (journal, disk) = (store.journal.clone(), store.disk.clone());
        *thread = Some(std::thread::spawn(move || {
            let written = frozen.write(&journal, &*disk);
            if let Err(error) = written {
                tracing::warn!(%error, "no state file was written");
            }
        }));
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
    state: crate::state::State,
    fence: strand_journal::Ticket,
}

impl Frozen {
    fn write(
        &self,
        journal: &strand_journal::Journal,
        disk: &dyn strand_journal::Disk,
    ) -> Result<Seq, Error> {
        let start = journal.start_after(self.fence)?;
        statefile::write(disk, &self.state, &start, journal.store())?;
        statefile::prune(disk, KEEP)?;
        Ok(self.state.seq)
    }
}

impl Store {
    pub(super) fn freeze(&self) -> Frozen {
        let inner = self.lock();
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
        let seq = frozen.write(&self.journal, &*self.disk)?;
        self.state_files.last.store(seq, Ordering::Relaxed);
        self.state_files.wanted.store(false, Ordering::Relaxed);
        Ok(seq)
    }

    /// Counts every bulk movement of ownership that waits: afterwards every ledger says what is. Gives how many there were.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn settle(&self) -> Result<u64, Error> {
        let mut settled = 0;
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
            drop(state);
            let Some((volume, pending, spread)) = next else {
                return Ok(settled);
            };
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
