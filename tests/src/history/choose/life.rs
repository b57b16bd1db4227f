//! Steps about time: what passes, what is set, and what happens by the clock.

use super::Chooser;
use crate::history::Step;
use crate::reference::{BLOCK, Position, VolumeNumber};

const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;
const YEAR: i64 = 365 * 24 * HOUR as i64;
/// No sum of steps of the clock: which of the two comes first is never a matter of a microsecond.
const TERM: u64 = 65 * MINUTE;

impl Chooser<'_> {
    /// Space is used and given back, and time passes.
    pub(super) fn life(&mut self, volume: VolumeNumber) -> Step {
        match self.random.below(100) {
            0..8 => {
                Step::Pass([MINUTE, 10 * MINUTE, HOUR, 30 * HOUR][self.random.below(4) as usize])
            }
            8 => Step::ClockJump(if self.random.one_in(2) { YEAR } else { -YEAR }),
            9 => Step::RetentionSet {
                volume,
                age: self.random.one_in(2).then_some(10 * HOUR),
                bytes: self.random.one_in(2).then_some(60 * BLOCK),
            },
            10..13 => Step::MoveWindowsOn,
            13 | 14 => self.schedule(volume),
            15..24 => Step::FollowSchedule(self.scheduled(volume)),
            24 | 25 => {
                let positions: Vec<Position> = self.reference.history.keys().copied().collect();
                let early = self.random.below(1 + positions.len() as u64 * 3 / 4) as usize;
                Step::MoveArchives(positions.get(early).copied().unwrap_or(1))
            }
            26 => Step::AuditSet((!self.random.one_in(4)).then_some(400)),
            27..29 => Step::TrimArchives,
            29..31 => Step::LeaseFor(self.source(volume), TERM),
            31..34 => self.quota(volume),
            _ => self.space(volume),
        }
    }

    fn schedule(&mut self, volume: VolumeNumber) -> Step {
        let odd = self.random.one_in(10);
        Step::ScheduleSet {
            volume,
            every: (!self.random.one_in(6)).then_some(10 * MINUTE),
            keep: match odd {
                false => vec![(2 * HOUR, 0), (20 * HOUR, 2 * HOUR)],
                true => vec![(20 * HOUR, 2 * HOUR), (2 * HOUR, 0)],
            },
        }
    }

    /// Mostly a volume that has a schedule.
    fn scheduled(&mut self, volume: VolumeNumber) -> VolumeNumber {
        let all: Vec<VolumeNumber> = self.reference.scheduled.iter().copied().collect();
        self.random.pick(&all).copied().unwrap_or(volume)
    }
}
