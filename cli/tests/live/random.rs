//! Randomness that a printed seed repeats.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers that look random (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    /// From `STRAND_SEED`, or the clock; the seed is printed, so that a failing run can be had again.
    pub(crate) fn seeded(test: &str) -> Self {
        let seed = match std::env::var("STRAND_SEED") {
            Ok(seed) => seed.parse().expect("STRAND_SEED is a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(1, |now| now.as_nanos() as u64),
        };
        println!("{test}: STRAND_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A while, in milliseconds between these.
    pub(crate) fn while_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}
