//! Properties of schedules over long times, with clocks and keepers that misbehave.

use super::*;
use crate::schedule::Keep;
use proptest::prelude::*;

const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn schedule(every: u64, keep: &[(u64, u64)]) -> Schedule {
    let keep = keep.iter().map(|&(age, every)| Keep { age, every });
    Schedule {
        every,
        keep: keep.collect(),
    }
}

fn usual() -> Schedule {
    schedule(
        15 * MINUTE,
        &[(4 * HOUR, 0), (2 * DAY, HOUR), (30 * DAY, DAY)],
    )
}

/// Follows a schedule: at each of these times whatever it says is done.
#[derive(Default)]
struct Follower {
    existing: Vec<Taken>,
    last: Option<u64>,
    taken: Vec<u64>,
}

impl Follower {
    fn at(&mut self, now: u64, schedule: &Schedule) {
        let first = plan(now, self.last, &self.existing, schedule);
        if first.take {
            self.existing.push(Taken {
                at: now,
                stays: false,
            });
            self.last = Some(now);
            self.taken.push(now);
        }
        let second = plan(now, self.last, &self.existing, schedule);
        assert!(!second.take, "one is taken at a time");
        for place in second.drop.iter().rev() {
            self.existing.remove(*place);
        }
        let third = plan(now, self.last, &self.existing, schedule);
        assert_eq!(third, Plan::default(), "what is thinned is thinned");
    }
}

#[test]
fn a_month_of_quarters_is_thinned_to_hours_and_days() {
    let (schedule, mut follower) = (usual(), Follower::default());
    let end = 40 * DAY;
    for now in (0..=end).step_by(5 * MINUTE as usize) {
        follower.at(now, &schedule);
    }
    assert_eq!(follower.taken.len() as u64, end / (15 * MINUTE) + 1);
    let within = |from: u64, to: u64| {
        let ages = follower.existing.iter().map(|t| end - t.at);
        ages.filter(|age| (from..to).contains(age)).count()
    };
    assert_eq!(within(0, 4 * HOUR + 1), 17);
    assert_eq!(within(4 * HOUR + 1, 2 * DAY + 1), 44);
    assert_eq!(within(2 * DAY + 1, 30 * DAY + 1), 28);
    assert_eq!(within(30 * DAY + 1, u64::MAX), 0);
}

#[test]
fn what_is_held_stays_and_what_is_newest_stays() {
    let schedule = schedule(HOUR, &[(MINUTE, 0)]);
    let existing = [(0, true), (HOUR, false), (2 * HOUR, false)];
    let existing: Vec<Taken> = existing
        .iter()
        .map(|&(at, stays)| Taken { at, stays })
        .collect();
    let found = plan(10 * DAY, None, &existing, &schedule);
    assert_eq!(found.drop, [1], "the first is held, the last is the newest");
    assert!(found.take);
}

#[test]
fn a_schedule_that_keeps_shorter_than_it_takes_does_not_take_at_every_look() {
    let (schedule, mut follower) = (schedule(HOUR, &[(MINUTE, 0)]), Follower::default());
    for now in (0..DAY).step_by(MINUTE as usize) {
        follower.at(now, &schedule);
        assert_eq!(follower.existing.len(), 1);
    }
    assert_eq!(follower.taken.len(), 24);
}

#[test]
fn one_that_somebody_removed_is_not_taken_again_at_once() {
    let found = plan(10 * MINUTE, Some(9 * MINUTE), &[], &usual());
    assert!(!found.take);
    assert!(plan(10 * MINUTE, None, &[], &usual()).take);
}

#[test]
fn time_that_steps_back_takes_nothing_and_drops_nothing() {
    let existing: Vec<Taken> = (0..100)
        .map(|i| Taken {
            at: 100 * DAY + i * MINUTE,
            stays: false,
        })
        .collect();
    assert_eq!(plan(0, None, &existing, &usual()), Plan::default());
    assert_eq!(
        plan(u64::MAX, None, &existing[..1], &usual()).drop,
        [0; 0],
        "the newest stays at any age"
    );
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let steps = prop::collection::vec((1_u64..50, 0_u64..6), 1..4);
    (1_u64..40, steps).prop_map(|(every, steps)| {
        let (mut age, mut distance) = (0, 0);
        let keep = steps.into_iter().map(|(more, wider)| {
            age += more * 10 * MINUTE;
            distance += wider * 10 * MINUTE;
            Keep {
                age,
                every: distance,
            }
        });
        Schedule {
            every: every * MINUTE,
            keep: keep.collect(),
        }
    })
}

proptest! {
    #[test]
    fn every_age_is_covered_and_not_much_more_is_kept(
        schedule in any_schedule(),
        steps in prop::collection::vec(1_u64..30, 50..300),
    ) {
        prop_assert!(schedule.is_sound());
        let longest = steps.iter().max().copied().unwrap_or(0) * MINUTE;
        let (mut now, mut follower) = (0, Follower::default());
        for step in steps {
            now += step * MINUTE;
            follower.at(now, &schedule);
            // Looks may come late; what they find due they take, and no two stand close together.
            let distances = follower.taken.windows(2).map(|pair| pair[1] - pair[0]);
            for distance in distances {
                prop_assert!(distance >= schedule.every / 2);
                prop_assert!(distance <= schedule.every * 3 / 2 + longest);
            }
            for pair in follower.existing.windows(2) {
                let age = now - pair[0].at;
                let Some(step) = schedule.keep.iter().position(|keep| age <= keep.age) else {
                    prop_assert!(false, "too old: {age}");
                    unreachable!();
                };
                let distance = pair[1].at - pair[0].at;
                let normal = schedule.every * 3 / 2 + longest;
                prop_assert!(distance <= normal + 2 * schedule.keep[step].every, "a gap");
            }
            let mut most = 2;
            let mut from = 0;
            for keep in &schedule.keep {
                let apart = keep.every.max(schedule.every / 2);
                most += (keep.age - from) / apart + 2;
                from = keep.age;
            }
            prop_assert!(follower.existing.len() as u64 <= most);
        }
    }

    #[test]
    fn what_stays_is_never_dropped(
        schedule in any_schedule(),
        existing in prop::collection::btree_map(0_u64..10_000, any::<bool>(), 0..200),
        now in 0_u64..20_000,
    ) {
        let existing: Vec<Taken> = existing
            .into_iter()
            .map(|(at, stays)| Taken { at: at * MINUTE, stays })
            .collect();
        let found = plan(now * MINUTE, None, &existing, &schedule);
        for place in &found.drop {
            prop_assert!(!existing[*place].stays);
            prop_assert!(place + 1 < existing.len());
        }
        // Later it drops no less of what it would drop now.
        let mut left: Vec<Taken> = existing.clone();
        for place in found.drop.iter().rev() {
            left.remove(*place);
        }
        let again = plan(now * MINUTE, None, &left, &schedule);
        prop_assert_eq!(again.drop, Vec::<usize>::new());
    }

    #[test]
    fn nothing_panics_at_the_ends_of_time(
        now in any::<u64>(), last in any::<Option<u64>>(), every in 1_000_000_000_u64..=u64::MAX,
        existing in prop::collection::btree_set(any::<u64>(), 0..20),
    ) {
        let existing: Vec<Taken> =
            existing.into_iter().map(|at| Taken { at, stays: false }).collect();
        let schedule = schedule(every, &[(1, 0), (u64::MAX / 2, every), (u64::MAX, u64::MAX)]);
        let found = plan(now, last, &existing, &schedule);
        prop_assert!(found.drop.len() <= existing.len());
    }
}
