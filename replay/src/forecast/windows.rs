//! How much of a volume changes within a stretch of time, and how much of that a checkpoint that stood so long would have come to own.

use super::turnover::{Boundary, Change, Lost, Watch, follow};
use super::{mapped, no_volume};
use serde::Serialize;
use std::collections::BTreeMap;
use strand_engine::{Error, Kind, Place, Refusal, Store, VolumeId};

/// So many windows are looked at, at most; they begin at equal distances. It bounds memory: 24 bytes each.
const MAX_STEPS: u64 = 1 << 16;
/// From so many remembered places on, those are forgotten that no window reaches back to.
const MANY_PLACES: usize = 1 << 16;

/// What all windows of one length say.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Forecast {
    /// How long each window is, in ns: as asked, or less where less is recorded.
    pub window: u64,
    /// How much elapsed time the journal records of the volume, in ns.
    pub recorded: u64,
    /// How many windows were looked at.
    pub windows: u64,
    /// Distinct blocks that change within a window: written for the first time, written over, cut off or removed.
    pub changed: Counts,
    /// Those of them that a checkpoint taken at its beginning owns at its end.
    pub owned: Counts,
    /// Blocks that the volume maps now.
    pub mapped: u64,
}

/// How many blocks the windows have.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// Half of the windows have no more than so many blocks.
    pub p50: u64,
    /// 95 of 100 have no more.
    pub p95: u64,
    /// None has more.
    pub most: u64,
}

impl Counts {
    /// Of at least one count.
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        let rank = |percent: usize| {
            let rank = (counts.len() * percent).div_ceil(100).max(1) - 1;
            counts.get(rank).copied().unwrap_or(0)
        };
        Self {
            p50: rank(50),
            p95: rank(95),
            most: rank(100),
        }
    }
}

/// Counts, for every window of `window` ns, the places that change in it, each once, and the versions that are live at its beginning and not at some commit
/// within it. Costs a fold of the journal, and memory for what was freed or shared within one window.
///
/// Where less than a window is recorded, all of the record is the only window.
///
/// # Errors
/// [`Kind::OutOfRange`] where nothing is recorded; what folding gives.
pub fn forecast(store: &Store, volume: VolumeId, window: u64) -> Result<Forecast, Error> {
    let state = store.state();
    let mapped = mapped(&state, volume)?;
    if window == 0 {
        return Err(Refusal::new(Kind::Invalid, "a window of no length").into());
    }
    let mut windows = Windows {
        asked: window,
        window,
        end: state.elapsed,
        start: 0,
        step: 1,
        born: Vec::new(),
        changed: Vec::new(),
        owned: Vec::new(),
        moved: BTreeMap::new(),
        many: MANY_PLACES,
    };
    follow(store, volume, &mut windows)?.ok_or_else(no_volume)?;
    let recorded = windows.end.saturating_sub(windows.start);
    if recorded == 0 {
        return Err(
            Refusal::new(Kind::OutOfRange, "nothing is recorded of the volume yet")
                .next("ask again when something was written")
                .into(),
        );
    }
    Ok(Forecast {
        window: windows.window,
        recorded,
        windows: windows.born.len() as u64,
        changed: Counts::of(windows.counts(&windows.changed)),
        owned: Counts::of(windows.counts(&windows.owned)),
        mapped,
    })
}

struct Windows {
    /// How long each was asked to be, and is.
    asked: u64,
    window: u64,
    /// Where the record ends, in elapsed ns.
    end: u64,
    /// Where it begins: the first window begins there.
    start: u64,
    /// The distance of two windows' beginnings.
    step: u64,
    /// For each window that has begun, [`Boundary::born`] at its beginning.
    born: Vec<u64>,
    /// For each window, how many blocks more it has than the one before.
    changed: Vec<i64>,
    owned: Vec<i64>,
    /// Places whose last change was another than that their version was written there: when it was, in elapsed ns.
    moved: BTreeMap<Place, u64>,
    /// How many places may be remembered before the old ones are forgotten.
    many: usize,
}

impl Windows {
    /// How many windows there are.
    fn count(&self) -> u64 {
        match self
            .end
            .checked_sub(self.start)
            .and_then(|recorded| recorded.checked_sub(self.window))
        {
            Some(room) => room / self.step + 1,
            None => 0,
        }
    }

    /// The first window that begins at or after a time.
    fn first_from(&self, elapsed: u64) -> u64 {
        elapsed.saturating_sub(self.start).div_ceil(self.step)
    }

    /// The first window that begins when a version is there that was born at an address.
    fn first_with(&self, addr: u64) -> usize {
        self.born.partition_point(|born| *born <= addr)
    }

    /// The windows that have begun before a moment, and last until it or longer.
    fn around(&self, elapsed: u64) -> std::ops::Range<usize> {
        let last = self.born.len();
        let reach = self.first_from(elapsed.saturating_sub(self.window));
        usize::try_from(reach).unwrap_or(usize::MAX).min(last)..last
    }

    /// Forgets what no window that a later change is in begins before.
    fn forget(&mut self, elapsed: u64) {
        if self.moved.len() < self.many {
            return;
        }
        let reach = elapsed.saturating_sub(self.window);
        self.moved.retain(|_, moved| *moved > reach);
        self.many = (2 * self.moved.len()).max(MANY_PLACES);
    }

    fn counts(&self, changes: &[i64]) -> Vec<u64> {
        let mut sum = 0;
        let all = changes.iter().take(self.born.len());
        all.map(|change| {
            sum += change;
            u64::try_from(sum).unwrap_or(0)
        })
        .collect()
    }
}

impl Watch for Windows {
    fn begins(&mut self, at: Boundary) {
        self.start = at.elapsed;
        self.window = self.asked.min(self.end.saturating_sub(self.start));
        let room = self
            .end
            .saturating_sub(self.start)
            .saturating_sub(self.window);
        self.step = (room / MAX_STEPS).max(1);
        self.born.clear();
        self.moved.clear();
        self.changed.clear();
        self.owned.clear();
        // The last window begins where the record ends less its length: it begins even if nothing happened since.
        let count = usize::try_from(self.count()).unwrap_or(0);
        self.changed.resize(count + 1, 0);
        self.owned.resize(count + 1, 0);
    }

    fn stood(&mut self, before: Boundary, until: u64) -> Result<(), Error> {
        let begun = self.first_from(until).min(self.count());
        let begun = usize::try_from(begun).unwrap_or(usize::MAX);
        if begun > self.born.len() {
            self.born.resize(begun, before.born);
        }
        Ok(())
    }

    fn lost(&mut self, at: Boundary, lost: &[Lost]) -> Result<(), Error> {
        let around = self.around(at.elapsed);
        for version in lost {
            let first = match version.since {
                Some(since) => usize::try_from(self.first_from(since)).unwrap_or(usize::MAX),
                None => self.first_with(version.addr),
            };
            count(&mut self.owned, first, &around);
        }
        Ok(())
    }

    fn changed(&mut self, at: Boundary, changes: &[Change]) -> Result<(), Error> {
        let around = self.around(at.elapsed);
        for change in changes {
            let moved = match change.written {
                true => self.moved.remove(&change.place),
                false => self.moved.insert(change.place, at.elapsed),
            };
            // It counts for those that began after its last change: for the others it has.
            let first = match (moved, change.before) {
                (Some(moved), _) => usize::try_from(self.first_from(moved)).unwrap_or(usize::MAX),
                (None, Some(addr)) => self.first_with(addr),
                (None, None) => 0,
            };
            count(&mut self.changed, first, &around);
        }
        self.forget(at.elapsed);
        Ok(())
    }
}

/// One block more in those windows of a range that are not before `first`.
fn count(changes: &mut [i64], first: usize, around: &std::ops::Range<usize>) {
    let first = first.max(around.start);
    if first < around.end {
        changes[first] += 1;
        changes[around.end] -= 1;
    }
}
