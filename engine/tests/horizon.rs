//! Old events move away, and a base state stands for them.
#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Disk, MemoryDisk};

fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 7,
        pid: 70,
        name: "test".into(),
        ..Actor::program()
    }
}

struct Town {
    disk: Arc<dyn Disk>,
    clock: Arc<ManualClock>,
    store: Store,
    volume: VolumeId,
    file: Ino,
}

fn options() -> OpenOptions {
    OpenOptions {
        state_every: 50,
        ..OpenOptions::read_write()
    }
}

impl Town {
    fn new() -> Town {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        let init = InitOptions {
            segment_size: 64 << 10,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let store = Store::init(disk.clone(), clock.clone(), init, &me()).unwrap();
        let command = Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), command).unwrap();
        let found = store.state().volume_named("pg").unwrap().clone();
        let command = Command::Create {
            volume: found.id,
            dir: found.live.root,
            name: b"file"[..].into(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), command).unwrap();
        let file = store.live(found.id).unwrap().lookup(b"file").unwrap();
        store.close().unwrap();
        let store = Store::open(disk.clone(), clock.clone(), options()).unwrap();
        Town {
            disk,
            clock,
            store,
            volume: found.id,
            file,
        }
    }

    /// Overwrites one of eight blocks, `count` times; gives the last position.
    fn write(&self, count: u64) -> Seq {
        let mut last = 0;
        for i in 0..count {
            self.clock.advance(1_000_000);
            let data = [(i % 251) as u8; 4096];
            let done = self
                .store
                .write(&me(), self.volume, self.file, i % 8 * 4096, &data)
                .unwrap();
            self.store.commit(done.ticket).unwrap();
            last = done.last;
        }
        last
    }

    fn reopened(self) -> Town {
        let before = self.store.digest();
        let (disk, clock) = (self.disk, self.clock);
        drop(self.store);
        let store = Store::open(disk.clone(), clock.clone(), options()).unwrap();
        assert_eq!(store.digest(), before, "the state is what it was");
        let scratch = OpenOptions {
            ignore_state_files: true,
            ..OpenOptions::read_only()
        };
        drop(store);
        let folded = Store::open(disk.clone(), clock.clone(), scratch).unwrap();
        assert_eq!(folded.digest(), before, "a fold from the base agrees");
        drop(folded);
        let store = Store::open(disk.clone(), clock.clone(), options()).unwrap();
        Town {
            disk,
            clock,
            store,
            volume: self.volume,
            file: self.file,
        }
    }
}

#[test]
fn events_move_away_and_the_store_folds_from_the_base() {
    let town = Town::new();
    let middle = town.write(200);
    town.write(200);
    let mut copied = Vec::new();
    let moved = town
        .store
        .move_archives(
            middle,
            Some(&mut |name: &str, bytes: &[u8]| {
                copied.push((name.to_owned(), bytes.len()));
                Ok(())
            }),
        )
        .unwrap();
    assert!(moved.before > middle - 50 && moved.before <= middle);
    assert!(!copied.is_empty());
    assert_eq!(town.store.state().horizon, moved.before);
    let town = town.reopened();
    assert_eq!(town.store.journal().reader().origin().number, moved.before);
    let gone = town.store.state_at(moved.before - 2).unwrap_err();
    assert_eq!(gone.kind(), Kind::OutOfRange);
    let why = format!("seq {} to ", moved.before);
    assert!(gone.refusal().to_string().contains(&why), "{gone}");
    let before_it = town.store.state_at(moved.before - 1).unwrap();
    assert_eq!(before_it.seq, moved.before - 1, "the base state");
    let then = before_it.time - 1;
    let gone = town.store.boundary_at_time(then).unwrap_err();
    assert!(gone.to_string().contains("not in the store"), "{gone}");
    town.write(100);
    let town = town.reopened();
    // Again, further on: the first base is not needed any more.
    let now = town.store.state().boundary;
    let again = town.store.move_archives(now, None).unwrap();
    assert!(again.before > moved.before);
    town.reopened();
}

#[test]
fn for_less_than_a_segment_nothing_is_given_up() {
    let town = Town::new();
    town.write(100);
    // Early in a segment, so that what follows stays in it.
    for _ in 0..100 {
        if (4..9).contains(&town.store.journal().position().block) {
            break;
        }
        town.write(2);
    }
    let now = town.store.state().boundary;
    let moved = town.store.move_archives(now, None).unwrap();
    assert!(moved.before > 1);
    town.write(2);
    let origin = town.store.journal().reader().origin();
    assert_eq!(town.store.journal().position().segment, origin.segment);
    let before = town.store.state();
    let again = town.store.move_archives(before.boundary, None).unwrap();
    assert_eq!((again.before, again.archives), (moved.before, 0));
    let after = town.store.state();
    assert_eq!(after.boundary, before.boundary, "nothing was recorded");
    assert_eq!(town.store.journal().reader().origin(), origin);
}

fn archive_all(store: &Store) {
    for segment in store.journal().segments() {
        if segment.state == strand_journal::SegmentState::Sealed && segment.archive_bytes == 0 {
            store.journal().archive(segment.number).unwrap();
        }
    }
}

#[test]
fn an_unfinished_movement_is_ended_and_what_others_put_there_is_left_alone() {
    let town = Town::new();
    let middle = town.write(200);
    town.write(100);
    archive_all(&town.store);
    let Town {
        disk, clock, store, ..
    } = town;
    let earlier = copy_with(&*disk, "", None);
    let mut copies = Vec::new();
    let mut copy = |name: &str, bytes: &[u8]| {
        copies.push((format!("journal/{name}"), bytes.to_vec()));
        Ok(())
    };
    let moved = store.move_archives(middle, Some(&mut copy)).unwrap();
    assert!(copies.len() > 2 && copies.len() as u64 == moved.archives);
    drop(store);
    // The power went when the horizon stood, and nothing was removed nor told.
    let base = format!(
        "state/{}",
        statefile::list(&*disk).unwrap().iter().min().unwrap().1
    );
    for path in [&base, "journal/HORIZON"] {
        let bytes = disk.read_small(path, 1 << 30).unwrap();
        earlier.write_small(path, &bytes).unwrap();
    }
    let there = |disk: &dyn Disk| {
        let names = disk.list("journal").unwrap();
        let there = |path: &str| names.iter().any(|name| path.ends_with(name.as_str()));
        copies.iter().filter(|(path, _)| there(path)).count()
    };
    assert_eq!(there(&*earlier), copies.len());
    let store = Store::open(earlier.clone(), clock.clone(), options()).unwrap();
    assert_eq!(there(&*earlier), 0);
    assert_eq!(store.state().horizon, moved.before);
    store.close().unwrap();
    // An auditor puts them back.
    for (path, bytes) in &copies {
        earlier.write_small(path, bytes).unwrap();
    }
    let store = Store::open(earlier.clone(), clock.clone(), options()).unwrap();
    let now = store.state().boundary;
    let command = Command::AuditSet { keep: Some(1) };
    store.run(&me(), command).unwrap();
    let again = store.move_archives(now, None).unwrap();
    assert!(again.before > moved.before);
    store.housekeep().unwrap();
    assert_eq!(there(&*earlier), copies.len());
}

#[test]
fn what_later_events_go_back_to_stays() {
    let town = Town::new();
    let target = town.write(100);
    town.write(100);
    let command = Command::Rollback {
        volume: town.volume,
        source: Source::Position(town.volume, target),
        only: false,
    };
    town.store.run(&me(), command).unwrap();
    let now = town.write(100);
    let moved = town.store.move_archives(now - 120, None).unwrap();
    assert!(
        moved.before <= target + 1,
        "the rollback goes back to {target}"
    );
    let moved = town.store.move_archives(now - 10, None).unwrap();
    assert!(
        moved.before > target + 1,
        "it is itself out of the store now"
    );
    town.reopened();
}

#[test]
fn a_copy_that_fails_gives_nothing_up() {
    let town = Town::new();
    let early = town.write(20);
    town.write(300);
    let before = town.store.state().boundary;
    let mut full = |_: &str, _: &[u8]| Err(std::io::ErrorKind::StorageFull.into());
    let failed = town.store.move_archives(before, Some(&mut full));
    failed.unwrap_err();
    assert_eq!(town.store.state().boundary, before, "nothing was recorded");
    assert_eq!(town.store.journal().reader().origin().number, 1);
    let source = Source::Position(town.volume, early);
    town.store.view(source).unwrap();
    town.reopened();
}

#[test]
fn state_files_written_and_removed_while_archives_are_copied_leave_the_base() {
    let town = Town::new();
    let middle = town.write(200);
    town.write(100);
    let target = middle - 100;
    let mut copied = 0;
    let mut slow = |_: &str, _: &[u8]| {
        copied += 1;
        town.write(30);
        town.store.write_state_file().unwrap();
        if copied == 3 {
            // It goes back to what is about to move away.
            let command = Command::Rollback {
                volume: town.volume,
                source: Source::Position(town.volume, target),
                only: false,
            };
            town.store.run(&me(), command).unwrap();
        }
        let another = town.store.move_archives(1, None).unwrap_err();
        assert_eq!(another.kind(), Kind::Busy);
        let reclaim = ReclaimOptions::default();
        town.store.reclaim(&reclaim).unwrap();
        Ok(())
    };
    let moved = town.store.move_archives(middle, Some(&mut slow)).unwrap();
    assert!(copied > 3);
    assert!(moved.before > 1 && moved.before <= target + 1, "{moved:?}");
    let town = town.reopened();
    for _ in 0..3 {
        town.write(30);
        town.store.write_state_file().unwrap();
    }
    town.reopened();
}

#[test]
fn state_files_of_another_thread_leave_the_base() {
    let town = Town::new();
    town.write(100);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                town.write(2);
                town.store.write_state_file().unwrap();
            }
        });
        for _ in 0..20 {
            town.write(20);
            let before = town.store.state().boundary;
            town.store.move_archives(before, None).unwrap();
            town.store.beginning().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
    town.reopened();
}

/// A state file of a position before the horizon may still be there, and so may the file of its segment, for the blocks in it: nothing is folded from there.
#[test]
fn nothing_is_folded_from_a_state_file_before_the_horizon() {
    let town = Town::new();
    drop(town.store);
    let rarely = OpenOptions {
        state_every: 0,
        ..options()
    };
    let store = Store::open(town.disk.clone(), town.clock.clone(), rarely).unwrap();
    let town = Town { store, ..town };
    town.write(20);
    let kept = town
        .store
        .write(&me(), town.volume, town.file, 100 * 4096, &[1; 4096])
        .unwrap();
    town.store.commit(kept.ticket).unwrap();
    let early = town.store.write_state_file().unwrap();
    let middle = town.write(200);
    town.write(200);
    let dead = ReclaimOptions {
        now: true,
        most_live: Some(1),
        ..ReclaimOptions::default()
    };
    assert!(town.store.reclaim(&dead).unwrap().segments > 10);
    let moved = town.store.move_archives(middle, None).unwrap();
    assert!(moved.archives > 0 && moved.before > early, "{moved:?}");
    let files = town.disk.list("state").unwrap();
    let name = format!("{early:020}");
    assert!(files.iter().any(|f| f.contains(&name)), "{files:?}");
    for before in [early, early + 1, early + 20, moved.before] {
        let again = town.store.move_archives(before, None).unwrap();
        assert_eq!((again.before, again.archives), (moved.before, 0));
    }
    town.reopened();
}

#[test]
fn a_missing_base_is_told() {
    let town = Town::new();
    town.write(300);
    let now = town.store.state().boundary;
    let moved = town.store.move_archives(now, None).unwrap();
    let Town {
        disk, clock, store, ..
    } = town;
    drop(store);
    for name in disk.list("state").unwrap() {
        disk.remove(&format!("state/{name}")).unwrap();
    }
    let error = Store::open(disk, clock, options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    let text = error.to_string();
    assert!(
        text.contains(&format!("up to seq {}", moved.before - 1)),
        "{text}"
    );
}

/// What is done to the bytes of a file.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// A copy of all files, with one of them changed; `None` removes it.
fn copy_with(disk: &dyn Disk, path: &str, change: Option<Change<'_>>) -> Arc<dyn Disk> {
    let copy: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    copy.create_dir("journal").unwrap();
    copy.create_dir("state").unwrap();
    for dir in ["", "journal", "state"] {
        for name in disk.list(dir).unwrap() {
            let at = format!("{dir}/{name}");
            let at = at.trim_start_matches('/');
            let Ok(mut bytes) = disk.read_small(at, 1 << 30) else {
                continue;
            };
            match (at == path, change) {
                (true, None) => continue,
                (true, Some(change)) => change(&mut bytes),
                _ => {}
            }
            copy.write_small(at, &bytes).unwrap();
        }
    }
    copy
}

/// Opens a store in a thread of its own, for an opening must end.
fn open_in_time(disk: &Arc<dyn Disk>, options: OpenOptions) -> Result<Seq, Kind> {
    let (done, outcome) = std::sync::mpsc::channel();
    let disk = disk.clone();
    std::thread::spawn(move || {
        let clock = Arc::new(ManualClock::new(1_900_000_000_000_000_000));
        let opened = Store::open(disk, clock, options);
        let seen = opened.map(|store| store.state().boundary);
        done.send(seen.map_err(|error| error.kind())).unwrap();
    });
    let limit = std::time::Duration::from_secs(20);
    outcome.recv_timeout(limit).expect("an opening ends")
}

#[test]
fn damage_at_the_horizon_neither_hangs_nor_hides_what_stands_behind_it() {
    let town = Town::new();
    town.write(60);
    let now = town.store.state().boundary;
    let moved = town.store.move_archives(now, None).unwrap();
    town.write(5);
    let origin = town.store.journal().reader().origin();
    let boundary = town.store.state().boundary;
    assert!(moved.before > 1 && origin.block > 0);
    let Town { disk, store, .. } = town;
    store.close().unwrap();
    // The base alone is left.
    for (seq, name) in statefile::list(&*disk).unwrap() {
        if seq + 1 != moved.before {
            disk.remove(&format!("state/{name}")).unwrap();
        }
    }
    assert_eq!(statefile::list(&*disk).unwrap()[0].0, moved.before - 1);
    let path = format!("journal/{:020}.seg", origin.segment);
    let behind = u64::from(origin.block) * 4096;
    let mut whole = [0; 2];
    // The frames on both sides of it, a byte here and a byte there, and every frame before it.
    let near = (0..origin.block).map(|block| u64::from(block) * 4096 + 48);
    let places = near.chain((behind - 4096..behind + 8192).step_by(61));
    for at in places {
        let flip = |bytes: &mut Vec<u8>| bytes[usize::try_from(at).unwrap()] ^= 1;
        let bad = copy_with(&*disk, &path, Some(&flip));
        let scratch = OpenOptions {
            ignore_state_files: true,
            ..OpenOptions::read_only()
        };
        for read in [OpenOptions::read_only(), scratch] {
            let seen = open_in_time(&bad, read).unwrap();
            assert!(seen >= moved.before - 1);
            assert!(at >= behind || seen >= boundary, "{at}: {seen}");
        }
        let write = open_in_time(&bad, OpenOptions::read_write());
        assert!(at >= behind || write.is_ok(), "{at}");
        whole[usize::from(write.is_ok())] += 1;
    }
    assert!(whole[0] > 10 && whole[1] > 10, "{whole:?}");
    let bad = copy_with(&*disk, &path, None);
    let seen = open_in_time(&bad, OpenOptions::read_only()).unwrap();
    assert_eq!(seen, moved.before - 1, "the base state");
    let write = open_in_time(&bad, OpenOptions::read_write());
    assert_eq!(write, Err(Kind::Damaged));
}

#[test]
fn archived_events_are_let_go_beyond_the_audit_horizon() {
    let town = Town::new();
    town.write(400);
    archive_all(&town.store);
    let bytes = |store: &Store| -> u64 {
        let segments = store.journal().segments();
        segments.iter().map(|s| s.archive_bytes).sum()
    };
    let all = bytes(&town.store);
    let command = Command::AuditSet {
        keep: Some(all / 2),
    };
    town.store.run(&me(), command).unwrap();
    // The history window holds them all, …
    assert_eq!(town.store.trim_archives().unwrap().archives, 0);
    // … or all but a part of the first.
    let release = |before| {
        let command = Command::ReleaseHistory { before };
        let done = town.store.submit(&Actor::program(), command).unwrap();
        town.store.commit(done.ticket).unwrap();
    };
    release(town.store.journal().reader().frame_at(2, 0).unwrap().first - 1);
    let recorded = town.store.state().boundary;
    assert_eq!(town.store.trim_archives().unwrap().archives, 0);
    assert_eq!(town.store.state().boundary, recorded);
    assert_eq!(town.store.journal().reader().origin().number, 1);
    release(town.store.state().boundary);
    let moved = town.store.trim_archives().unwrap();
    assert!(moved.archives > 0);
    assert!(bytes(&town.store) <= all / 2);
    town.reopened();
}
