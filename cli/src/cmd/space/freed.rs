//! What the end of a checkpoint gives back, and when.

use crate::output::units;
use strand_engine::{BLOCK, Checkpoint, EventTime, Store};

/// What becomes free. Nothing does at once: until the history window has passed, a commit within it may still show what the checkpoint showed.
pub(in crate::cmd) struct Freed {
    /// When the history window has passed, in bytes.
    pub(in crate::cmd) later: u64,
    /// When that is, where the window is one of time.
    pub(in crate::cmd) at: Option<EventTime>,
}

impl Freed {
    /// Of the blocks that a checkpoint alone kept, after it is gone.
    pub(in crate::cmd) fn of(store: &Store, checkpoint: &Checkpoint, released: u64) -> Self {
        let state = store.state();
        let members = checkpoint.volumes.iter().filter_map(|id| state.volume(*id));
        let ages = members.map(|v| store.reach(v.retention).age.unwrap_or(u64::MAX));
        let age = ages.max().filter(|age| *age < u64::MAX && released > 0);
        Self {
            later: released.saturating_mul(BLOCK),
            at: age.map(|age| units::now().saturating_add(age)),
        }
    }

    /// `frees 0 B now, 4.2 GiB when the window passes 2026-11-22 14:03:00 (or now: strand space reclaim --now)`
    pub(in crate::cmd) fn text(&self) -> String {
        if self.later == 0 {
            return "frees nothing: clones go on showing those blocks".to_owned();
        }
        let when = match self.at {
            Some(at) => format!("passes {}", units::short_time(at)),
            None => "has passed".to_owned(),
        };
        format!(
            "frees 0 B now, {} when the window {when}\n  (or now: strand space reclaim --now)",
            units::size(self.later)
        )
    }
}
