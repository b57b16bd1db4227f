//! Where versions lie now, for those who read: looked at without the store's lock, and for next to nothing where nothing was ever moved.

use crate::marks::Marks;
use crate::refusal::{Kind, Refusal};
use crate::space::Places;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use strand_journal::BlockAddr;

/// The places of the newest state.
#[derive(Debug, Default)]
pub(super) struct Present {
    moved: AtomicBool,
    places: RwLock<Arc<Places>>,
}

/// What a reader saw of them. Something may have been moved since: whoever finds nothing there looks again.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Option<Arc<Places>>);

impl Present {
    pub(super) fn of(places: &Places) -> Self {
        let present = Self::default();
        present.set(places);
        present
    }

    /// Versions lie there from now on.
    pub(super) fn set(&self, places: &Places) {
        let moved = !places.moved.is_empty() || !places.reclaimed.is_empty();
        *self.places.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(places.clone());
        self.moved.store(moved, Ordering::Release);
    }

    pub(super) fn see(&self) -> Seen {
        if !self.moved.load(Ordering::Acquire) {
            return Seen(None);
        }
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        Seen(Some(places.clone()))
    }
}

impl Seen {
    /// Where the version born at an address lies; `None` where its space was given back.
    #[inline]
    pub(super) fn find(&self, birth: BlockAddr) -> Option<BlockAddr> {
        match &self.0 {
            None => Some(birth),
            Some(places) => places.find(birth),
        }
    }

    /// How many living versions lie at addresses from `first` up to `end` (exclusive), as [`Marks::living`].
    pub(super) fn living(&self, marks: &Marks, first: u64, end: u64) -> u64 {
        match &self.0 {
            None => marks.living(&Places::default(), first, end),
            Some(places) => marks.living(places, first, end),
        }
    }

    /// The version that was moved to an address; the one born there where none was.
    pub(super) fn resident(&self, address: u64) -> u64 {
        let moved = self.0.as_ref().and_then(|p| p.residents.get(address));
        moved.copied().unwrap_or(address)
    }
}

/// What was read is in no tree and no window any more.
pub(super) fn given_back() -> Refusal {
    Refusal::new(Kind::Stale, "the view cannot be read any more")
        .why("what it held was given back")
        .next("open the view again")
}
