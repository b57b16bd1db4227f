//! What is alive: the roots frozen under the lock, walked outside it.

use crate::error::Error;
use crate::jobs::Job;
use crate::marks::{Marks, roots_of};
use crate::space::Places;
use crate::store::Store;
use strand_journal::BlockAddr;

/// What was alive when the roots were frozen; what was not then never will be. So it stays good while the store goes on, only finds less dead than there is.
#[derive(Debug)]
pub(super) struct Marked {
    pub(super) marks: Marks,
    /// The journal's end then.
    pub(super) head: BlockAddr,
}

impl Marked {
    /// How many living blocks lie in a segment. `None` where the segment is not to be touched: it holds what is young, or its space was given back.
    pub(super) fn living_in(&self, places: &Places, segment: u64, blocks: u64) -> Option<u64> {
        let (first, end) = (segment * blocks, (segment + 1) * blocks);
        if end > self.marks.young().0 || places.is_reclaimed(first) {
            return None;
        }
        Some(self.marks.living(places, first, end))
    }
}

impl Store {
    /// Marks what is alive: everything that a root of the present maps, or a lease holds, or the oldest window shows, and everything younger than that.
    /// `None` where nothing can be dead, or the job was told to end.
    pub(super) fn mark(&self, job: &Job) -> Result<Option<Marked>, Error> {
        let inner = self.lock();
        self.still_true(&inner)?;
        let state = inner.state.clone();
        // Whatever is placed from here on is younger.
        let head = self.journal.head().next_addr;
        let mut roots = self.leases.roots(self.clock.monotonic());
        drop(inner);
        let oldest = state.oldest_window().unwrap_or(state.boundary);
        let young = if oldest >= state.boundary {
            head
        } else {
            let Some(base) = self.window_base(oldest) else {
                return Ok(None);
            };
            // What came back between the two is at neither, so the state is folded there.
            match base.state.boundary < oldest {
                true => roots_of(&self.state_at(oldest)?, &mut roots),
                false => roots_of(&base.state, &mut roots),
            }
            base.young
        };
        roots_of(&state, &mut roots);
        let marks = Marks::of(&roots, BlockAddr(young.0.min(head.0)), &mut || {
            !job.is_cancelled()
        });
        Ok(marks.map(|marks| Marked { marks, head }))
    }
}
