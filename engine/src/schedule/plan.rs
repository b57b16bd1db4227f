//! What a schedule does next: whether a checkpoint is due, and which of those it took are to go. Pure: the time that passed comes in.
//!
//! Time here is elapsed time, never the wall clock: a clock that is set forward makes nothing older, one that is set back takes no flood of
//! checkpoints. It is cut into equal stretches, counted from the store's beginning: one checkpoint is taken in each stretch of `every`, and of
//! each stretch of a [`Keep`](super::Keep) the oldest one is kept. So what was kept once stays the one that is kept, until it has the age to go.

use super::Schedule;

/// A checkpoint that a schedule took.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// When, in elapsed ns.
    pub at: u64,
    /// It is held, or in use, or not removable any more: it stays.
    pub stays: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// A checkpoint is due.
    pub take: bool,
    /// Which of those there are have to go: places in the list that was given.
    pub drop: Vec<usize>,
}

/// What a schedule does at a time (`now`, elapsed ns). `last`: when the last one was taken, whether or not it is still there; `existing`: those
/// that are, oldest first. The newest of them never goes.
#[must_use]
pub fn plan(now: u64, last: Option<u64>, existing: &[Taken], schedule: &Schedule) -> Plan {
    let newest = existing.last().map(|taken| taken.at);
    Plan {
        take: is_due(now, last.max(newest), schedule.every),
        drop: thinned(now, existing, schedule),
    }
}

/// When the next one is due, in elapsed ns; at or before `now` where it is already.
#[must_use]
pub fn next_due(last: Option<u64>, every: u64) -> u64 {
    let Some(last) = last else { return 0 };
    let stretch = (last / every.max(1))
        .saturating_add(1)
        .saturating_mul(every);
    stretch.max(last.saturating_add(every / 2))
}

/// In another stretch than the last one, and not right behind it: a late one does not make the next one pointless.
fn is_due(now: u64, last: Option<u64>, every: u64) -> bool {
    now >= next_due(last, every)
}

fn thinned(now: u64, existing: &[Taken], schedule: &Schedule) -> Vec<usize> {
    let mut kept = None;
    let older = existing.len().saturating_sub(1);
    let mut drop = Vec::new();
    for (place, taken) in existing[..older].iter().enumerate() {
        let age = now.saturating_sub(taken.at);
        let step = schedule.keep.iter().position(|keep| age <= keep.age);
        let goes = match step.map(|step| (step, schedule.keep[step].every)) {
            None => true,
            Some((_, 0)) => false,
            Some((step, every)) => {
                let stretch = Some((step, taken.at / every));
                std::mem::replace(&mut kept, stretch) == stretch
            }
        };
        if goes && !taken.stays {
            drop.push(place);
        }
    }
    drop
}

#[cfg(test)]
mod tests;
