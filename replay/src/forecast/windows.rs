//! How much of a volume changes within a stretch of time: what a checkpoint that stood so long would have come to own.

use super::turnover::{Boundary, Lost, Watch, follow};
use super::{mapped, no_volume};
use serde::Serialize;
use strand_engine::{Error, Kind, Refusal, Store, VolumeId};

/// So many windows are looked at, at most; they begin at equal distances. It bounds memory: 16 bytes each.
const MAX_STEPS: u64 = 1 << 16;

/// What all windows of one length say.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Forecast {
    /// How long each window is, in ns: as asked, or less where less is recorded.
    pub window: u64,
    /// How much elapsed time the journal records of the volume, in ns.
    pub recorded: u64,
    /// How many windows were looked at.
    pub windows: u64,
    /// Half of the windows have no more than so many blocks.
    pub p50: u64,
    /// 95 of 100 have no more.
    pub p95: u64,
    /// None has more.
    pub most: u64,
    /// Blocks that the volume maps now.
    pub mapped: u64,
}

/// Counts, for every window of `window` ns, the versions that are live at its beginning and not at some commit within it: distinct blocks that
/// were written over, cut off or removed. Costs a fold of the journal.
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
        changes: Vec::new(),
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
    let mut counts = windows.counts();
    counts.sort_unstable();
    let rank = |percent: usize| counts[((counts.len() * percent).div_ceil(100)).max(1) - 1];
    Ok(Forecast {
        window: windows.window,
        recorded,
        windows: counts.len() as u64,
        p50: rank(50),
        p95: rank(95),
        most: rank(100),
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
    changes: Vec<i64>,
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

    fn counts(&self) -> Vec<u64> {
        let mut sum = 0;
        let all = self.changes.iter().take(self.born.len());
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
        self.changes.clear();
        // The last window begins where the record ends less its length: it begins even if nothing happened since.
        let count = usize::try_from(self.count()).unwrap_or(0);
        self.changes.resize(count + 1, 0);
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
        // Those that have begun before this moment, and last until it or longer.
        let last = self.born.len();
        let reach = self.first_from(at.elapsed.saturating_sub(self.window));
        let reach = usize::try_from(reach).unwrap_or(usize::MAX).min(last);
        for version in lost {
            let first = match version.since {
                Some(since) => usize::try_from(self.first_from(since)).unwrap_or(usize::MAX),
                None => self.born.partition_point(|born| *born <= version.addr),
            };
            let first = first.max(reach);
            if first < last {
                self.changes[first] += 1;
                self.changes[last] -= 1;
            }
        }
        Ok(())
    }
}
