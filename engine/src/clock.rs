//! The clock, outside the core: commands carry the time in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Two clocks in one: what the wall shows, and what has elapsed.
pub trait Clock: Send + Sync {
    /// The wall clock, ns since the Unix epoch.
    fn wall(&self) -> u64;
    /// Elapsed time since some fixed instant, ns; never goes back.
    fn monotonic(&self) -> u64;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// The system's clocks, elapsed time counting from now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock for tests: each reading is one microsecond later than the one before, and it can be set.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall` (ns since the Unix epoch).
    #[must_use]
    pub fn new(wall: u64) -> Self {
        Self {
            wall: AtomicU64::new(wall),
            monotonic: AtomicU64::new(0),
        }
    }

    /// Lets `ns` elapse.
    pub fn advance(&self, ns: u64) {
        self.wall.fetch_add(ns, Ordering::SeqCst);
        self.monotonic.fetch_add(ns, Ordering::SeqCst);
    }

    /// Sets the wall clock alone: a jump.
    pub fn jump_to(&self, wall: u64) {
        self.wall.store(wall, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> u64 {
        self.monotonic.fetch_add(1000, Ordering::SeqCst);
        self.wall.fetch_add(1000, Ordering::SeqCst)
    }

    fn monotonic(&self) -> u64 {
        self.monotonic.load(Ordering::SeqCst)
    }
}
