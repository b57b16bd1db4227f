//! What is said of space: how far back a volume can be viewed, why a checkpoint gave way, where versions lie that were moved.

use crate::ids::Seq;
use crate::radix::Radix;
use crate::state::State;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use strand_journal::BlockAddr;

/// How far back every commit of a volume can be viewed, unless space runs out. Both limits hold; where neither is set, the default does.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// Time, in ns of elapsed time.
    pub age: Option<u64>,
    /// Bytes written since.
    pub bytes: Option<u64>,
}

impl Retention {
    /// How far a window reaches, where `default` holds for volumes of which nothing was set.
    #[must_use]
    pub fn or(self, default: Retention) -> Retention {
        match self == Retention::default() {
            true => default,
            false => self,
        }
    }
}

/// Why a checkpoint is gone for good.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum GiveUp {
    /// The store ran out of space.
    Capacity,
    /// Its schedule thinned it out.
    Schedule,
    /// Somebody asked for its space at once.
    Asked,
}

/// Where versions lie, if not where they were born. A version's birth address is its identity and never changes.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Birth address to present address, of versions that were moved.
    pub moved: Radix<u64>,
    /// Present address to birth address, of the same.
    pub residents: Radix<u64>,
    /// Address ranges that were given back: first address to one past the last, disjoint, merged.
    pub reclaimed: OrdMap<u64, u64>,
}

impl Places {
    /// Where the version born at an address lies now; `None` where its space was given back.
    #[must_use]
    pub fn find(&self, birth: BlockAddr) -> Option<BlockAddr> {
        if let Some(present) = self.moved.get(birth.0) {
            return Some(BlockAddr(*present));
        }
        (!self.is_reclaimed(birth.0)).then_some(birth)
    }

    /// Says whether an address lies in space that was given back.
    #[must_use]
    pub fn is_reclaimed(&self, address: u64) -> bool {
        self.reclaimed
            .get_prev(&address)
            .is_some_and(|(_, end)| address < *end)
    }

    /// The version born at `birth` lies at `present` from now on.
    pub(crate) fn relocate(&mut self, birth: u64, present: u64) {
        if let Some(before) = self.moved.insert(birth, present) {
            self.residents.remove(before);
        }
        self.residents.insert(present, birth);
    }

    /// Space is given back: versions that were moved there, and not moved on, are gone.
    pub(crate) fn reclaim(&mut self, first: u64, count: u64) {
        let end = first.saturating_add(count);
        let gone: Vec<(u64, u64)> = self
            .residents
            .range(first, end - 1)
            .map(|(present, birth)| (present, *birth))
            .collect();
        for (present, birth) in gone {
            self.residents.remove(present);
            self.moved.remove(birth);
        }
        let (mut first, mut end) = (first, end);
        if let Some((before, until)) = self.reclaimed.get_prev(&first)
            && *until >= first
        {
            (first, end) = (*before, end.max(*until));
        }
        let touching: Vec<(u64, u64)> = self
            .reclaimed
            .range(first..=end)
            .map(|(at, until)| (*at, *until))
            .collect();
        for (at, until) in touching {
            self.reclaimed.remove(&at);
            end = end.max(until);
        }
        self.reclaimed.insert(first, end);
    }
}

impl State {
    /// Where the oldest of the history windows begins; `None` without volumes. Removed volumes that undo could bring back have one too.
    #[must_use]
    pub fn oldest_window(&self) -> Option<Seq> {
        let volumes = self.volumes.values().chain(self.removed_volumes.values());
        volumes.map(|v| v.history).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: u64) -> BlockAddr {
        BlockAddr(address)
    }

    #[test]
    fn a_version_is_found_where_it_was_moved_last() {
        let mut places = Places::default();
        assert_eq!(places.find(at(5)), Some(at(5)));
        places.relocate(5, 100);
        places.reclaim(0, 16);
        assert_eq!(places.find(at(5)), Some(at(100)));
        assert_eq!(places.find(at(6)), None);
        places.relocate(5, 200);
        places.reclaim(96, 16);
        assert_eq!(places.find(at(5)), Some(at(200)));
        places.reclaim(192, 16);
        assert_eq!(places.find(at(5)), None);
        assert!(places.moved.is_empty() && places.residents.is_empty());
    }

    #[test]
    fn ranges_given_back_are_merged() {
        let mut places = Places::default();
        for first in [32, 0, 64, 16] {
            places.reclaim(first, 16);
        }
        let ranges: Vec<_> = places.reclaimed.iter().map(|(a, b)| (*a, *b)).collect();
        assert_eq!(ranges, [(0, 48), (64, 80)]);
        places.reclaim(48, 16);
        assert_eq!(places.reclaimed.len(), 1);
        assert!(places.is_reclaimed(79) && !places.is_reclaimed(80));
    }
}
