//! What a mark tells of the segments: which are the deadest. It is kept from one run to the next, because a mark costs a walk over all that is alive.

use super::mark::Marked;

/// A segment that may go.
#[derive(Copy, Clone, Debug)]
pub(super) struct Candidate {
    pub(super) number: u64,
    /// How many living blocks it has.
    pub(super) living: u64,
}

/// The segments, as the mark shows them.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) marked: Marked,
    /// The deadest first.
    candidates: Vec<Candidate>,
    /// How many of them were taken.
    taken: usize,
    /// Living blocks of the deadest.
    pub(super) least: u64,
}

impl Found {
    pub(super) fn new(mut candidates: Vec<Candidate>, marked: Marked) -> Self {
        candidates.sort_by_key(|c| (c.living, c.number));
        let least = candidates.first().map_or(0, |c| c.living);
        Self {
            marked,
            candidates,
            taken: 0,
            least,
        }
    }

    /// Those that nobody took yet, with so many living blocks at most.
    pub(super) fn next(&self, most: u64) -> &[Candidate] {
        let rest = &self.candidates[self.taken..];
        &rest[..rest.partition_point(|c| c.living <= most)]
    }

    /// How many there are of them.
    pub(super) fn worth(&self, most: u64) -> usize {
        self.next(most).len()
    }

    /// Those that have more living blocks.
    pub(super) fn beyond(&self, most: u64) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |c| c.living > most)
    }

    /// So many of the next are dealt with.
    pub(super) fn taken(&mut self, count: usize) {
        self.taken = self.candidates.len().min(self.taken + count);
    }
}

/// What was found last, while space is given back by nobody; held by whoever gives space back.
#[derive(Debug, Default)]
pub(in crate::store) struct Known(Option<Found>);

impl Known {
    pub(super) fn of(found: Found) -> Self {
        Self(Some(found))
    }

    pub(super) fn take(&mut self) -> Option<Found> {
        self.0.take()
    }
}
