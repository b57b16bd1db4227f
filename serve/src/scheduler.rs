//! The thread that follows the schedules of volumes: it takes checkpoints when they are due, and lets those go that a schedule keeps no longer. What is
//! due is `schedule::due`'s to say.
//!
//! Time is elapsed time: what the events record, and beyond that what this process measures. A wall clock that is set anywhere changes only how
//! the next checkpoint is called.

use crate::ticker::Ticker;
use crate::{Force, Live};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::schedule::{Look, due, scheduled};
use strand_engine::{Actor, CheckpointId, Error, Source, State, VolumeId};

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// What was refused is tried again after so long, in ns.
const PATIENCE: u64 = 60_000_000_000;
/// So many checkpoints go at one look, at most.
const MOST_AT_ONCE: usize = 64;

/// The scheduler of a store in live use. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Scheduler {
    _ticker: Ticker,
}

impl Scheduler {
    /// Starts the thread; without one, nothing is taken by the clock.
    pub(crate) fn start(live: Arc<Live>) -> Self {
        let mut follower = Follower::new(live);
        Self {
            _ticker: Ticker::start("scheduler", TICK, move || follower.look()),
        }
    }
}

/// Follows the schedules, look by look.
struct Follower {
    live: Arc<Live>,
    actor: Actor,
    /// Elapsed ns at the last look, and the monotonic clock then.
    now: u64,
    looked: u64,
    /// When checkpoints were taken here: the events' time may have stood still, as after a clock was set back.
    taken: BTreeMap<CheckpointId, u64>,
    last: BTreeMap<VolumeId, u64>,
    /// Not before then again, after something was refused.
    patience: BTreeMap<VolumeId, u64>,
}

impl Follower {
    fn new(live: Arc<Live>) -> Self {
        let looked = live.store().clock().monotonic();
        Self {
            live,
            actor: Actor {
                reason: "schedule".into(),
                ..Actor::program()
            },
            now: 0,
            looked,
            taken: BTreeMap::new(),
            last: BTreeMap::new(),
            patience: BTreeMap::new(),
        }
    }

    fn look(&mut self) {
        let state = self.live.store().state();
        let clock = self.live.store().clock().monotonic();
        let since = clock.saturating_sub(self.looked);
        self.now = state.elapsed.max(self.now.saturating_add(since));
        self.looked = clock;
        self.taken
            .retain(|id, _| state.checkpoints.contains_key(id));
        for volume in state.volumes.values() {
            let Some(schedule) = &volume.schedule else {
                continue;
            };
            if self
                .patience
                .get(&volume.id)
                .is_some_and(|until| self.now < *until)
            {
                continue;
            }
            if let Err(error) = self.follow(&state, volume.id) {
                tracing::warn!(%error, volume = &*volume.name, "the schedule waits");
                let until = self.now.saturating_add(PATIENCE.min(schedule.every));
                self.patience.insert(volume.id, until);
            }
        }
    }

    fn follow(&mut self, state: &State, id: VolumeId) -> Result<(), Error> {
        let in_use = match scheduled(state, id).next() {
            None => Vec::new(),
            Some(_) => self.in_use(),
        };
        let look = Look {
            now: self.now,
            wall: self.live.store().clock().wall(),
            last: self.last.get(&id).copied(),
            taken: &|checkpoint| self.taken.get(&checkpoint).copied(),
            in_use: &|checkpoint| in_use.contains(&checkpoint),
        };
        let due = due(state, id, &look);
        let mut outcome = Ok(());
        // One that stays, as it has just been mounted, keeps none of the others, nor what is due.
        for command in due.drop.into_iter().take(MOST_AT_ONCE) {
            if let Err(error) = self.live.run(&self.actor, command, Force::No) {
                outcome = Err(error);
            }
        }
        if let Some(command) = due.take {
            self.live.run(&self.actor, command, Force::No)?;
            self.took(id);
        }
        outcome
    }

    /// Remembers when the newest one was taken. Nobody else takes any in between that is named like this.
    fn took(&mut self, id: VolumeId) {
        self.last.insert(id, self.now);
        let state = self.live.store().state();
        if let Some(made) = scheduled(&state, id).next_back() {
            self.taken.insert(made.id, self.now);
        }
    }

    /// Checkpoints that are mounted or read.
    fn in_use(&self) -> Vec<CheckpointId> {
        let mounted = self.live.mounts().into_iter().map(|mount| mount.source);
        let leased = self.live.store().leases();
        mounted
            .chain(
                leased
                    .into_iter()
                    .filter(|l| l.in_the_way)
                    .map(|l| l.source),
            )
            .filter_map(|source| match source {
                Source::Checkpoint(_, id) => Some(id),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LiveOptions;
    use strand_engine::{Command, InitOptions, Keep, ManualClock, NewBody, Quota, Schedule, Store};
    use strand_journal::{MemoryDisk, StoreId};

    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    /// 2026-11-21 10:00:00 UTC.
    const TEN: u64 = 1_795_255_200 * SECOND;
    const YEAR: u64 = 365 * 24 * HOUR;

    struct Rig {
        clock: Arc<ManualClock>,
        live: Arc<Live>,
        follower: Follower,
        volume: VolumeId,
    }

    impl Rig {
        fn new(every: u64, keep: &[(u64, u64)]) -> Self {
            let clock = Arc::new(ManualClock::new(TEN));
            let options = InitOptions {
                segment_size: 64 << 10,
                capacity: None,
                store: StoreId([9; 16]),
            };
            let disk = Arc::new(MemoryDisk::new());
            let store = Store::init(disk, clock.clone(), options, &Actor::program()).unwrap();
            let live = Live::new(store, LiveOptions::default());
            let create = Command::VolumeCreate {
                name: "pg".into(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            };
            live.run(&Actor::program(), create, Force::No).unwrap();
            let volume = live.store().state().volume_named("pg").unwrap().id;
            let keep = keep.iter().map(|&(age, every)| Keep { age, every });
            let schedule = Some(Schedule {
                every,
                keep: keep.collect(),
            });
            let set = Command::ScheduleSet { volume, schedule };
            live.run(&Actor::program(), set, Force::No).unwrap();
            Self {
                follower: Follower::new(live.clone()),
                clock,
                live,
                volume,
            }
        }

        fn names(&self) -> Vec<String> {
            let state = self.live.store().state();
            let all = state.checkpoints.values();
            all.map(|c| c.name.to_string()).collect()
        }

        /// So long, looking every minute.
        fn pass(&mut self, time: u64) {
            for _ in 0..time / MINUTE {
                self.clock.advance(MINUTE);
                self.follower.look();
            }
        }

        fn run(&self, command: Command) {
            self.live
                .run(&Actor::program(), command, Force::No)
                .unwrap();
        }
    }

    #[test]
    fn checkpoints_are_taken_by_the_clock_and_thinned() {
        let mut rig = Rig::new(15 * MINUTE, &[(HOUR, 0), (6 * HOUR, HOUR)]);
        rig.follower.look();
        assert_eq!(rig.names(), ["auto-20261121T100000Z"]);
        rig.pass(10 * HOUR);
        let names = rig.names();
        assert!((9..=12).contains(&names.len()), "{names:?}");
        assert!(!names.contains(&"auto-20261121T100000Z".to_owned()));
        let state = rig.live.store().state();
        let first = state.checkpoints.values().next().unwrap();
        assert!(first.removable && first.volumes == [rig.volume]);
        let who = state.actors.get(&first.actor).unwrap();
        assert_eq!(
            (who.name.as_str(), who.reason.as_str()),
            ("strand", "schedule")
        );
    }

    #[test]
    fn a_clock_a_year_ahead_and_back_removes_nothing_and_floods_nothing() {
        let mut rig = Rig::new(15 * MINUTE, &[(HOUR, 0), (6 * HOUR, HOUR)]);
        rig.follower.look();
        rig.pass(2 * HOUR);
        let before = rig.names();
        rig.clock.jump_to(TEN + YEAR);
        rig.follower.look();
        assert_eq!(rig.names(), before, "nothing is older than it was");
        rig.pass(15 * MINUTE);
        let ahead = rig.names();
        assert!(ahead.last().unwrap().starts_with("auto-20271121T"));
        // Back to where names were given already: they get an ending.
        rig.clock.jump_to(TEN + 2 * HOUR - MINUTE);
        for _ in 0..100 {
            rig.follower.look();
        }
        assert_eq!(rig.names(), ahead, "nothing is due");
        rig.pass(HOUR);
        let taken = rig.names();
        let new = taken.iter().filter(|name| !ahead.contains(name)).count();
        assert_eq!(new, 4, "{taken:?}");
        rig.pass(10 * HOUR);
        let late = rig.names();
        assert!((9..=12).contains(&late.len()), "{late:?}");
    }

    #[test]
    fn one_name_taken_twice_gets_an_ending() {
        let mut rig = Rig::new(MINUTE, &[(HOUR, 0)]);
        rig.follower.look();
        rig.clock.advance(MINUTE);
        rig.clock.jump_to(TEN);
        rig.follower.look();
        assert_eq!(
            rig.names(),
            ["auto-20261121T100000Z", "auto-20261121T100000Z-2"]
        );
    }

    #[test]
    fn what_is_held_read_or_somebodys_own_stays() {
        let mut rig = Rig::new(15 * MINUTE, &[(40 * MINUTE, 0)]);
        rig.follower.look();
        rig.pass(30 * MINUTE);
        let state = rig.live.store().state();
        let ids: Vec<CheckpointId> = state.checkpoints.keys().copied().collect();
        assert_eq!(ids.len(), 3);
        rig.run(Command::CheckpointHold {
            checkpoint: ids[0],
            held: true,
        });
        rig.run(Command::CheckpointFlag {
            checkpoint: ids[1],
            removable: Some(false),
            nomount: None,
        });
        let source = Source::Checkpoint(rig.volume, ids[2]);
        let tree = rig.live.store().view(source).unwrap();
        let lease = rig
            .live
            .store()
            .lease(source, tree, "a backup".into(), None);
        rig.pass(3 * HOUR);
        let there = |rig: &Rig, id| rig.live.store().state().checkpoints.contains_key(&id);
        assert!(ids.iter().all(|id| there(&rig, *id)));
        drop(lease);
        rig.pass(2 * MINUTE);
        assert!(there(&rig, ids[0]) && there(&rig, ids[1]) && !there(&rig, ids[2]));
    }

    #[test]
    fn a_schedule_that_ended_takes_nothing() {
        let mut rig = Rig::new(MINUTE, &[(HOUR, 0)]);
        rig.follower.look();
        let volume = rig.volume;
        rig.run(Command::ScheduleSet {
            volume,
            schedule: None,
        });
        rig.pass(10 * MINUTE);
        assert_eq!(rig.names().len(), 1, "what it took stays");
    }

    #[test]
    fn what_is_refused_is_tried_again_and_not_all_the_time() {
        let mut rig = Rig::new(MINUTE, &[(HOUR, 0)]);
        let volume = rig.volume;
        let root = rig.live.store().state().volume(volume).unwrap().live.root;
        rig.run(Command::Create {
            volume,
            dir: root,
            name: b"f"[..].into(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        });
        let tree = rig.live.store().live(volume).unwrap();
        let ino = tree.lookup(b"f").unwrap();
        let write = |rig: &Rig, byte| {
            let store = rig.live.store();
            store
                .write(&Actor::program(), volume, ino, 0, &[byte; 4096])
                .unwrap();
        };
        write(&rig, 1);
        rig.follower.look();
        write(&rig, 2);
        let quota = |on| Command::QuotaSet {
            volume,
            quota: Quota {
                soft: Some(1),
                on,
                ..Quota::default()
            },
            below_use: true,
        };
        rig.run(quota(true));
        rig.clock.advance(2 * MINUTE);
        for _ in 0..100 {
            rig.follower.look();
        }
        assert_eq!(
            rig.names().len(),
            1,
            "above its soft limit nothing is taken"
        );
        assert_eq!(rig.follower.patience.len(), 1);
        rig.run(quota(false));
        rig.pass(2 * MINUTE);
        assert!(rig.names().len() > 1);
    }

    #[test]
    fn the_thread_ends_when_asked() {
        let rig = Rig::new(HOUR, &[(24 * HOUR, 0)]);
        let scheduler = Scheduler::start(rig.live.clone());
        for _ in 0..2000 {
            if !rig.names().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(scheduler);
        assert_eq!(rig.names().len(), 1);
        drop(rig.follower);
        rig.live.close().unwrap();
    }
}
