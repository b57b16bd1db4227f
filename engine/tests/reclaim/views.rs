//! Views of what may be gone.

use super::town::{BLOCKS, Town, me};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use strand_engine::*;
use strand_journal::FaultyDisk;

#[test]
fn before_the_window_there_is_no_view_and_the_nearest_is_named() {
    let mut town = Town::new(None);
    let early = town.write(100);
    town.checkpoint("mark");
    let late = town.write(100);
    town.reclaim();
    let refused = |source| town.store.view(source).unwrap_err().refusal();
    let refusal = refused(Source::Position(town.volume, early));
    assert_eq!(refusal.kind, Kind::OutOfRange);
    assert!(refusal.next.unwrap().contains("pg@mark"));
    let refusal = refused(Source::Position(town.volume, late - 1));
    let begins = town.store.state().volume(town.volume).unwrap().history;
    assert!(refusal.next.unwrap().contains(&format!("pg@seq:{begins}")));
    let command = Command::Rollback {
        volume: town.volume,
        source: Source::Position(town.volume, early),
        only: false,
    };
    let refused = town.store.run(&me(), command).unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfRange);
    town.check();
}

#[test]
fn a_rollback_prepared_before_the_window_moved_on_is_refused() {
    let mut town = Town::new(None);
    let early = town.write(100);
    town.write(100);
    let command = Command::Rollback {
        volume: town.volume,
        source: Source::Position(town.volume, early),
        only: false,
    };
    let views = town.store.prepare(&command).unwrap();
    town.reclaim();
    let refused = town.store.submit_prepared(&me(), command, &views);
    assert_eq!(refused.unwrap_err().kind(), Kind::OutOfRange);
    town.check();
}

#[test]
fn a_view_without_a_lease_is_stale_and_one_with_a_lease_reads_on() {
    let mut town = Town::new(None);
    let early = town.write(200);
    let content = town.content.clone();
    let source = Source::Position(town.volume, early);
    let view = town.store.view(source).unwrap();
    town.write(300);
    let by = "a backup".to_owned();
    let time = Some(Duration::from_secs(60));
    let lease = town.store.lease(source, view.clone(), by, time);
    town.reclaim();
    town.store.still_leased(&lease).unwrap();
    assert!(Town::shown(&town.store, &view).unwrap() == Town::expected(&content));
    town.clock.advance(61_000_000_000);
    town.write(50);
    town.reclaim();
    let refused = Town::shown(&town.store, &view).map(drop);
    assert_eq!(refused.unwrap_err().kind(), Kind::Stale);
    assert_eq!(
        town.store.still_leased(&lease).unwrap_err().kind(),
        Kind::Stale
    );
    town.check();
}

#[test]
fn readers_beside_reclaim_never_see_wrong_bytes() {
    let mut town = Town::new(None);
    town.write(300);
    town.checkpoint("kept");
    let expected = Town::expected(&town.content);
    town.write(300);
    let image = town.store.state().checkpoint_named("kept").unwrap().id;
    let store = &town.store;
    let view = store.view(Source::Checkpoint(town.volume, image)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0_u64;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) || reads == 0 {
                        assert!(Town::shown(store, &view).unwrap() == expected);
                        let ino = view.lookup(b"file").unwrap();
                        let mut reader = store.reader(&view, ino).unwrap();
                        let mut some = [0; 10_000];
                        let read = reader.read(4096 * 3 + 17, &mut some).unwrap();
                        assert!(some[..read] == expected[4096 * 3 + 17..][..read]);
                        reads += 1;
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            for block in 0..40 {
                let bytes = super::town::version(block + 7);
                let done = store.write(&me(), town.volume, town.file, block * 4096, &bytes);
                store.commit(done.unwrap().ticket).unwrap();
            }
            let options = ReclaimOptions {
                now: true,
                ..ReclaimOptions::default()
            };
            store.reclaim(&options).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        readers.into_iter().for_each(|r| r.join().unwrap());
    });
    for block in 0..40 {
        town.content.insert(block, block + 7);
    }
    town.check();
}

#[test]
fn a_reader_beside_the_writer_follows_what_was_moved() {
    let mut town = Town::new(None);
    town.write(200);
    town.checkpoint("kept");
    let expected = Town::expected(&town.content);
    town.write(200);
    // Whoever has a file open reads on: with a state file nobody has to open the older ones.
    town.store.write_state_file().unwrap();
    let open = || {
        let (disk, clock) = (town.disk.clone(), town.clock.clone());
        let until = town.store.journal().durable();
        Store::open_beside(disk, clock, OpenOptions::read_only(), &until).unwrap()
    };
    let (deaf, following) = (open(), open());
    let told = Arc::new(Mutex::new(town.store.journal().durable()));
    let asked = told.clone();
    following.ask_the_writer(move || Some(*asked.lock().unwrap()));
    assert!(town.reclaim().segments > 5);
    *told.lock().unwrap() = town.store.journal().durable();
    let shown = |store: &Store| {
        let image = store.state().checkpoint_named("kept").unwrap().id;
        let view = store.view(Source::Checkpoint(town.volume, image)).unwrap();
        Town::shown(store, &view)
    };
    assert_eq!(shown(&deaf).map(drop).unwrap_err().kind(), Kind::Stale);
    assert!(shown(&following).unwrap() == expected);
}

#[test]
fn a_version_that_was_given_back_is_not_looked_for_for_ever() {
    let mut town = Town::new(None);
    let early = town.write(200);
    town.write(200);
    town.store.write_state_file().unwrap();
    let (disk, clock) = (town.disk.clone(), town.clock.clone());
    let until = town.store.journal().durable();
    let beside = Store::open_beside(disk, clock, OpenOptions::read_only(), &until).unwrap();
    // Not of the reader: it would have the files open, and read on.
    let source = Source::Position(town.volume, early);
    let view = town.store.view(source).unwrap();
    assert!(town.reclaim().segments > 5);
    // A writer that is further on whenever it is asked.
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let mut further = Vec::new();
    for _ in 0..40 {
        town.write(1);
        further.push(town.store.journal().durable());
    }
    beside.ask_the_writer(move || {
        let mut asked = count.lock().unwrap();
        *asked += 1;
        further.get(*asked - 1).copied()
    });
    let refused = Town::shown(&beside, &view).map(drop);
    assert_eq!(refused.unwrap_err().kind(), Kind::Stale);
    assert!(*asked.lock().unwrap() < 10, "it was asked again and again");
}

#[test]
fn a_leased_view_reads_on_and_none_is_given_of_what_is_gone() {
    let mut town = Town::new(None);
    let early = town.write(100);
    let late = town.write(200);
    let expected = Town::expected(&town.content);
    let source = Source::Position(town.volume, late);
    let leased = town.store.leased_view(source, "a mount".into(), None);
    let (view, lease) = leased.unwrap();
    let held = town.store.leases();
    assert_eq!((held.len(), &*held[0].by), (1, "a mount"));
    town.write(300);
    town.reclaim();
    assert!(Town::shown(&town.store, &view).unwrap() == expected);
    town.store.still_leased(&lease).unwrap();
    let source = Source::Position(town.volume, early);
    let refused = town.store.leased_view(source, "late".into(), None);
    assert_eq!(refused.unwrap_err().kind(), Kind::OutOfRange);
    assert_eq!(town.store.leases().len(), 1);
}

#[test]
fn a_view_is_folded_from_the_nearest_state_that_is_kept() {
    let disk = FaultyDisk::new(1);
    let mut town = Town::on(Arc::new(disk.clone()), None).unwrap();
    let command = Command::RetentionSet {
        volume: town.volume,
        retention: Retention {
            age: None,
            bytes: Some(8 << 20),
        },
    };
    town.store.run(&me(), command).unwrap();
    // A file that nothing changes afterwards.
    let live = town.store.live(town.volume).unwrap();
    let command = Command::Create {
        volume: town.volume,
        dir: live.root,
        name: b"still"[..].into(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    town.store.run(&me(), command).unwrap();
    let live = town.store.live(town.volume).unwrap();
    let still = live.lookup(b"still").unwrap();
    let bytes = [7; 5 * 4096];
    let done = town.store.write(&me(), town.volume, still, 0, &bytes);
    town.store.commit(done.unwrap().ticket).unwrap();
    let mut then = None;
    for round in 0..20 {
        let last = town.write(50);
        town.store.housekeep().unwrap();
        if round == 15 {
            then = Some((last, town.content.clone()));
        }
    }
    let (position, content) = then.unwrap();
    // Whatever folds from the start comes by here.
    assert!(disk.flip("journal/00000000000000000003.seg", 8, 1));
    let source = Source::Position(town.volume, position);
    let view = town.store.view(source).unwrap();
    let shown = Town::shown(&town.store, &view).unwrap();
    assert!(shown == Town::expected(&content));
    // What has not changed since is the live volume's own, not another copy of it.
    let live = town.store.live(town.volume).unwrap();
    let map = |tree: &Fileset| tree.inode(still).unwrap().file().unwrap().map.clone();
    assert!(map(&view).ptr_eq(&map(&live)));
    let early = town.store.state_at(60).unwrap_err();
    assert_eq!(early.kind(), Kind::Damaged);
}

#[test]
fn what_only_readers_keep_is_counted_and_is_not_dead() {
    let mut town = Town::new(None);
    let early = town.write(200);
    let by = || "a backup".to_owned();
    let position = Source::Position(town.volume, early);
    let within = town.store.leased_view(position, by(), None).unwrap();
    town.checkpoint("kept");
    let image = town.store.state().checkpoint_named("kept").unwrap().id;
    let source = Source::Checkpoint(town.volume, image);
    let shown = town.store.leased_view(source, by(), None).unwrap();
    assert_eq!(
        town.store.kept_for_readers().unwrap(),
        0,
        "the window shows it"
    );
    town.write(300);
    town.reclaim();
    // The window has passed the position, and the checkpoint shows the same.
    assert_eq!(town.store.kept_for_readers().unwrap(), 0);
    drop(shown);
    let kept = town.store.kept_view(source, by()).unwrap();
    town.remove("kept");
    town.reclaim();
    let live = town.store.view(Source::Live(town.volume)).unwrap();
    let map = |tree: &Fileset| tree.inode(town.file).unwrap().file().unwrap().map.clone();
    let (now, then) = (map(&live), map(&within.0));
    let gone = then
        .iter()
        .filter(|(at, version)| now.get(*at) != Some(version));
    let gone = gone.count() as u64;
    assert!(gone > 0);
    assert_eq!(town.store.kept_for_readers().unwrap(), gone);
    drop((within, kept));
    assert_eq!(town.store.kept_for_readers().unwrap(), 0);
    town.check();
}

#[test]
fn no_view_is_folded_from_before_the_horizon() {
    let mut town = Town::new(None);
    town.rewrite().unwrap();
    town.clock.advance(2 * 3_600_000_000_000);
    town.put(0).unwrap();
    town.store.housekeep().unwrap(); // the state here is kept
    // This one lives on, and the file of its segment with it.
    town.put(BLOCKS - 1).unwrap();
    for n in 0..200 {
        town.put(n % (BLOCKS - 8)).unwrap();
    }
    town.store.sync().unwrap();
    let until = town.store.state().boundary;
    let moved = town.store.move_archives(until, None).unwrap();
    let options = ReclaimOptions {
        most_live: Some(1),
        ..ReclaimOptions::default()
    };
    assert!(town.store.reclaim(&options).unwrap().segments > 0);
    assert_eq!(town.store.state_at(moved.before).unwrap().seq, moved.before);
    town.store.reclaim(&options).unwrap();
    town.check();
}
