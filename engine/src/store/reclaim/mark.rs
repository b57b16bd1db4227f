//! What is alive: the roots frozen under the lock, walked outside it.

use crate::decide::in_reach;
use crate::error::Error;
use crate::event::Source;
use crate::jobs::Job;
use crate::marks::{Marks, roots_of};
use crate::space::Places;
use crate::state::{Fileset, State};
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

/// What lives whoever reads, frozen.
struct Frozen {
    /// Of the present, and of where the oldest window begins.
    roots: Vec<Fileset>,
    /// Everything born here or later lives.
    young: BlockAddr,
    /// The journal's end.
    head: BlockAddr,
    /// What leases hold besides.
    leased: Vec<(Source, Fileset)>,
    state: State,
}

impl Store {
    /// Marks what is alive: everything that a root of the present maps, or a lease holds, or the oldest window shows, and everything younger than that.
    /// `None` where nothing can be dead, or the job was told to end.
    pub(super) fn mark(&self, job: &Job) -> Result<Option<Marked>, Error> {
        let Some(mut frozen) = self.frozen()? else {
            return Ok(None);
        };
        let leased = frozen.leased.into_iter().map(|(_, root)| root);
        frozen.roots.extend(leased);
        let head = frozen.head;
        let marks = Marks::of(&frozen.roots, frozen.young, &mut || !job.is_cancelled());
        Ok(marks.map(|marks| Marked { marks, head }))
    }

    /// How many blocks live only because a lease holds them: those of a checkpoint that is removed, or of a position that the window has passed. Where there may
    /// be any, that costs a walk of all trees.
    ///
    /// # Errors
    /// What reading the journal gives.
    pub fn kept_for_readers(&self) -> Result<u64, Error> {
        let now = self.clock.monotonic();
        let shown = |state: &State, source| match source {
            Source::Live(_) => false, // it may be of long ago
            Source::Checkpoint(volume, checkpoint) => {
                let image = state.image(volume, checkpoint);
                image.is_some_and(|image| !image.nodata)
            }
            Source::Position(volume, seq) => in_reach(state, volume, seq).is_ok(),
        };
        let state = self.state();
        if self
            .leases
            .held(now)
            .iter()
            .all(|(of, _)| shown(&state, *of))
        {
            return Ok(0);
        }
        drop(state);
        let Some(frozen) = self.frozen()? else {
            return Ok(0);
        };
        let leased = frozen.leased.into_iter();
        let leased = leased.filter(|(source, _)| !shown(&frozen.state, *source));
        let leased: Vec<Fileset> = leased.map(|(_, root)| root).collect();
        let marks = Marks::of(&frozen.roots, frozen.young, &mut || true);
        Ok(marks.map_or(0, |mut marks| marks.add(&leased)))
    }

    /// Whether the state is known at which the oldest window begins: without it nobody can tell what is dead.
    pub(in crate::store) fn is_window_readable(&self) -> bool {
        self.frozen().is_ok()
    }

    /// `None` where nothing can be dead.
    fn frozen(&self) -> Result<Option<Frozen>, Error> {
        let inner = self.lock();
        self.still_true(&inner)?;
        let state = inner.state.clone();
        // Whatever is placed from here on is younger.
        let head = self.journal.head().next_addr;
        let leased = self.leases.held(self.clock.monotonic());
        drop(inner);
        let oldest = state.oldest_window().unwrap_or(state.boundary);
        let mut roots = Vec::new();
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
        Ok(Some(Frozen {
            roots,
            young: BlockAddr(young.0.min(head.0)),
            head,
            leased,
            state,
        }))
    }
}
