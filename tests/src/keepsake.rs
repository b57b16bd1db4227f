//! A store to be kept: small, with something of everything, made by today's program for the programs to come.

use crate::lockstep::{BEGIN, actor};
use crate::random::Random;
use crate::small::{BLOCK, contents};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use strand_engine::{
    Actor, Bytes, Clock, Command, GiveUp, InitOptions, Keep, Kind, ManualClock, NewBody,
    OpenOptions, Quota, ReclaimOptions, Retention, Schedule, SetAttributes, Source, Store, StoreId,
    VolumeId,
};
use strand_journal::{Disk, FileDisk};

/// What a store shows: for every view its files, one number for each view.
pub type Shown = BTreeMap<String, String>;

/// Opens a store that lies in a directory.
///
/// # Panics
/// Where it cannot be opened.
#[must_use]
pub fn open(directory: &Path, options: OpenOptions) -> Store {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory).expect("the store's directory"));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(BEGIN + 86_400_000_000_000));
    Store::open(disk, clock, options).expect("an old store opens")
}

/// What every live volume and every checkpoint of a store shows, its bytes read and checked.
///
/// # Panics
/// Where something cannot be read.
#[must_use]
pub fn shown(store: &Store) -> Shown {
    let state = store.state();
    let mut all = Shown::new();
    let mut show = |name: String, source: Source| match store.view_with_data(source) {
        Ok(tree) => {
            let mut bytes = Vec::new();
            for (ino, content) in contents(store, &tree) {
                bytes.extend_from_slice(&ino.to_le_bytes());
                let path = tree.path_of(strand_engine::Ino(ino)).unwrap_or_default();
                bytes.extend_from_slice(&path);
                bytes.extend_from_slice(&content);
            }
            all.insert(name, format!("{:08x}", crc32fast::hash(&bytes)));
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::NotAllowed, "{name}: {error}");
            all.insert(name, "not to be read".into());
        }
    };
    for volume in state.volumes.values() {
        show(volume.name.to_string(), Source::Live(volume.id));
        for id in volume.images.keys() {
            let checkpoint = &state.checkpoints[id].name;
            let name = format!("{}@{checkpoint}", volume.name);
            show(name, Source::Checkpoint(volume.id, *id));
        }
    }
    all
}

/// Makes the store in an empty directory, and says what it shows.
///
/// # Panics
/// Where anything is refused.
#[must_use]
pub fn make(directory: &Path) -> Shown {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(directory).expect("an empty directory"));
    let clock = Arc::new(ManualClock::new(BEGIN));
    let options = InitOptions {
        segment_size: 64 << 10,
        capacity: None,
        store: StoreId(*b"a store to keep."),
    };
    drop(Store::init(disk.clone(), clock.clone(), options, &me()).expect("a new store"));
    let store = Store::open(disk, clock.clone(), OpenOptions::read_write()).expect("it opens");
    Maker { store, clock }.live()
}

fn me() -> Actor {
    actor("keepsake")
}

fn name(name: &str) -> Bytes {
    name.as_bytes().into()
}

struct Maker {
    store: Store,
    clock: Arc<ManualClock>,
}

impl Maker {
    fn run(&self, command: Command) {
        self.clock.advance(1_000_000_000);
        let shown = format!("{command:?}");
        if let Err(error) = self.store.run(&me(), command) {
            panic!("{shown}: {error}");
        }
    }

    fn volume(&self, name: &str) -> VolumeId {
        self.run(Command::VolumeCreate {
            name: name.into(),
            mode: 0o755,
            uid: 1000,
            gid: 1000,
        });
        self.id(name)
    }

    fn id(&self, name: &str) -> VolumeId {
        self.store.state().volume_names[name]
    }

    fn make(&self, volume: VolumeId, path: &str, body: NewBody) {
        let live = self.store.live(volume).expect("a volume");
        let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
        self.run(Command::Create {
            volume,
            dir: live.lookup(dir.as_bytes()).expect("a directory"),
            name: name(last),
            body,
            mode: 0o640,
            uid: 1000,
            gid: 1000,
        });
    }

    fn write(&self, volume: VolumeId, path: &str, block: u64, blocks: u64, seed: u64) {
        let live = self.store.live(volume).expect("a volume");
        let ino = live.lookup(path.as_bytes()).expect("a file");
        let bytes = Random::bytes(seed, (blocks * BLOCK) as usize);
        let offset = block * BLOCK;
        let done = self.store.write(&me(), volume, ino, offset, &bytes);
        self.store
            .commit(done.expect("a write").ticket)
            .expect("a commit");
    }

    fn checkpoint(&self, called: &str, volumes: &[VolumeId], nodata: bool, removable: bool) {
        self.run(Command::CheckpointCreate {
            name: Some(called.into()),
            volumes: volumes.to_vec(),
            nomount: false,
            removable,
            nodata,
            note: format!("the checkpoint {called}"),
        });
    }

    /// The life of the store.
    fn live(self) -> Shown {
        let (pg, logs) = (self.volume("pg"), self.volume("logs"));
        self.make(pg, "base", NewBody::Dir);
        for table in 0..8 {
            let path = format!("base/{table}");
            self.make(pg, &path, NewBody::File);
            self.write(pg, &path, 0, 16, table);
        }
        self.make(pg, "current", NewBody::Symlink(name("base/0")));
        self.make(logs, "log", NewBody::File);
        self.write(logs, "log", 0, 20, 99);
        self.attributes(pg);
        self.checkpoint("first", &[pg, logs], false, false);
        for round in 0..12 {
            self.write(pg, "base/3", round % 16, 2, 200 + round);
            self.write(logs, "log", round, 1, 300 + round);
        }
        self.checkpoint("marks", &[pg], true, false);
        self.write(pg, "base/4", 0, 8, 400);
        self.checkpoint("second", &[pg], false, true);
        self.unlink(pg, "base/5");
        self.write(pg, "base/6", 4, 4, 500);
        let state = self.store.state();
        let source = Source::Checkpoint(pg, state.checkpoint_names["first"]);
        self.run(Command::CloneCreate {
            name: "test".into(),
            source,
        });
        let test = self.id("test");
        self.write(test, "base/0", 0, 4, 600);
        self.run(Command::Rollback {
            volume: pg,
            source,
            only: true,
        });
        self.run(Command::Undo { volume: Some(pg) });
        let position = self.store.state().boundary;
        self.write(pg, "base/7", 0, 16, 700);
        self.run(Command::Rollback {
            volume: pg,
            source: Source::Position(pg, position),
            only: false,
        });
        self.settings(pg);
        self.give_back(logs);
        self.write(pg, "base/1", 8, 8, 900);
        self.store.settle().expect("movements are counted");
        let shown = shown(&self.store);
        self.store.close().expect("it closes");
        shown
    }

    fn attributes(&self, volume: VolumeId) {
        let live = self.store.live(volume).expect("a volume");
        let ino = live.lookup(b"base/2").expect("a file");
        self.run(Command::SetXattr {
            volume,
            ino,
            name: name("user.kind"),
            value: name("table"),
            create: None,
        });
        let set = SetAttributes {
            mode: Some(0o600),
            mtime: Some(-1),
            ..SetAttributes::default()
        };
        self.run(Command::SetAttributes { volume, ino, set });
    }

    fn unlink(&self, volume: VolumeId, path: &str) {
        let live = self.store.live(volume).expect("a volume");
        let (dir, last) = path.rsplit_once('/').unwrap_or(("", path));
        self.run(Command::Unlink {
            volume,
            dir: live.lookup(dir.as_bytes()).expect("a directory"),
            name: name(last),
            dir_wanted: false,
        });
    }

    fn settings(&self, volume: VolumeId) {
        self.run(Command::QuotaSet {
            volume,
            quota: Quota {
                soft: Some(64 << 20),
                hard: Some(128 << 20),
                on: true,
                fail_writes: false,
            },
            below_use: false,
        });
        let hour = 3_600_000_000_000;
        self.run(Command::RetentionSet {
            volume,
            retention: Retention {
                age: Some(24 * hour),
                bytes: Some(1 << 30),
            },
        });
        self.run(Command::ScheduleSet {
            volume,
            schedule: Some(Schedule {
                every: hour,
                keep: vec![Keep {
                    age: 48 * hour,
                    every: 0,
                }],
            }),
        });
        self.run(Command::AuditSet {
            keep: Some(64 << 20),
        });
    }

    /// Much is overwritten, a checkpoint given up, and the space given back: segments become archives, versions lie elsewhere.
    fn give_back(&self, volume: VolumeId) {
        self.checkpoint("passing", &[volume], false, true);
        for round in 0..40 {
            self.write(volume, "log", round % 20, 1, 800 + round);
        }
        let checkpoint = self.store.state().checkpoint_names["passing"];
        self.run(Command::CheckpointGiveUp {
            checkpoint,
            cause: GiveUp::Asked,
        });
        self.store.settle().expect("movements are counted");
        let options = ReclaimOptions {
            now: true,
            ..ReclaimOptions::default()
        };
        let reclaimed = self.store.reclaim(&options).expect("space is given back");
        assert!(reclaimed.segments > 0, "{reclaimed:?}");
    }
}
