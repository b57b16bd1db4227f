//! The rule of SQLite's file locks, for the connections of one process: many readers, one of them preparing to write
//! (reserved), waiting for the others to go (pending), writing (exclusive). Pure: a table of who holds what.
//!
//! A store has one holder at a time, so that no other process can have the same files open: what is in here is all there is.

use std::collections::BTreeMap;

/// A lock level, in SQLite's order.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) enum Level {
    /// None.
    #[default]
    None,
    /// Reads; any number may hold it.
    Shared,
    /// Will write; readers may still come.
    Reserved,
    /// Waits for the readers to go; none may come.
    Pending,
    /// Writes; alone.
    Exclusive,
}

/// One open file. Never reused while the process lives.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Holder(pub(crate) u64);

/// Who holds which lock on one file. Holders of nothing are not in it.
#[derive(Debug, Default)]
pub(crate) struct FileLocks {
    held: BTreeMap<Holder, Level>,
}

impl FileLocks {
    /// What `holder` holds.
    pub(crate) fn level(&self, holder: Holder) -> Level {
        self.held.get(&holder).copied().unwrap_or_default()
    }

    /// Raises the lock of `holder` to `wanted`, or says no. A refused exclusive lock may leave it pending, which keeps new
    /// readers away until the old ones are gone.
    #[must_use]
    pub(crate) fn acquire(&mut self, holder: Holder, wanted: Level) -> bool {
        let own = self.level(holder);
        if own >= wanted {
            return true;
        }
        let others = self.highest_other(holder);
        let grant = match wanted {
            Level::None => true,
            Level::Shared => others < Level::Pending,
            // SQLite asks for more only with a shared lock in hand; a pending lock is never asked for by name.
            Level::Reserved => own == Level::Shared && others < Level::Reserved,
            Level::Pending | Level::Exclusive
                if own == Level::None || others >= Level::Reserved =>
            {
                false
            }
            Level::Pending => true,
            Level::Exclusive => {
                let alone = others == Level::None;
                if !alone {
                    self.held.insert(holder, Level::Pending);
                }
                alone
            }
        };
        if grant {
            self.held.insert(holder, wanted);
        }
        grant
    }

    /// Lowers the lock of `holder` to `level`; never raises it.
    pub(crate) fn release(&mut self, holder: Holder, level: Level) {
        if self.level(holder) <= level {
            return;
        }
        if level == Level::None {
            self.held.remove(&holder);
        } else {
            self.held.insert(holder, level);
        }
    }

    /// Says whether anyone is reserved or further.
    pub(crate) fn reserved(&self) -> bool {
        self.held.values().any(|level| *level >= Level::Reserved)
    }

    /// Says whether nobody holds anything.
    pub(crate) fn is_free(&self) -> bool {
        self.held.is_empty()
    }

    fn highest_other(&self, holder: Holder) -> Level {
        self.held
            .iter()
            .filter(|(who, _)| **who != holder)
            .map(|(_, level)| *level)
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Holder = Holder(1);
    const B: Holder = Holder(2);
    const C: Holder = Holder(3);

    #[test]
    fn readers_share_and_one_of_them_reserves() {
        let mut locks = FileLocks::default();
        assert!(locks.acquire(A, Level::Shared));
        assert!(locks.acquire(B, Level::Shared));
        assert!(!locks.reserved());
        assert!(locks.acquire(A, Level::Reserved));
        assert!(locks.reserved());
        assert!(!locks.acquire(B, Level::Reserved), "one writer at a time");
        assert!(
            locks.acquire(C, Level::Shared),
            "a reserved lock lets readers in"
        );
    }

    #[test]
    fn a_pending_writer_keeps_new_readers_away_until_it_is_alone() {
        let mut locks = FileLocks::default();
        assert!(locks.acquire(A, Level::Shared) && locks.acquire(B, Level::Shared));
        assert!(locks.acquire(A, Level::Reserved));
        assert!(!locks.acquire(A, Level::Exclusive), "B still reads");
        assert_eq!(locks.level(A), Level::Pending);
        assert!(!locks.acquire(C, Level::Shared), "no new reader");
        locks.release(B, Level::None);
        assert!(locks.acquire(A, Level::Exclusive));
        assert!(!locks.acquire(B, Level::Shared));
        locks.release(A, Level::Shared);
        assert!(locks.acquire(B, Level::Shared));
        locks.release(A, Level::None);
        locks.release(B, Level::None);
        assert!(locks.is_free());
    }

    #[test]
    fn a_hot_journal_is_rolled_back_from_shared_to_exclusive_at_once() {
        let mut locks = FileLocks::default();
        assert!(locks.acquire(A, Level::Shared));
        assert!(locks.acquire(A, Level::Exclusive));
        locks.release(A, Level::None);

        assert!(locks.acquire(A, Level::Shared) && locks.acquire(B, Level::Shared));
        assert!(locks.acquire(B, Level::Reserved));
        assert!(
            !locks.acquire(A, Level::Exclusive),
            "B is preparing to write"
        );
        assert_eq!(locks.level(A), Level::Shared);
    }

    #[test]
    fn nothing_is_raised_without_a_shared_lock_and_release_never_raises() {
        let mut locks = FileLocks::default();
        assert!(!locks.acquire(A, Level::Reserved));
        assert!(!locks.acquire(A, Level::Exclusive));
        locks.release(A, Level::Shared);
        assert_eq!(locks.level(A), Level::None);
        assert!(locks.is_free());
    }
}
