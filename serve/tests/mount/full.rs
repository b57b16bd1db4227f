//! A full store: whoever writes waits until there is room, and nobody else waits for him.

use crate::setting::{can_mount, me, on_disk_of};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use strand_engine::{
    Command, InitOptions, Kind, NewBody, Source, Store, StoreId, SystemClock, VolumeId,
};
use strand_journal::disk::LayeredDisk;
use strand_journal::{Disk, MemoryDisk};
use strand_serve::{Force, Live, LiveOptions};

const SEGMENT: u64 = 64 << 10;
const CAPACITY: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// Who has not written for so long waits for room.
const STUCK: Duration = Duration::from_millis(500);

/// A disk that gives no segment back until it is told to.
#[derive(Debug)]
struct Held {
    inner: MemoryDisk,
    /// Whether it is held, and how many wait for it.
    held: Mutex<(bool, u64)>,
    told: Condvar,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryDisk::new(),
            held: Mutex::new((true, 0)),
            told: Condvar::new(),
        })
    }

    fn waiting(&self) -> u64 {
        self.held.lock().unwrap().1
    }
}

/// Lets it go, also where a test fails.
struct LetGo(Arc<Held>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.held.lock().unwrap().0 = false;
        self.0.told.notify_all();
    }
}

impl LayeredDisk for Held {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&self.inner)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if path.ends_with(".seg") {
            let mut held = self.held.lock().unwrap();
            held.1 += 1;
            drop(self.told.wait_while(held, |(held, _)| *held).unwrap());
        }
        self.inner.remove(path)
    }
}

fn run(live: &Live, command: Command) {
    live.run(&me(), command, Force::No).unwrap();
}

fn volume(live: &Live, name: &str) -> VolumeId {
    let create = Command::VolumeCreate {
        name: name.into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    run(live, create);
    live.store().state().volume_named(name).unwrap().id
}

fn checkpoint(live: &Live, volume: VolumeId) -> Source {
    let create = Command::CheckpointCreate {
        name: Some("before".into()),
        volumes: vec![volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    run(live, create);
    let state = live.store().state();
    Source::Checkpoint(volume, state.checkpoint_named("before").unwrap().id)
}

/// Waits until whoever counts what he writes waits for room.
fn stuck(disk: &Held, written: &AtomicU64) {
    let begun = Instant::now();
    let (mut last, mut since) = (0, begun);
    while disk.waiting() == 0 || last == 0 || since.elapsed() < STUCK {
        assert!(begun.elapsed() < PATIENCE, "{last} writes found room");
        thread::sleep(Duration::from_millis(10));
        let now = written.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// Rolls a volume back, and says with what it ended: within reasonable time.
fn rolled_back(live: &Arc<Live>, source: Source) -> bool {
    let (tell, told) = mpsc::channel();
    let live = live.clone();
    thread::spawn(move || {
        let back = Command::Rollback {
            volume: source.volume(),
            source,
            only: false,
        };
        let done = live.run(&me(), back, Force::Yes);
        drop(live);
        tell.send(done.map(drop)).ok();
    });
    match told.recv_timeout(PATIENCE / 4) {
        Ok(done) => done.map(|()| true).unwrap(),
        Err(_) => false,
    }
}

#[test]
fn a_rollback_does_not_wait_for_a_client_that_waits_for_room() {
    let disk = Held::new();
    let init = InitOptions {
        segment_size: SEGMENT,
        capacity: Some(CAPACITY),
        store: StoreId([7; 16]),
    };
    let clock = Arc::new(SystemClock::new());
    let store = Store::init(disk.clone(), clock, init, &me()).unwrap();
    let live = Live::new(store, LiveOptions::default());
    let let_go = LetGo(disk.clone());
    let pg = volume(&live, "pg");
    let source = checkpoint(&live, pg);
    let dir = live.store().live(pg).unwrap().root;
    let create = Command::Create {
        volume: pg,
        dir,
        name: b"f"[..].into(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    live.submit(&live.seen(), &me(), create, &[]).unwrap();
    let ino = live.store().live(pg).unwrap().lookup(b"f").unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let writer = thread::spawn({
        let (live, written, seen) = (live.clone(), written.clone(), live.seen());
        move || loop {
            let done = live.change(&seen, (pg, ino), 32 << 10, |store| {
                store.write(&me(), pg, ino, 0, &[1; 32 << 10])
            });
            match done {
                Ok(_) => {
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return error.kind(),
            }
        }
    });
    stuck(&disk, &written);
    let back = rolled_back(&live, source);
    let waits = !writer.is_finished();
    drop(let_go);
    assert!(back, "the rollback waited for the writer");
    assert!(waits, "the writer was to wait for room");
    // What he writes to is gone: he hears of it, and wrote nothing more.
    assert_eq!(writer.join().unwrap(), Kind::Stale);
    assert!(live.store().live(pg).unwrap().lookup(b"f").is_none());
    live.close().unwrap();
}

#[test]
fn other_volumes_do_not_wait_for_a_write_that_waits_for_room() {
    if !can_mount() {
        return;
    }
    let disk = Held::new();
    let scratch = tempfile::tempdir().unwrap();
    let room = (SEGMENT, Some(CAPACITY));
    let setting = on_disk_of(scratch, disk.clone(), LiveOptions::default(), room);
    let let_go = LetGo(disk.clone());
    let other = volume(setting.live(), "other");
    let source = checkpoint(setting.live(), other);
    let written = Arc::new(AtomicU64::new(0));
    let enough = Arc::new(AtomicU64::new(u64::MAX));
    let writer = thread::spawn({
        let (at, written, enough) = (setting.at.join("f"), written.clone(), enough.clone());
        move || -> io::Result<()> {
            let file = File::create(at)?;
            while written.load(Ordering::Relaxed) < enough.load(Ordering::Relaxed) {
                file.write_all_at(&[1; 32 << 10], 0)?;
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    stuck(&disk, &written);
    let back = rolled_back(setting.live(), source);
    let waits = !writer.is_finished();
    enough.store(written.load(Ordering::Relaxed) + 100, Ordering::Relaxed);
    drop(let_go);
    assert!(back, "the rollback waited for the writer");
    assert!(waits, "the writer was to wait for room");
    // There is room again, and he goes on as if nothing had been.
    writer.join().unwrap().unwrap();
    assert_eq!(setting.stored("f").unwrap(), vec![1; 32 << 10]);
}
