//! Schedules: how often the program takes a checkpoint of a volume, and which it keeps as they grow older.
//!
//! `plan` says what is to be done next, `due` by which commands, `names` how those checkpoints are called, `text` how people write a schedule.

mod due;
mod names;
mod plan;
mod text;

pub use due::{Due, Look, due, scheduled};
pub use names::{is_scheduled_name, scheduled_name};
pub use plan::{Plan, Taken, next_due, plan};
pub use text::parse_keep;

use serde::{Deserialize, Serialize};

/// The most steps that the keeping of one schedule has.
pub const MAX_KEEPS: usize = 16;

/// Takes a checkpoint of a volume every so often, and thins out the older ones.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Time between two checkpoints, in ns; at least a second.
    pub every: u64,
    /// What is kept up to which age, ascending by age; older ones go.
    pub keep: Vec<Keep>,
}

/// Up to an age, one checkpoint of so much time is kept.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Keep {
    /// The age up to which this holds, in ns.
    pub age: u64,
    /// One is kept of every so many ns; 0: all.
    pub every: u64,
}

impl Schedule {
    /// Whether it says something that can be done: a second between two at least, ages and distances that grow.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.every >= 1_000_000_000
            && (1..=MAX_KEEPS).contains(&self.keep.len())
            && self.keep.iter().all(|keep| keep.age > 0)
            && self
                .keep
                .is_sorted_by(|a, b| a.age < b.age && a.every <= b.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_not_sound() {
        const HOUR: u64 = 3_600_000_000_000;
        let schedule = |every, keep: &[(u64, u64)]| Schedule {
            every,
            keep: keep
                .iter()
                .map(|&(age, every)| Keep { age, every })
                .collect(),
        };
        assert!(schedule(HOUR, &[(4 * HOUR, 0), (48 * HOUR, HOUR)]).is_sound());
        assert!(!schedule(0, &[(HOUR, 0)]).is_sound());
        assert!(!schedule(HOUR, &[]).is_sound());
        assert!(!schedule(HOUR, &[(0, 0)]).is_sound());
        assert!(!schedule(HOUR, &[(48 * HOUR, 0), (4 * HOUR, HOUR)]).is_sound());
        assert!(!schedule(HOUR, &[(4 * HOUR, HOUR), (48 * HOUR, 0)]).is_sound());
    }
}
