//! A reader beside the writer: another store on the same disk, without a lock, that sees what the writer said is durable.
#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use strand_engine::*;
use strand_journal::{ChainHash, Disk, MemoryDisk};

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(1_800_000_000_000_000_000))
}

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
    store: Store,
    volume: VolumeId,
    root: Ino,
}

impl Town {
    fn new() -> Town {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let options = InitOptions {
            segment_size: 256 << 10,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let store = Store::init(disk.clone(), clock(), options, &me()).unwrap();
        let command = Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), command).unwrap();
        let found = store.state().volume_named("pg").unwrap().clone();
        let (volume, root) = (found.id, found.live.root);
        Town {
            disk,
            store,
            volume,
            root,
        }
    }

    fn create(&self, name: &str) -> (Ino, Done) {
        let name: Bytes = name.as_bytes().into();
        let command = Command::Create {
            volume: self.volume,
            dir: self.root,
            name: name.clone(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        let done = self.store.submit(&me(), command).unwrap();
        let live = self.store.live(self.volume).unwrap();
        (live.child(self.root, &name).unwrap(), done)
    }

    fn checkpoint(&self, name: &str) -> Done {
        let command = Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable: false,
            nodata: false,
            note: String::new(),
        };
        self.store.run(&me(), command).unwrap()
    }

    fn durable(&self) -> Durable {
        self.store.sync().unwrap();
        self.store.journal().durable()
    }

    fn beside(&self, until: &Durable) -> Result<Store, Error> {
        Store::open_beside(self.disk.clone(), clock(), OpenOptions::read_only(), until)
    }

    fn check(&self, reader: &Store) {
        let (there, here) = (self.store.state(), reader.state());
        assert_eq!((there.seq, there.boundary), (here.seq, here.boundary));
        assert_eq!(self.store.digest(), reader.digest());
    }
}

fn names(disk: &dyn Disk) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for dir in ["", "journal", statefile::STATE_DIR] {
        for name in disk.list(dir).unwrap_or_default() {
            let path = if dir.is_empty() {
                name
            } else {
                format!("{dir}/{name}")
            };
            if let Ok(file) = disk.open_read(&path) {
                found.push((path, file.len().unwrap_or(0)));
            }
        }
    }
    found
}

#[test]
fn a_reader_sees_exactly_what_is_durable_and_then_follows() {
    let town = Town::new();
    let (ino, _) = town.create("a");
    town.store
        .write(&me(), town.volume, ino, 0, &[7; 10_000])
        .unwrap();
    let until = town.durable();
    // What comes later, flushed or not, is not seen.
    town.store
        .write(&me(), town.volume, ino, 0, &[8; 10_000])
        .unwrap();
    town.store.sync().unwrap();
    town.create("not flushed");
    let before = names(&*town.disk);
    let reader = town.beside(&until).unwrap();
    assert_eq!(reader.state().seq, until.number);
    let tree = reader.view(Source::Live(town.volume)).unwrap();
    let mut bytes = [0; 10_000];
    assert_eq!(reader.read(&tree, ino, 0, &mut bytes).unwrap(), 10_000);
    assert_eq!(bytes, [7; 10_000]);
    assert!(reader.run(&me(), Command::Undo { volume: None }).is_err());

    let mut seen = 0;
    let later = town.durable();
    reader.follow(&later, &mut |_, _| seen += 1).unwrap();
    assert_eq!(seen, later.number - until.number);
    town.check(&reader);
    let tree = reader.view(Source::Live(town.volume)).unwrap();
    reader.read(&tree, ino, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [8; 10_000]);
    // Where it stands already, nothing happens, and it never wrote anything.
    reader.follow(&until, &mut |_, _| seen += 1).unwrap();
    town.check(&reader);
    drop(reader);
    let after = names(&*town.disk);
    assert_eq!(before, after[..before.len()]);
}

#[test]
fn what_was_done_for_the_reader_is_taken_over_before_it_is_durable() {
    let town = Town::new();
    let until = town.durable();
    let reader = town.beside(&until).unwrap();
    let (ino, created) = town.create("a");
    assert!(reader.take_over(&created).unwrap());
    let written = town
        .store
        .write(&me(), town.volume, ino, 100, &[9; 5000])
        .unwrap();
    assert!(reader.take_over(&written).unwrap());
    town.check(&reader);
    // Somebody else's command stands between: the reader has to follow, and finds both.
    town.create("others");
    let (_, mine) = town.create("mine");
    assert!(!reader.take_over(&mine).unwrap());
    let mut seen = Vec::new();
    reader
        .follow(&town.durable(), &mut |_, placed| seen.push(placed.seq))
        .unwrap();
    assert_eq!(seen.first(), Some(&(written.last + 1)));
    town.check(&reader);
    assert!(reader.take_over(&mine).unwrap(), "it has it already");
    let tree = reader.view(Source::Live(town.volume)).unwrap();
    let mut bytes = [0; 5100];
    reader.read(&tree, ino, 0, &mut bytes).unwrap();
    assert_eq!((bytes[99], bytes[100]), (0, 9));
    // An answer that does not fit is an error, and changes nothing.
    let mut forged = town.create("forged").1;
    forged.trail.steps[0].time = 1;
    assert!(reader.take_over(&forged).is_err());
    assert_eq!(reader.state().seq, mine.last);
}

#[test]
fn a_position_that_cannot_be_reached_is_an_error() {
    let town = Town::new();
    town.create("a");
    let until = town.durable();
    let ahead = Durable {
        number: until.number + 1,
        ..until
    };
    assert_eq!(town.beside(&ahead).unwrap_err().kind(), Kind::Damaged);
    let forged = Durable {
        chain: ChainHash([9; 32]),
        ..until
    };
    assert_eq!(town.beside(&forged).unwrap_err().kind(), Kind::Damaged);
    let reader = town.beside(&until).unwrap();
    assert!(reader.follow(&ahead, &mut |_, _| {}).is_err());
    town.check(&reader);
    town.disk
        .remove("journal/00000000000000000001.seg")
        .unwrap();
    assert!(town.beside(&until).is_err());
}

#[test]
fn going_back_to_a_position_is_followed_too() {
    let town = Town::new();
    let (ino, _) = town.create("a");
    let old = town
        .store
        .write(&me(), town.volume, ino, 0, &[1; 4096])
        .unwrap();
    let reader = town.beside(&town.durable()).unwrap();
    town.store
        .write(&me(), town.volume, ino, 0, &[2; 4096])
        .unwrap();
    let command = Command::Rollback {
        volume: town.volume,
        source: Source::Position(town.volume, old.last),
        only: false,
    };
    let back = town.store.run(&me(), command).unwrap();
    town.create("after");
    assert!(!reader.take_over(&back).unwrap());
    let mut seen = Vec::new();
    let until = town.durable();
    let from = reader.state().seq;
    reader
        .follow(&until, &mut |_, placed| seen.push(placed.seq))
        .unwrap();
    assert_eq!(seen, (from + 1..=until.number).collect::<Vec<_>>());
    town.check(&reader);
    let again = town.beside(&until).unwrap();
    town.check(&again);
}

#[test]
fn a_reader_keeps_up_with_a_busy_writer_that_prunes_its_state_files() {
    let town = Arc::new(Town::new());
    let (ino, _) = town.create("busy");
    let end = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (town, end) = (Arc::clone(&town), Arc::clone(&end));
        move || {
            let mut n = 0_u64;
            while !end.load(Ordering::Relaxed) {
                let bytes = [n as u8; 9000];
                let at = n % 50 * 3000;
                town.store
                    .write(&me(), town.volume, ino, at, &bytes)
                    .unwrap();
                match n % 40 {
                    7 => drop(town.checkpoint(&format!("c{n}"))),
                    19 => drop(town.store.write_state_file().unwrap()),
                    n if n % 5 == 0 => town.store.sync().unwrap(),
                    _ => {}
                }
                n += 1;
            }
        }
    });
    let mut follower = town.beside(&town.durable()).unwrap();
    for round in 0..60 {
        let until = town.durable();
        follower.follow(&until, &mut |_, _| {}).unwrap();
        assert_eq!(follower.state().seq, until.number);
        let fresh = town.beside(&until).unwrap();
        assert_eq!(fresh.state().seq, until.number);
        assert_eq!(fresh.digest(), follower.digest(), "round {round}");
        assert_eq!(fresh.opening().bad_state_files, Vec::<String>::new());
        // Every block that is mapped can be read.
        let tree = fresh.view(Source::Live(town.volume)).unwrap();
        let mut bytes = vec![0; 200_000];
        fresh.read(&tree, ino, 0, &mut bytes).unwrap();
        if round % 20 == 19 {
            follower = fresh;
        }
    }
    end.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let until = town.durable();
    follower.follow(&until, &mut |_, _| {}).unwrap();
    town.check(&follower);
}

#[test]
fn a_session_ends_as_a_close_does_and_others_may_not_command() {
    let town = Town::new();
    let refused = Command::CheckpointCreate {
        name: Some("no/name".into()),
        volumes: vec![town.volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    assert!(town.store.run(&me(), refused.clone()).is_err());
    town.store.end_session().unwrap();
    let state = town.store.state();
    assert!(state.digest.is_some(), "a digest, as at a close");
    let reader = town.beside(&town.store.journal().durable()).unwrap();
    town.check(&reader);

    let Town {
        disk, mut store, ..
    } = town;
    store.owned_by(7);
    let stranger = Actor { uid: 8, ..me() };
    let error = store.permit(&stranger).unwrap_err();
    assert_eq!(error.kind, Kind::Permission);
    let volume = Command::VolumeCreate {
        name: "x".into(),
        mode: 0o755,
        uid: 8,
        gid: 8,
    };
    let error = store.run(&stranger, volume.clone()).unwrap_err();
    assert_eq!(error.kind(), Kind::Permission);
    let root = Actor { uid: 0, ..me() };
    assert!(store.permit(&root).is_ok() && store.permit(&me()).is_ok());
    // Through a mount the permissions of the files decide; what administers the store stays its owner's.
    let caller = Actor {
        grade: Grade::Caller,
        ..stranger
    };
    assert!(store.run(&caller, volume).is_err());
    // It is recorded: the first rides with the next command, the others with the end.
    store.end_session().unwrap();
    store.close().unwrap();
    let store = Store::open(disk, clock(), OpenOptions::read_only()).unwrap();
    let mut refusals = Vec::new();
    let folded = fold::fold_prefix(&store.journal().reader(), None, &mut |_, placed| {
        if let Event::Refused { kind, count, .. } = placed.event {
            refusals.push((kind.clone(), *count));
        }
    });
    folded.unwrap();
    assert_eq!(
        refusals,
        [
            ("invalid-name".to_owned(), 1),
            ("permission".to_owned(), 1),
            ("permission".to_owned(), 2)
        ]
    );
}
