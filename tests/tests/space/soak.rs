//! A small store takes many times its size in random overwrites, with rolling checkpoints and an audit horizon, and stays within its capacity.
//!
//! `STRAND_SOAK=1`: 50 GiB on 1 GiB with segments of 64 MiB, on a real disk, whose file system must not have torn the segments to pieces by then
//! (told by `filefrag`, where that is installed). Without it: 400 MiB on 16 MiB, of as many segments.

use std::path::Path;
use std::sync::Arc;
use strand_engine::{
    Command, InitOptions, Ino, Kind, NewBody, OpenOptions, Store, StoreId, SystemClock, VolumeId,
};
use strand_journal::disk::{Disk, FileDisk, MemoryDisk};
use strand_replay::verify;
use strand_tests::lockstep::actor;
use strand_tests::random::Random;
use strand_tests::small::BLOCK;

struct Size {
    capacity: u64,
    segment: u64,
    written: u64,
    audit: u64,
}

const MIB: u64 = 1 << 20;
/// Blocks of one write.
const TOGETHER: u64 = 2;
/// Writes of one commit.
const GROUP: u64 = 64;
/// Rolling checkpoints that are there together.
const ROLLING: usize = 4;
/// Of a segment on the host's file system.
const MOST_EXTENTS: u64 = 8;

/// How many extents the host's file system has for each segment; none where nothing can tell.
fn extents(journal: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(journal).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let segments = files.filter(|path| path.extension().is_some_and(|e| e == "seg"));
    let told = std::process::Command::new("filefrag")
        .args(segments)
        .output();
    let Ok(told) = told else {
        println!("there is no filefrag: extents were not counted");
        return Vec::new();
    };
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let counts = told.lines().map(|line| {
        let (_, count) = line.rsplit_once(": ").unwrap();
        count.split(' ').next().unwrap().parse().unwrap()
    });
    counts.collect()
}

fn bytes_of(disk: &dyn Disk) -> u64 {
    let folders = ["journal", "state"];
    let files = folders.iter().flat_map(|folder| {
        let names = disk.list(folder).unwrap_or_default();
        names
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    let opened = files.filter_map(|path| disk.open_read(&path).ok());
    opened.map(|file| file.len().unwrap_or(0)).sum()
}

struct Rig {
    store: Store,
    disk: Arc<dyn Disk>,
    volume: VolumeId,
    file: Ino,
    blocks: u64,
    /// The seed that each pair of blocks was last written with.
    written: Vec<u64>,
    size: Size,
}

impl Rig {
    fn new(disk: Arc<dyn Disk>, size: Size) -> Self {
        let clock = Arc::new(SystemClock::new());
        let options = InitOptions {
            segment_size: size.segment,
            capacity: Some(size.capacity),
            store: StoreId([5; 16]),
        };
        let me = actor("soak");
        drop(Store::init(disk.clone(), clock.clone(), options, &me).unwrap());
        let options = OpenOptions {
            background: false,
            ..OpenOptions::read_write()
        };
        let store = Store::open(disk.clone(), clock, options).unwrap();
        let create = Command::VolumeCreate {
            name: "v".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me, create).unwrap();
        let audit = Some(size.audit);
        store.run(&me, Command::AuditSet { keep: audit }).unwrap();
        let volume = VolumeId(1);
        let dir = store.state().volume(volume).unwrap().live.root;
        let create = Command::Create {
            volume,
            dir,
            name: b"f"[..].into(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        store.run(&me, create).unwrap();
        let file = store.state().volume(volume).unwrap().live.lookup(b"f");
        let pairs = size.capacity * 4 / 10 / BLOCK / TOGETHER;
        Self {
            store,
            disk,
            volume,
            file: file.unwrap(),
            blocks: pairs * TOGETHER,
            written: vec![0; pairs as usize],
            size,
        }
    }

    fn write(&mut self, pair: u64, seed: u64) {
        let me = actor("soak");
        let bytes = Random::bytes(seed, (TOGETHER * BLOCK) as usize);
        let at = pair * TOGETHER * BLOCK;
        let done = self.store.write(&me, self.volume, self.file, at, &bytes);
        done.unwrap_or_else(|e| panic!("write {seed}: {e}"));
        self.written[pair as usize] = seed;
    }

    fn commit(&self) {
        self.store.sync().unwrap();
        let (used, capacity) = (bytes_of(&*self.disk), self.size.capacity);
        assert!(used <= capacity, "{used} bytes of {capacity}");
    }

    /// The oldest go where there are too many; some went by themselves.
    fn roll(&self, turn: u64) {
        let me = actor("soak");
        let take = Command::CheckpointCreate {
            name: Some(format!("roll-{turn}")),
            volumes: vec![self.volume],
            nomount: false,
            removable: true,
            nodata: false,
            note: String::new(),
        };
        match self.store.run(&me, take) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), Kind::NoSpace, "{error}"),
        }
        let there: Vec<_> = self.store.state().checkpoints.keys().copied().collect();
        for checkpoint in there.iter().rev().skip(ROLLING) {
            let remove = Command::CheckpointRemove {
                checkpoint: *checkpoint,
            };
            self.store.run(&me, remove).unwrap();
        }
    }

    fn check(&self) {
        let live = self.store.state().volume(self.volume).unwrap().live.clone();
        let mut buffer = vec![0; (TOGETHER * BLOCK) as usize];
        for (pair, seed) in self.written.iter().enumerate() {
            let at = pair as u64 * TOGETHER * BLOCK;
            self.store.read(&live, self.file, at, &mut buffer).unwrap();
            assert!(buffer == Random::bytes(*seed, buffer.len()), "pair {pair}");
        }
    }
}

#[test]
fn a_small_store_takes_many_times_its_size_and_stays_within_its_capacity() {
    let soak = std::env::var_os("STRAND_SOAK").is_some_and(|v| v != "0");
    let folder = tempfile::tempdir().unwrap();
    let mut rig = if soak {
        let size = Size {
            capacity: 1024 * MIB,
            segment: 64 * MIB,
            written: 50 * 1024 * MIB,
            audit: 32 * MIB,
        };
        Rig::new(
            Arc::new(FileDisk::create(folder.path().join("store")).unwrap()),
            size,
        )
    } else {
        let size = Size {
            capacity: 16 * MIB,
            segment: MIB,
            written: 400 * MIB,
            audit: MIB / 2,
        };
        Rig::new(Arc::new(MemoryDisk::new()), size)
    };
    let pairs = rig.blocks / TOGETHER;
    for pair in 0..pairs {
        rig.write(pair, pair);
    }
    rig.commit();
    let mut random = Random::new(1);
    let groups = rig.size.written / (TOGETHER * BLOCK * GROUP);
    for group in 0..groups {
        for n in 0..GROUP {
            let pair = random.below(pairs);
            rig.write(pair, 1_000_000 + group * GROUP + n);
        }
        rig.commit();
        if group % (groups / 100).max(1) == 0 {
            rig.roll(group);
        }
    }
    rig.check();
    rig.store.settle().unwrap();
    rig.store.sync().unwrap();
    let options = verify::Options {
        data: true,
        anchor: None,
        from_scratch: true,
    };
    let report = verify::verify(&rig.store, &options, &|_| {}).unwrap();
    assert!(report.ok(), "{:#?}", report.findings);
    let archived = rig.store.journal().space().archive_bytes;
    let most = rig.size.audit + rig.size.segment;
    assert!(archived <= most, "{archived} bytes of archives");
    // Each movement of the horizon left one.
    let states = strand_engine::statefile::sizes(&*rig.disk);
    assert!(states.len() <= 3, "state files of {states:?} bytes");
    if soak {
        let extents = extents(&folder.path().join("store/journal"));
        println!("extents of the segments: {extents:?}");
        assert!(extents.iter().all(|n| *n <= MOST_EXTENTS), "{extents:?}");
    }
}
