//! What a record says of space to come, against a count by hand of every version at every commit.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, SECOND};
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::schedule::{Taken, next_due, parse_keep, plan};
use strand_engine::{BLOCK, Fileset, Ino, Kind, Schedule, Store, VolumeId, fold};
use strand_replay::forecast::{Counts, forecast, simulate};

const MINUTE: u64 = 60 * SECOND;

/// A version while it is live: its address, and since which commit. What is live again after it was gone is another one.
type Alive = (u64, u64);

/// What stands at each place of a tree.
type Places = BTreeMap<(Ino, u64), u64>;

/// The tree of a volume after each commit: elapsed time, what was live, and where.
struct Record {
    commits: Vec<(u64, BTreeSet<Alive>, Places)>,
    end: u64,
}

fn places(tree: &Fileset) -> Places {
    let files = tree.inodes.iter();
    let files = files.filter_map(|(ino, inode)| Some((Ino(ino), inode.file()?)));
    files
        .flat_map(|(ino, file)| {
            let map = file.map.iter();
            map.map(move |(block, version)| ((ino, block), version.addr().0))
        })
        .collect()
}

fn addresses(tree: &Fileset) -> BTreeSet<u64> {
    let files = tree.inodes.iter().filter_map(|(_, inode)| inode.file());
    files
        .flat_map(|file| file.map.iter().map(|(_, version)| version.addr().0))
        .collect()
}

impl Record {
    fn of(store: &Store, volume: VolumeId) -> Self {
        let (mut commits, mut seen) = (Vec::new(), 0);
        let note = |commits: &mut Vec<(u64, BTreeSet<Alive>, Places)>,
                    state: &strand_engine::State| {
            let Some(found) = state.volume(volume) else {
                return;
            };
            let before: BTreeMap<u64, u64> = match commits.last() {
                Some((_, alive, _)) => alive.iter().copied().collect(),
                None => BTreeMap::new(),
            };
            let alive = addresses(&found.live).into_iter().map(|addr| {
                let since = before.get(&addr).copied().unwrap_or(state.seq);
                (addr, since)
            });
            commits.push((state.elapsed, alive.collect(), places(&found.live)));
        };
        let reader = store.journal().reader();
        let end = fold::fold_prefix(&reader, None, &mut |state, placed| {
            if placed.seq <= seen {
                commits.clear();
            }
            seen = placed.seq;
            if state.seq == state.boundary {
                note(&mut commits, state);
            }
        })
        .unwrap();
        note(&mut commits, &end);
        Self {
            commits,
            end: end.elapsed,
        }
    }

    fn start(&self) -> u64 {
        self.commits[0].0
    }

    /// The place of the last commit at or before a time.
    fn at(&self, elapsed: u64) -> usize {
        self.commits.partition_point(|(at, ..)| *at <= elapsed) - 1
    }

    /// Versions live at a time that are not live at some commit within a window from there.
    fn lost(&self, from: u64, window: u64) -> u64 {
        let first = self.at(from);
        let last = self.at(from + window);
        let live = &self.commits[first].1;
        let mut lost: BTreeSet<&Alive> = BTreeSet::new();
        for (_, later, _) in &self.commits[first + 1..=last] {
            lost.extend(live.difference(later));
        }
        lost.len() as u64
    }

    /// Places at which some commit within a window changes what stands there.
    fn changed(&self, from: u64, window: u64) -> u64 {
        let (first, last) = (self.at(from), self.at(from + window));
        let mut changed = BTreeSet::new();
        for pair in self.commits[first..=last].windows(2) {
            let (before, after) = (&pair[0].2, &pair[1].2);
            let differ = |a: &Places, b: &Places, changed: &mut BTreeSet<(Ino, u64)>| {
                let there = a
                    .iter()
                    .filter(|(place, version)| b.get(*place) != Some(*version));
                changed.extend(there.map(|(place, _)| *place));
            };
            differ(before, after, &mut changed);
            differ(after, before, &mut changed);
        }
        changed.len() as u64
    }
}

/// Writes, cuts, removes, copies and goes back, as a number says.
fn work(f: &Fixture, volume: VolumeId, steps: u64, mut seed: u64) {
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut files: Vec<Ino> = (0..3).map(|i| f.file(volume, &format!("f{i}"))).collect();
    let kept = f.checkpoint(volume, "kept");
    for step in 0..steps {
        f.advance((1 + next(240)) * SECOND);
        let ino = files[next(3) as usize];
        match next(12) {
            0 => {
                let place = files.iter().position(|file| *file == ino).unwrap();
                let name = f.store.state().volume(volume).unwrap().live.path_of(ino);
                let name = String::from_utf8(name.unwrap()).unwrap();
                f.unlink(volume, &name);
                files[place] = f.file(volume, &format!("n{step}"));
            }
            1 => {
                f.store
                    .truncate(&f.me, volume, ino, next(20) * BLOCK)
                    .unwrap();
            }
            2 => {
                let to = files[next(3) as usize];
                let (from, at) = (next(8) * BLOCK, next(30) * BLOCK);
                // Past its end there is nothing to copy.
                let copied = f
                    .store
                    .copy_range(&f.me, volume, ino, from, to, at, 4 * BLOCK);
                assert!(copied.is_ok() || ino == to, "{copied:?}");
            }
            3 if step % 3 == 0 => {
                f.rollback(volume, kept);
                let live = f.store.state().volume(volume).unwrap().live.clone();
                let root = live.inode(live.root).unwrap().clone();
                files = root.names().unwrap().iter().map(|(_, ino)| *ino).collect();
                assert_eq!(files.len(), 3);
            }
            _ => {
                f.write(volume, ino, next(40), 1 + next(6), step as u8);
            }
        }
    }
    f.advance(MINUTE);
    f.store.sync().unwrap();
}

#[test]
fn windows_count_what_a_count_by_hand_gives() {
    for seed in [1, 2, 3] {
        let f = Fixture::new();
        let v = f.volume("pg");
        work(&f, v, 120, seed);
        let record = Record::of(&f.store, v);
        for window in [MINUTE, 10 * MINUTE, 45 * MINUTE] {
            let found = forecast(&f.store, v, window).unwrap();
            let room = record.end - record.start() - window;
            let step = (room / 65_536).max(1);
            assert_eq!(found.windows, room / step + 1);
            assert_eq!(found.recorded, record.end - record.start());
            // Between two beginnings at which something changes all windows are alike: those are counted once.
            let (mut changed, mut lost) = (Vec::new(), Vec::new());
            let mut alike: Option<((usize, usize), (u64, u64))> = None;
            for k in 0..found.windows {
                let from = record.start() + k * step;
                let ends = (record.at(from), record.at(from + window));
                let counts = match alike {
                    Some((same, counts)) if same == ends => counts,
                    _ => (record.changed(from, window), record.lost(from, window)),
                };
                alike = Some((ends, counts));
                changed.push(counts.0);
                lost.push(counts.1);
            }
            let counts = |mut counts: Vec<u64>| {
                counts.sort_unstable();
                let rank = |percent: usize| counts[(counts.len() * percent).div_ceil(100) - 1];
                Counts {
                    p50: rank(50),
                    p95: rank(95),
                    most: rank(100),
                }
            };
            assert_eq!(
                (found.changed, found.owned),
                (counts(changed), counts(lost)),
                "seed {seed}, window {window}"
            );
            assert!(found.owned.most > 0 && found.changed.most > found.owned.most);
        }
    }
}

#[test]
fn a_simulated_schedule_owns_what_a_count_by_hand_gives() {
    for (seed, keep) in [
        (1, "20m:all,2h:30m,1d:1h"),
        (2, "1h:all"),
        (3, "10m:all,1h:20m"),
    ] {
        let f = Fixture::new();
        let v = f.volume("pg");
        work(&f, v, 150, seed);
        let record = Record::of(&f.store, v);
        let schedule = Schedule {
            every: 5 * MINUTE,
            keep: parse_keep(keep).unwrap(),
        };
        let found = simulate(&f.store, v, &schedule).unwrap();

        let mut kept: Vec<(u64, &BTreeSet<Alive>)> = Vec::new();
        let (mut last, mut taken, mut most, mut now) = (None, 0, 0, record.start());
        let mut owned_time = 0_u128;
        let owned = |kept: &[(u64, &BTreeSet<Alive>)], live: &BTreeSet<Alive>| {
            let shown: BTreeSet<&Alive> = kept.iter().flat_map(|(_, alive)| alive.iter()).collect();
            shown.iter().filter(|alive| !live.contains(alive)).count() as u64
        };
        let thin = |kept: &mut Vec<(u64, &BTreeSet<Alive>)>, last, now| {
            let existing: Vec<Taken> = kept
                .iter()
                .map(|&(at, _)| Taken { at, stays: false })
                .collect();
            for place in plan(now, last, &existing, &schedule).drop.into_iter().rev() {
                kept.remove(place);
            }
        };
        for (i, (at, live, _)) in record.commits.iter().enumerate() {
            let until = record
                .commits
                .get(i + 1)
                .map_or(record.end + 1, |next| next.0);
            most = most.max(owned(&kept, live));
            now = now.max(*at);
            loop {
                let due = next_due(last, schedule.every).max(*at);
                if due >= until {
                    break;
                }
                owned_time += u128::from(owned(&kept, live)) * u128::from(due - now);
                now = due;
                kept.push((due, live));
                (last, taken) = (Some(due), taken + 1);
                thin(&mut kept, last, due);
                most = most.max(owned(&kept, live));
            }
            let end = until.min(record.end).max(now);
            owned_time += u128::from(owned(&kept, live)) * u128::from(end - now);
            now = end;
        }
        thin(&mut kept, last, record.end);
        let live = &record.commits.last().unwrap().1;
        assert_eq!(found.taken, taken, "seed {seed}");
        assert_eq!(found.thinned, taken - kept.len() as u64);
        assert_eq!(found.end.owned, owned(&kept, live));
        assert_eq!(found.end.checkpoints, kept.len() as u64);
        assert_eq!(found.peak.owned, most);
        let recorded = u128::from(record.end - record.start());
        assert_eq!(u128::from(found.mean), owned_time / recorded);
        let sampled = found.samples.iter().map(|sample| sample.owned).max();
        assert_eq!(sampled, Some(most));
        assert!(found.samples.is_sorted_by_key(|sample| sample.elapsed) && most > 0);
    }
}

#[test]
fn a_volume_younger_than_the_window_changed_all_that_it_holds() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let ino = f.file(v, "data");
    for round in 0..3 {
        f.advance(MINUTE);
        f.write(v, ino, 0, 10, round);
        f.write(v, ino, 90 + u64::from(round), 5, round);
    }
    f.store
        .truncate(&f.me, v, ino, 93 * BLOCK)
        .expect("cuts it off");
    f.advance(MINUTE);
    f.store.sync().expect("well");
    let found = forecast(&f.store, v, 180 * MINUTE).expect("something is recorded");
    // Blocks 0 to 9 and 90 to 96, each once however often it was written, and those that are there no more; a checkpoint from before the first write owns none.
    let all = |blocks| Counts {
        p50: blocks,
        p95: blocks,
        most: blocks,
    };
    assert_eq!(
        (found.windows, found.changed, found.owned),
        (1, all(17), all(0))
    );
    assert_eq!(found.mapped, 13);
}

#[test]
fn too_short_a_record_is_told_and_too_fine_a_schedule_refused() {
    let f = Fixture::new();
    let v = f.volume("pg");
    work(&f, v, 20, 7);
    let short = forecast(&f.store, v, 100_000 * MINUTE).unwrap();
    assert_eq!((short.windows, short.window), (1, short.recorded));
    let empty = f.volume("new");
    let nothing = forecast(&f.store, empty, MINUTE).expect_err("nothing yet");
    assert_eq!(nothing.kind(), Kind::OutOfRange);
    let missing = forecast(&f.store, VolumeId(99), MINUTE).expect_err("no volume");
    assert_eq!(missing.kind(), Kind::NotFound);
    for _ in 0..60 {
        f.advance(3600 * SECOND);
        f.write(v, f.file(v, &format!("{}", f.store.state().seq)), 0, 1, 1);
    }
    let fine = Schedule {
        every: SECOND,
        keep: parse_keep("1d:all").unwrap(),
    };
    let refused = simulate(&f.store, v, &fine).expect_err("too many");
    assert_eq!(refused.kind(), Kind::Invalid);
}
