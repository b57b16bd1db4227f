//! The one thread that flushes for everybody: requests that need what they saw on disk leave their reply here and go. It takes all that
//! wait, flushes once, and answers; who comes meanwhile is in the next group. So the threads that serve the kernel do not wait for a disk,
//! but for one of them at a time, and only for a short flush that nobody else waits for.

use crate::metrics::Metrics;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strand_engine::Store;

/// Unflushed bytes from which a commit begins although nobody asked for one.
const EARLY_BYTES: u64 = 16 << 20;
/// Unflushed bytes from which a change is answered only after a commit: what waits in memory is bounded by this and by the requests that
/// the kernel has under way.
const MOST_BYTES: u64 = 64 << 20;
/// What a command without data is reckoned to hold in memory until it is flushed.
const COMMAND_BYTES: u64 = 512;

/// A flush is short where the last ones took less than this, and no more than so many bytes wait.
const SHORT_FLUSH: Duration = Duration::from_micros(500);
const SHORT_BYTES: u64 = 1 << 20;

/// What is done once everything carried out before is durable, or once that failed.
pub(crate) type Then = Box<dyn FnOnce(bool) + Send>;

/// The committer of a store.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    every: Duration,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Bytes carried out, and those of them that are durable, since the beginning.
    placed: AtomicU64,
    flushed: AtomicU64,
    /// The committer was told that it is time for an early commit.
    told: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

struct Queue {
    waiting: Vec<Then>,
    /// The committer flushes.
    busy: bool,
    /// The thread of a request flushes; the committer waits for its end.
    led: bool,
    /// Running mean of the time of a flush.
    flush_time: Duration,
    stop: bool,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>, metrics: Arc<Metrics>, every: Duration) -> Self {
        let shared = Arc::new(Shared {
            store,
            metrics,
            every,
            queue: Mutex::new(Queue {
                waiting: Vec::new(),
                busy: false,
                led: false,
                flush_time: Duration::ZERO,
                stop: false,
            }),
            wake: Condvar::new(),
            placed: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            told: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || theirs.run());
        if let Err(error) = &thread {
            tracing::error!(%error, "no thread for the committer: every request that needs one will flush by itself");
        }
        Self {
            shared,
            thread: Mutex::new(thread.ok()),
        }
    }

    /// Does something after everything carried out so far is durable; says whether it is.
    pub(crate) fn after_flush(&self, then: Then) {
        let mut queue = self.shared.queue();
        if queue.stop || self.lock_thread().is_none() {
            drop(queue);
            then(self.shared.store.sync().is_ok());
            return;
        }
        queue.waiting.push(then);
        let first = queue.waiting.len() == 1 && !queue.led;
        drop(queue);
        if first {
            self.shared.wake.notify_one();
        }
    }

    /// As [`Committer::after_flush`]; where a flush is short and nobody else waits, the calling thread flushes by itself, which spares a change
    /// of threads. One thread at most does so at a time.
    pub(crate) fn soon_flushed(&self, then: Then) {
        let shared = &*self.shared;
        let mut queue = shared.queue();
        let alone = queue.waiting.is_empty() && !queue.busy && !queue.led && !queue.stop;
        let short = queue.flush_time < SHORT_FLUSH && shared.unflushed() < SHORT_BYTES;
        if !(alone && short) {
            drop(queue);
            self.after_flush(then);
            return;
        }
        queue.led = true;
        drop(queue);
        let _led = Led(shared);
        shared.commit(vec![then]);
    }

    /// Counts what a command put in memory.
    pub(crate) fn note(&self, bytes: u64) {
        let shared = &*self.shared;
        shared
            .placed
            .fetch_add(bytes + COMMAND_BYTES, Ordering::Relaxed);
        if shared.unflushed() >= EARLY_BYTES && !shared.told.swap(true, Ordering::Relaxed) {
            drop(shared.queue()); // it either has not looked yet, or sleeps
            shared.wake.notify_one();
        }
    }

    /// So much waits that whoever changes anything should be answered after a commit.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.unflushed() >= MOST_BYTES
    }

    /// Answers everybody and ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.queue().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.lock_thread().take()
            && thread.join().is_err()
        {
            tracing::error!("the committer had died");
        }
    }

    fn lock_thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, the thread of a request flushes; afterwards, however it ended, the committer sees to those who wait.
struct Led<'a>(&'a Shared);

impl Drop for Led<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.led = false;
        let others = !queue.waiting.is_empty();
        drop(queue);
        if others {
            self.0.wake.notify_one();
        }
    }
}

/// The committer's thread: when it dies, nobody waits for it, and whoever comes flushes by himself.
struct Alive<'a>(&'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.stop = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        for then in waiting {
            then(false);
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Bytes that are not flushed.
    fn unflushed(&self) -> u64 {
        let flushed = self.flushed.load(Ordering::Relaxed);
        self.placed.load(Ordering::Relaxed).saturating_sub(flushed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let _alive = Alive(self);
        loop {
            let (waiting, stop) = self.next_group();
            self.commit(waiting);
            self.queue().busy = false;
            if stop {
                return;
            }
        }
    }

    /// Sleeps until somebody waits, much waits, or it is time.
    fn next_group(&self) -> (Vec<Then>, bool) {
        let begun = Instant::now();
        let mut queue = self.queue();
        loop {
            let left = self.every.saturating_sub(begun.elapsed());
            let waits = !queue.waiting.is_empty() && !queue.led;
            let due = waits || self.told.load(Ordering::Relaxed);
            if due || queue.stop || left.is_zero() {
                break;
            }
            queue = self.sleep(queue, left);
        }
        queue.busy = true;
        (std::mem::take(&mut queue.waiting), queue.stop)
    }

    fn sleep<'a>(&'a self, queue: MutexGuard<'a, Queue>, most: Duration) -> MutexGuard<'a, Queue> {
        match self.wake.wait_timeout(queue, most) {
            Ok((queue, _)) => queue,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    fn commit(&self, waiting: Vec<Then>) {
        self.told.store(false, Ordering::Relaxed);
        let placed = self.placed.load(Ordering::Relaxed);
        let journal = self.store.journal();
        let nothing_new = journal.placed() == journal.flushed();
        if nothing_new && waiting.is_empty() {
            // What was counted meant nothing, or others flushed it.
            self.flushed.fetch_max(placed, Ordering::Relaxed);
            return;
        }
        let begun = Instant::now();
        let outcome = self.store.sync();
        let flush = (!nothing_new).then(|| begun.elapsed());
        if let Some(took) = flush {
            let mut queue = self.queue();
            queue.flush_time = (queue.flush_time * 7 + took) / 8;
        }
        self.metrics.flushed(flush, waiting.len() as u64);
        match &outcome {
            Ok(()) => {
                self.flushed.fetch_max(placed, Ordering::Relaxed);
            }
            // The journal has said so already; whoever waits is told.
            Err(error) => tracing::debug!(%error, waiting = waiting.len(), "a commit failed"),
        }
        for then in waiting {
            then(outcome.is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use strand_engine::{Actor, Command, InitOptions, StoreId, SystemClock};
    use strand_journal::MemoryDisk;

    fn store() -> Arc<Store> {
        let init = InitOptions {
            segment_size: 1 << 20,
            capacity: None,
            store: StoreId([7; 16]),
        };
        let (disk, clock) = (Arc::new(MemoryDisk::new()), Arc::new(SystemClock::new()));
        Arc::new(Store::init(disk, clock, init, &Actor::program()).unwrap())
    }

    fn place(store: &Store, name: &str) {
        let command = Command::VolumeCreate {
            name: name.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.submit(&Actor::program(), command).unwrap();
    }

    #[test]
    fn what_was_counted_and_is_durable_holds_nobody_back() {
        let store = store();
        let committer = Committer::start(store.clone(), Arc::default(), Duration::from_millis(10));
        store.sync().unwrap();
        // As many closes of files that were only read.
        for _ in 0..MOST_BYTES / COMMAND_BYTES {
            committer.note(0);
        }
        let until = Instant::now() + Duration::from_secs(10);
        while committer.shared.unflushed() > 0 {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!committer.is_full());
        committer.stop();
    }

    #[test]
    fn a_dead_committer_keeps_nobody_waiting() {
        let store = store();
        let never = Duration::from_secs(3600);
        let committer = Committer::start(store.clone(), Arc::default(), never);
        let (said, heard) = mpsc::channel();
        let tell = |who: &'static str| -> Then {
            let said = said.clone();
            Box::new(move |durable| said.send((who, durable)).unwrap())
        };
        // While the committer is with the first one, another comes; then it dies.
        let (came, other) = mpsc::channel::<()>();
        let (inside, ready) = mpsc::channel();
        place(&store, "a");
        committer.after_flush(Box::new(move |_| {
            inside.send(()).unwrap();
            other.recv().unwrap();
            panic!("as a test wants it");
        }));
        ready.recv().unwrap();
        committer.after_flush(tell("waited"));
        came.send(()).unwrap();
        let patience = Duration::from_secs(10);
        // Nobody knows what it did last.
        assert_eq!(heard.recv_timeout(patience), Ok(("waited", false)));
        // Whoever comes now flushes by himself.
        for (way, name) in ["b", "c"].into_iter().enumerate() {
            place(&store, name);
            if way == 0 {
                committer.after_flush(tell("later"));
            } else {
                committer.soon_flushed(tell("later"));
            }
            assert_eq!(heard.recv_timeout(patience), Ok(("later", true)));
            assert_eq!(store.journal().flushed(), store.journal().placed());
        }
        committer.stop();
    }
}
