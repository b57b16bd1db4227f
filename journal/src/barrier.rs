//! Group commit: many writers, one flush.
//!
//! The first writer that finds nobody leading leads: it takes everything placed so far, writes and flushes it, and wakes
//! those it carried. Writers that come meanwhile wait for the next group; one of them leads it. A leader who knows that
//! other writers were released a moment ago lets them queue again first, for at most a fraction of a flush: otherwise
//! two half groups would take turns for ever. A failure, or a leader that panics, poisons the barrier: every waiter
//! and every later caller learns of it, and nothing is tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;

/// What a leader does.
pub(crate) trait Flush {
    /// Everything placed.
    type Batch;
    /// Takes everything placed so far, and says its last number.
    fn take(&self) -> (Self::Batch, u64);
    /// Writes and flushes it.
    fn write(&self, batch: Self::Batch) -> Result<(), Error>;
}

/// A leader waits for released writers no longer than this, however slow the disk.
const LONGEST_LINGER: Duration = Duration::from_millis(2);
/// On a disk that flushes faster than this, waiting costs more than it saves.
const FAST_FLUSH: Duration = Duration::from_micros(20);
/// The linger is `flush time × LINGER[level]`; the level falls when waiting was in vain and rises when it was not.
const LINGER: [f64; 4] = [0.0625, 0.125, 0.25, 0.5];

#[derive(Debug)]
pub(crate) struct Barrier {
    inner: Mutex<Inner>,
    /// Waiters of the even and of the odd generations.
    done: [Condvar; 2],
    arrived: Condvar,
    flushed: AtomicU64,
    poison: OnceLock<Arc<Error>>,
}

#[derive(Debug)]
struct Inner {
    leading: bool,
    /// Last number of the group being flushed; `u64::MAX` while the leader still lets writers come.
    taken: u64,
    generation: usize,
    waiting: [usize; 2],
    /// Writers that were at work around the last flush.
    expected: usize,
    /// Running mean of the flush time.
    flush_time: Duration,
    level: usize,
}

impl Barrier {
    pub(crate) fn new(flushed: u64) -> Barrier {
        Barrier {
            inner: Mutex::new(Inner {
                leading: false,
                taken: 0,
                generation: 0,
                waiting: [0; 2],
                expected: 1,
                flush_time: Duration::ZERO,
                level: LINGER.len() - 1,
            }),
            done: [Condvar::new(), Condvar::new()],
            arrived: Condvar::new(),
            flushed: AtomicU64::new(flushed),
            poison: OnceLock::new(),
        }
    }

    /// The last durable number.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// The writer is another process, which says that numbers up to this one are durable.
    pub(crate) fn told(&self, flushed: u64) {
        self.flushed.fetch_max(flushed, Ordering::AcqRel);
    }

    /// Fails if the barrier is poisoned.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.poison.get() {
            Some(cause) => Err(Error::Poisoned {
                cause: Arc::clone(cause),
            }),
            None => Ok(()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when every number up to `ticket` is durable. The caller has placed it before.
    pub(crate) fn wait<F: Flush>(&self, ticket: u64, flush: &F) -> Result<(), Error> {
        let mut inner = self.inner();
        loop {
            if self.flushed() >= ticket {
                return Ok(());
            }
            self.check()?;
            if !inner.leading {
                return self.lead(inner, flush);
            }
            inner = self.sleep(inner, ticket);
        }
    }

    /// Leads one group whatever its number: for frames without records.
    pub(crate) fn force<F: Flush>(&self, flush: &F) -> Result<(), Error> {
        let mut inner = self.inner();
        loop {
            self.check()?;
            if !inner.leading {
                return self.lead(inner, flush);
            }
            // A ticket that no group covers: sleeps to the end of the next one at the latest.
            inner = self.sleep(inner, u64::MAX);
        }
    }

    /// Waits for the group that will carry `ticket`, or for the lead of the next.
    fn sleep<'a>(&'a self, mut inner: MutexGuard<'a, Inner>, ticket: u64) -> MutexGuard<'a, Inner> {
        let now = inner.generation % 2;
        let slot = if inner.taken >= ticket { now } else { 1 - now };
        inner.waiting[slot] += 1;
        if inner.taken == u64::MAX && inner.waiting[now] + 1 >= inner.expected {
            self.arrived.notify_one();
        }
        let mut inner = self.done[slot]
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner);
        inner.waiting[slot] -= 1;
        inner
    }

    fn lead<'a, F: Flush>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        flush: &F,
    ) -> Result<(), Error> {
        inner.leading = true;
        inner.taken = u64::MAX;
        let mut lead = Lead {
            barrier: self,
            reached: None,
            carried: 0,
        };
        inner = self.linger(inner);
        let (batch, last) = flush.take();
        inner.taken = last;
        lead.carried = inner.waiting[inner.generation % 2] + 1;
        drop(inner);

        let begun = Instant::now();
        let outcome = flush.write(batch);
        let time = begun.elapsed();
        match outcome {
            Ok(()) => lead.reached = Some((last, time)),
            Err(error) => {
                tracing::error!(%error, "a write to the journal failed; it takes no more commands");
                // Only the first cause counts.
                let _ = self.poison.set(Arc::new(error));
            }
        }
        drop(lead);
        self.check()
    }

    /// Lets the writers of the last group queue again.
    fn linger<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        let mine = inner.generation % 2;
        if inner.expected <= 1 || inner.flush_time < FAST_FLUSH {
            return inner;
        }
        let patience = inner
            .flush_time
            .mul_f64(LINGER[inner.level])
            .min(LONGEST_LINGER);
        let begun = Instant::now();
        let before = inner.waiting[mine];
        while inner.waiting[mine] + 1 < inner.expected {
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                break;
            }
            inner = match self.arrived.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let came = inner.waiting[mine] > before || inner.waiting[mine] + 1 >= inner.expected;
        inner.level = if came {
            (inner.level + 1).min(LINGER.len() - 1)
        } else {
            inner.level.saturating_sub(1)
        };
        inner
    }
}

/// Ends a lead, also when the leader panics.
struct Lead<'a> {
    barrier: &'a Barrier,
    reached: Option<(u64, Duration)>,
    carried: usize,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let barrier = self.barrier;
        if self.reached.is_none() {
            let _ = barrier.poison.set(Arc::new(Error::LeaderDied));
        }
        let mut inner = barrier.inner();
        let finished = inner.generation % 2;
        inner.leading = false;
        inner.generation += 1;
        if let Some((last, time)) = self.reached {
            barrier.flushed.fetch_max(last, Ordering::AcqRel);
            inner.expected = self.carried + inner.waiting[1 - finished];
            inner.flush_time = if inner.flush_time.is_zero() {
                time
            } else {
                (inner.flush_time * 7 + time) / 8
            };
        }
        let waiting = inner.waiting;
        drop(inner);
        // A wake-up is a system call, also where nobody sleeps.
        if waiting[finished] > 0 {
            barrier.done[finished].notify_all();
        }
        if waiting[1 - finished] > 0 {
            if self.reached.is_some() {
                barrier.done[1 - finished].notify_one();
            } else {
                barrier.done[1 - finished].notify_all();
            }
        }
    }
}
