//! A small store in memory, with a clock that a test moves.
#![allow(dead_code, unreachable_pub)] // each test file uses its part of it

use std::io::IoSlice;
use std::sync::Arc;
use strand_engine::{
    Actor, BLOCK, Bytes, CheckpointId, Clock, Command, Done, Grade, InitOptions, Ino, ManualClock,
    NewBody, OpenOptions, Source, Store, VolumeId,
};
use strand_journal::{Disk, MemoryDisk, StoreId};

/// 2026-11-21 09:00:00 UTC, in ns since the Unix epoch.
pub const MORNING: u64 = 1_795_251_600_000_000_000;
pub const SECOND: u64 = 1_000_000_000;

pub fn actor(name: &str, pid: u32) -> Actor {
    Actor {
        grade: Grade::Caller,
        uid: 1000,
        pid,
        name: name.into(),
        ..Actor::program()
    }
}

pub fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

pub struct Fixture {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub me: Actor,
}

impl Fixture {
    pub fn new() -> Self {
        Self::on(Arc::new(MemoryDisk::new()), 4 << 20)
    }

    pub fn on(disk: Arc<dyn Disk>, segment_size: u64) -> Self {
        let clock = Arc::new(ManualClock::new(MORNING));
        let options = InitOptions {
            segment_size,
            capacity: None,
            store: StoreId([7; 16]),
        };
        let me = actor("sqlite3", 812);
        let store = Store::init(disk.clone(), clock.clone(), options, &me).unwrap();
        Self {
            disk,
            clock,
            store,
            me,
        }
    }

    /// Closes the store and opens it again, for reading.
    pub fn reopen(self) -> Self {
        let Self {
            disk,
            clock,
            store,
            me,
        } = self;
        store.close().unwrap();
        let store = open(&disk, &clock, OpenOptions::read_only());
        Self {
            disk,
            clock,
            store,
            me,
        }
    }

    pub fn run(&self, command: Command) -> Done {
        self.store.run(&self.me, command).unwrap()
    }

    pub fn volume(&self, name: &str) -> VolumeId {
        self.run(Command::VolumeCreate {
            name: name.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        });
        self.store.state().volume_named(name).unwrap().id
    }

    pub fn root(&self, volume: VolumeId) -> Ino {
        self.store.state().volume(volume).unwrap().live.root
    }

    pub fn create(&self, volume: VolumeId, dir: Ino, name: &str, body: NewBody) -> Ino {
        self.run(Command::Create {
            volume,
            dir,
            name: bytes(name),
            body,
            mode: 0o644,
            uid: 0,
            gid: 0,
        });
        self.store
            .state()
            .volume(volume)
            .unwrap()
            .live
            .child(dir, name.as_bytes())
            .unwrap()
    }

    pub fn file(&self, volume: VolumeId, name: &str) -> Ino {
        self.create(volume, self.root(volume), name, NewBody::File)
    }

    pub fn write_as(
        &self,
        who: &Actor,
        volume: VolumeId,
        ino: Ino,
        block: u64,
        count: u64,
        fill: u8,
    ) -> Done {
        let mut data = vec![fill; (count * BLOCK) as usize];
        for (i, chunk) in data.chunks_mut(BLOCK as usize).enumerate() {
            chunk[..8].copy_from_slice(&(block + i as u64).to_le_bytes());
        }
        let done = self
            .store
            .write(who, volume, ino, block * BLOCK, &data)
            .unwrap();
        self.store.commit(done.ticket).unwrap();
        done
    }

    pub fn write(&self, volume: VolumeId, ino: Ino, block: u64, count: u64, fill: u8) -> Done {
        self.write_as(&self.me, volume, ino, block, count, fill)
    }

    pub fn unlink(&self, volume: VolumeId, name: &str) {
        let dir = self.root(volume);
        self.run(Command::Unlink {
            volume,
            dir,
            name: bytes(name),
            dir_wanted: false,
        });
    }

    pub fn rename(&self, volume: VolumeId, from: &str, to: &str) {
        let dir = self.root(volume);
        self.run(Command::Rename {
            volume,
            from_dir: dir,
            from_name: bytes(from),
            to_dir: dir,
            to_name: bytes(to),
            no_replace: false,
            exchange: false,
        });
    }

    pub fn checkpoint(&self, volume: VolumeId, name: &str) -> CheckpointId {
        self.run(Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![volume],
            nomount: false,
            removable: false,
            nodata: false,
            note: String::new(),
        });
        self.store.state().checkpoint_named(name).unwrap().id
    }

    pub fn rollback(&self, volume: VolumeId, checkpoint: CheckpointId) -> Done {
        let done = self.run(Command::Rollback {
            volume,
            source: Source::Checkpoint(volume, checkpoint),
            only: false,
        });
        self.store.settle().unwrap();
        self.store.sync().unwrap();
        done
    }

    pub fn advance(&self, ns: u64) {
        self.clock.advance(ns);
    }
}

pub fn open(disk: &Arc<dyn Disk>, clock: &Arc<ManualClock>, options: OpenOptions) -> Store {
    let clock: Arc<dyn Clock> = clock.clone();
    Store::open(disk.clone(), clock, options).unwrap()
}

/// Flips one bit of a file of the store.
pub fn flip(disk: &dyn Disk, path: &str, offset: u64) {
    let file = disk.open(path).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset).unwrap();
    byte[0] ^= 1;
    file.write_at(&[IoSlice::new(&byte)], offset).unwrap();
}

pub fn segment_path(segment: u64) -> String {
    format!("journal/{segment:020}.seg")
}
