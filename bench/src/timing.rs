//! Clocks, and randomness that is the same in every run.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Wall time of `work`, in seconds, and what it gave.
pub(crate) fn wall<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let given = work();
    (begun.elapsed().as_secs_f64(), given)
}

/// Processor time that this thread spent on `work`, in seconds, and what it gave.
pub(crate) fn cpu<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = thread_time();
    let given = work();
    (thread_time() - begun, given)
}

fn thread_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Numbers that look random and are the same in every run (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
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
}

/// All numbers below `count`, each once, in random order.
pub(crate) fn shuffled(count: u64) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..u32::try_from(count).unwrap_or(u32::MAX)).collect();
    let mut dice = Dice(count);
    for i in (1..numbers.len()).rev() {
        numbers.swap(i, usize::try_from(dice.below(i as u64 + 1)).unwrap_or(0));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_numbers_are_all_there() {
        let numbers = shuffled(1000);
        assert!(numbers.windows(2).any(|w| w[0] > w[1]));
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
    }
}
