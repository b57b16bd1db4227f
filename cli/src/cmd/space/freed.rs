//! What the end of a checkpoint gives back, and when.

use crate::cmd::retention;
use crate::error::Outcome;
use crate::output::units;
use strand_engine::{BLOCK, Checkpoint, EventTime, Store};

/// What becomes free.
pub(in crate::cmd) struct Freed {
    /// At the next reclaim, in bytes.
    pub(in crate::cmd) now: u64,
    /// When the history window has passed, in bytes.
    pub(in crate::cmd) later: u64,
    /// When that is, where the window is one of time.
    pub(in crate::cmd) at: Option<EventTime>,
    /// `--now` would have made a difference.
    hastened: bool,
}

impl Freed {
    /// Of the blocks that a checkpoint alone kept, after it is gone. What was live within the history window can still be viewed there, and
    /// until it has passed undo brings the checkpoint back, unless it was given up.
    pub(in crate::cmd) fn of(
        store: &Store,
        checkpoint: &Checkpoint,
        released: u64,
        given_up: bool,
    ) -> Outcome<Self> {
        let state = store.state();
        let members = checkpoint.volumes.iter().filter_map(|id| state.volume(*id));
        let within = members.clone().any(|v| v.history <= checkpoint.seq);
        let age = members.filter_map(|v| retention::effective(store, &v.retention).age);
        let bytes = released.saturating_mul(BLOCK);
        let now = if given_up && !within { bytes } else { 0 };
        let at = match age.max() {
            Some(age) if now < bytes => Some(units::now().saturating_add(age)),
            _ => None,
        };
        Ok(Self {
            now,
            later: bytes - now,
            at,
            hastened: !within && !given_up,
        })
    }

    /// `frees 0 B now, 4.2 GiB when the window passes 14:03 (or --now)`
    pub(in crate::cmd) fn text(&self) -> String {
        if self.later == 0 {
            return format!("frees {} now", units::size(self.now));
        }
        let when = match self.at {
            Some(at) => format!("the window passes {}", units::time(at)),
            None => "the window has passed".to_owned(),
        };
        let or = match self.hastened {
            true => "(or --now)",
            false => "(or now: strand space reclaim --now)",
        };
        format!(
            "frees {} now, {} when {when} {or}",
            units::size(self.now),
            units::size(self.later)
        )
    }
}
