//! What a schedule would have taken, had it been set from the volume's beginning: its checkpoints are taken and thinned in thought, while the
//! journal is folded, and their ledgers kept.

use super::turnover::{Boundary, Lost, Watch, follow};
use super::{mapped, no_volume};
use serde::Serialize;
use std::collections::BTreeMap;
use strand_engine::duration;
use strand_engine::schedule::{Taken, next_due, plan};
use strand_engine::{Error, EventTime, Kind, Refusal, Schedule, Store, VolumeId};

/// The most checkpoints that a simulated schedule takes.
pub const MAX_TAKEN: u64 = 200_000;
/// The most that it keeps at once.
pub const MAX_KEPT: u64 = 2_048;
/// The recorded time is told in so many parts.
const PARTS: u64 = 64;

/// The space that a schedule would have taken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Simulation {
    /// How much elapsed time the journal records of the volume, in ns.
    pub recorded: u64,
    /// How many checkpoints were taken.
    pub taken: u64,
    /// How many of them were thinned out.
    pub thinned: u64,
    /// The moment when they owned most.
    pub peak: Sample,
    /// The end of the record.
    pub end: Sample,
    /// What they owned on average over the time, in blocks.
    pub mean: u64,
    /// Equal parts of the recorded time, each at the moment when they owned most in it.
    pub samples: Vec<Sample>,
    /// Blocks that the volume maps now.
    pub mapped: u64,
}

/// A moment of it.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Sample {
    /// When: the time of the last commit before.
    pub time: EventTime,
    /// The same in elapsed ns since the record began.
    pub elapsed: u64,
    /// How many checkpoints there were.
    pub checkpoints: u64,
    /// What they owned together, in blocks.
    pub owned: u64,
}

/// Simulates a schedule on the recorded journal, as if no other checkpoint were there. What a rollback brought back counts as if it had been
/// written then, so where there were any, it would have taken less. Costs a fold of the journal.
///
/// # Errors
/// [`Kind::Invalid`] for more than [`MAX_TAKEN`] checkpoints or [`MAX_KEPT`] at once; what folding gives.
pub fn simulate(store: &Store, volume: VolumeId, schedule: &Schedule) -> Result<Simulation, Error> {
    let state = store.state();
    let mapped = mapped(&state, volume)?;
    let mut watch = Simulated::new(schedule, state.elapsed);
    let end = follow(store, volume, &mut watch)?.ok_or_else(no_volume)?;
    // The moment itself: one may just be due.
    watch.stood(end, state.elapsed.saturating_add(1))?;
    watch.thin(state.elapsed);
    let recorded = watch.end.saturating_sub(watch.start);
    let mean = watch.owned_time / u128::from(recorded.max(1));
    Ok(Simulation {
        recorded,
        taken: watch.taken,
        thinned: watch.taken - watch.kept.len() as u64,
        peak: watch.peak,
        end: watch.sample(end.time, state.elapsed),
        mean: u64::try_from(mean).unwrap_or(u64::MAX),
        samples: watch.samples.into_iter().flatten().collect(),
        mapped,
    })
}

/// A checkpoint in thought.
struct Kept {
    /// Elapsed ns.
    at: u64,
    born: u64,
    /// What it owns, by the oldest checkpoint that shows it: its number.
    owned: BTreeMap<u64, u64>,
    number: u64,
}

struct Simulated<'a> {
    schedule: &'a Schedule,
    start: u64,
    end: u64,
    /// Oldest first.
    kept: Vec<Kept>,
    taken: u64,
    last: Option<u64>,
    owned: u64,
    /// Owned blocks times ns, until `counted`.
    owned_time: u128,
    counted: u64,
    peak: Sample,
    samples: Vec<Option<Sample>>,
}

impl<'a> Simulated<'a> {
    fn new(schedule: &'a Schedule, end: u64) -> Self {
        Self {
            schedule,
            start: 0,
            end,
            kept: Vec::new(),
            taken: 0,
            last: None,
            owned: 0,
            owned_time: 0,
            counted: 0,
            peak: Sample::default(),
            samples: Vec::new(),
        }
    }

    /// More than can be thought of?
    fn check(&self) -> Result<(), Refusal> {
        let recorded = self.end.saturating_sub(self.start);
        let refuse = |why: String, next: &str| {
            Refusal::new(Kind::Invalid, "the schedule is too fine to be simulated")
                .why(why)
                .next(next)
        };
        if recorded / self.schedule.every > MAX_TAKEN {
            let (every, recorded) = (duration(self.schedule.every), duration(recorded));
            return Err(refuse(
                format!("one every {every} in {recorded} are more than {MAX_TAKEN}"),
                "take them less often: --every",
            ));
        }
        let (mut from, mut kept) = (0, 0_u64);
        for keep in &self.schedule.keep {
            let age = keep.age.min(recorded);
            kept += age.saturating_sub(from) / keep.every.max(self.schedule.every) + 1;
            from = age;
        }
        if kept > MAX_KEPT {
            return Err(refuse(
                format!("it keeps some {kept} at once, more than {MAX_KEPT}"),
                "keep fewer: --keep",
            ));
        }
        Ok(())
    }

    fn sample(&self, time: EventTime, elapsed: u64) -> Sample {
        Sample {
            time,
            elapsed: elapsed.saturating_sub(self.start),
            checkpoints: self.kept.len() as u64,
            owned: self.owned,
        }
    }

    /// They own so much until `until`.
    fn count_until(&mut self, until: u64) {
        let until = until.min(self.end);
        let time = until.saturating_sub(self.counted);
        self.owned_time += u128::from(self.owned) * u128::from(time);
        self.counted = self.counted.max(until);
    }

    fn note(&mut self, time: EventTime, elapsed: u64) {
        let sample = self.sample(time, elapsed);
        if sample.owned > self.peak.owned || self.taken <= 1 {
            self.peak = sample;
        }
        let span = self.end.saturating_sub(self.start) / PARTS + 1;
        let part = usize::try_from(sample.elapsed / span).unwrap_or(usize::MAX);
        if let Some(part) = self.samples.get_mut(part)
            && part.is_none_or(|most| sample.owned >= most.owned)
        {
            *part = Some(sample);
        }
    }

    fn take(&mut self, at: u64, born: u64) {
        self.kept.push(Kept {
            at,
            born,
            owned: BTreeMap::new(),
            number: self.taken,
        });
        self.taken += 1;
        self.last = Some(at);
    }

    /// Lets those go that the schedule does not keep at a time.
    fn thin(&mut self, now: u64) {
        let existing: Vec<Taken> = self
            .kept
            .iter()
            .map(|kept| Taken {
                at: kept.at,
                stays: false,
            })
            .collect();
        let drop = plan(now, self.last, &existing, self.schedule).drop;
        for place in drop.into_iter().rev() {
            self.remove(place);
        }
    }

    /// Hands down what an older one shows, and releases the rest. What a newer one owns and this one was the oldest to show, the next one is now.
    fn remove(&mut self, place: usize) {
        let gone = self.kept.remove(place);
        for (oldest, count) in gone.owned {
            match place.checked_sub(1) {
                Some(older) if oldest != gone.number => {
                    *self.kept[older].owned.entry(oldest).or_default() += count;
                }
                _ => self.owned -= count,
            }
        }
        let Some(next) = self.kept.get(place).map(|kept| kept.number) else {
            return;
        };
        for newer in &mut self.kept[place..] {
            if let Some(count) = newer.owned.remove(&gone.number) {
                *newer.owned.entry(next).or_default() += count;
            }
        }
    }
}

impl Watch for Simulated<'_> {
    fn begins(&mut self, at: Boundary) {
        *self = Self::new(self.schedule, self.end);
        self.start = at.elapsed;
        self.counted = at.elapsed;
        self.samples.resize(PARTS as usize, None);
    }

    fn stood(&mut self, before: Boundary, until: u64) -> Result<(), Error> {
        if self.taken == 0 {
            self.check()?;
        }
        loop {
            let due = next_due(self.last, self.schedule.every).max(before.elapsed);
            if due >= until {
                break;
            }
            self.count_until(due);
            self.take(due, before.born);
            self.thin(due);
            self.note(before.time, due);
        }
        self.count_until(until);
        Ok(())
    }

    fn lost(&mut self, at: Boundary, lost: &[Lost]) -> Result<(), Error> {
        let Some(newest) = self.kept.last() else {
            return Ok(());
        };
        let (newest_at, newest_born) = (newest.at, newest.born);
        for version in lost {
            if !version.is_in(newest_at, newest_born) {
                continue; // no checkpoint shows it
            }
            let oldest = self
                .kept
                .partition_point(|kept| !version.is_in(kept.at, kept.born));
            let number = self.kept[oldest].number;
            if let Some(newest) = self.kept.last_mut() {
                *newest.owned.entry(number).or_default() += 1;
            }
            self.owned += 1;
        }
        self.note(at.time, at.elapsed);
        Ok(())
    }
}
