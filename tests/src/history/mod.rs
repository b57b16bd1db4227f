//! Random histories. A history is a list of dice, one a step; what a die means is decided when its turn comes, by what is there
//! then. So any part of a history is a history too, and a failing one can be made short by leaving dice out.

mod choose;
mod step;

pub use choose::{Profile, choose};
pub use step::Step;

use crate::random::Random;

/// The dice of a seed.
#[must_use]
pub fn dice(seed: u64, length: usize) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.next_u64()).collect()
}

/// Leaves out dice as long as the rest still fails: halves first, single ones last. `fails` is called at most `tries` times.
pub fn shrink(
    mut dice: Vec<u64>,
    mut tries: usize,
    mut fails: impl FnMut(&[u64]) -> bool,
) -> Vec<u64> {
    let mut part = dice.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < dice.len() && tries > 0 {
            let without: Vec<u64> = dice[..at]
                .iter()
                .chain(&dice[(at + part).min(dice.len())..])
                .copied()
                .collect();
            tries -= 1;
            if fails(&without) {
                dice = without;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    dice
}
