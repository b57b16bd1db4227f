//! A small store in memory, with the few verbs that scenarios need.

use crate::lockstep::{BEGIN, SEGMENT_SIZE, actor, open_options};
use crate::random::Random;
use std::collections::BTreeMap;
use std::sync::Arc;
use strand_engine::{
    Actor, CheckpointId, Command, Done, Error, Event, Fileset, Image, InitOptions, Ino,
    ManualClock, NewBody, Store, StoreId, VolumeId,
};
use strand_journal::disk::{Disk, FaultyDisk};
use strand_replay::verify;

/// Bytes in a block.
pub const BLOCK: u64 = 4096;

/// A store on a disk in memory that can lose its power.
pub struct Small {
    /// The store.
    pub store: Store,
    /// Its disk.
    pub disk: FaultyDisk,
    /// Who works with it.
    pub actor: Actor,
    /// Its clock.
    pub clock: Arc<ManualClock>,
}

impl Default for Small {
    fn default() -> Self {
        Self::new()
    }
}

impl Small {
    /// A new store.
    ///
    /// # Panics
    /// Never on a healthy disk.
    #[must_use]
    pub fn new() -> Self {
        Self::of_capacity(None)
    }

    /// A new store of at most so many bytes.
    ///
    /// # Panics
    /// Never on a healthy disk.
    #[must_use]
    pub fn of_capacity(capacity: Option<u64>) -> Self {
        let disk = FaultyDisk::new(1);
        let options = InitOptions {
            segment_size: SEGMENT_SIZE,
            capacity,
            store: StoreId([9; 16]),
        };
        let actor = actor("small");
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock = Arc::new(ManualClock::new(BEGIN));
        drop(Store::init(shared.clone(), clock.clone(), options, &actor).expect("a healthy disk"));
        let store = Store::open(shared, clock.clone(), open_options(0, false));
        Self {
            store: store.expect("a healthy disk"),
            disk,
            actor,
            clock,
        }
    }

    /// Bytes of all files on the disk.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        let paths = self.disk.paths();
        let files = paths.iter().filter_map(|path| self.disk.file_bytes(path));
        files.map(|bytes| bytes.len() as u64).sum()
    }

    /// Holds everything against the journal: every payload block that is mapped, every book, every digest.
    ///
    /// # Panics
    /// Where something is not what was written.
    pub fn verify(&self) {
        self.store.settle().expect("a healthy disk");
        self.store.sync().expect("a healthy disk");
        let options = verify::Options {
            data: true,
            anchor: None,
            from_scratch: true,
        };
        let report = verify::verify(&self.store, &options, &|_| {}).expect("a healthy disk");
        assert!(report.ok(), "{:#?}", report.findings);
    }

    /// Carries a command out.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn run(&self, command: Command) -> Done {
        let shown = format!("{command:?}");
        self.store
            .run(&self.actor, command)
            .unwrap_or_else(|e| panic!("{shown}: {e}"))
    }

    /// Carries a command out that may be refused.
    ///
    /// # Errors
    /// What the engine says.
    pub fn ask(&self, command: Command) -> Result<Done, Error> {
        self.store.run(&self.actor, command)
    }

    /// A new volume.
    pub fn volume(&self, name: &str) -> VolumeId {
        let done = self.run(Command::VolumeCreate {
            name: name.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        });
        let made = done.events.iter().find_map(|e| {
            if let Event::VolumeCreated { volume, .. } = e {
                Some(*volume)
            } else {
                None
            }
        });
        made.expect("a volume was created")
    }

    /// The root directory of a volume.
    ///
    /// # Panics
    /// Where there is no such volume.
    #[must_use]
    pub fn root(&self, volume: VolumeId) -> Ino {
        self.live(volume).root
    }

    /// The live tree.
    ///
    /// # Panics
    /// Where there is no such volume.
    #[must_use]
    pub fn live(&self, volume: VolumeId) -> Fileset {
        self.store
            .state()
            .volume(volume)
            .expect("a volume of this test")
            .live
            .clone()
    }

    /// What a checkpoint keeps of a volume.
    ///
    /// # Panics
    /// Where it keeps nothing.
    #[must_use]
    pub fn image(&self, volume: VolumeId, checkpoint: CheckpointId) -> Image {
        self.store
            .state()
            .image(volume, checkpoint)
            .expect("a checkpoint of this test")
            .clone()
    }

    /// A new file in the root directory.
    pub fn file(&self, volume: VolumeId, name: &str) -> Ino {
        let (dir, name) = (self.root(volume), name.as_bytes().into());
        let done = self.run(Command::Create {
            volume,
            dir,
            name,
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        });
        let made = done.events.iter().find_map(|e| {
            if let Event::Created { ino, .. } = e {
                Some(*ino)
            } else {
                None
            }
        });
        made.expect("a file was created")
    }

    /// Writes whole blocks of seeded bytes, durably, and gives the events.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn write(&self, volume: VolumeId, ino: Ino, block: u64, blocks: u64, seed: u64) -> Done {
        let bytes = Random::bytes(seed, (blocks * BLOCK) as usize);
        let done = self
            .store
            .write(&self.actor, volume, ino, block * BLOCK, &bytes)
            .expect("a write");
        self.store.commit(done.ticket).expect("a commit");
        done
    }

    /// A checkpoint.
    pub fn checkpoint(&self, name: &str, volumes: &[VolumeId]) -> CheckpointId {
        let done = self.run(Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: volumes.to_vec(),
            nomount: false,
            removable: false,
            nodata: false,
            note: String::new(),
        });
        let made = done.events.iter().find_map(|e| {
            if let Event::CheckpointCreated { checkpoint, .. } = e {
                Some(*checkpoint)
            } else {
                None
            }
        });
        made.expect("a checkpoint was created")
    }

    /// Every file of a tree with its bytes, by inode.
    ///
    /// # Panics
    /// Where a block is not what was written.
    #[must_use]
    pub fn contents(&self, tree: &Fileset) -> BTreeMap<u64, Vec<u8>> {
        contents(&self.store, tree)
    }
}

/// Every file of a tree with its size and its mapped bytes, by inode.
///
/// # Panics
/// Where a block is not what was written.
#[must_use]
pub fn contents(store: &Store, tree: &Fileset) -> BTreeMap<u64, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (ino, inode) in tree.inodes.iter() {
        let Some(file) = inode.file() else { continue };
        let mut bytes = file.size.to_le_bytes().to_vec();
        for (block, _) in file.map.iter() {
            let mut buffer = vec![0; BLOCK as usize];
            let got = store
                .read(tree, Ino(ino), block * BLOCK, &mut buffer)
                .unwrap_or_else(|e| panic!("inode {ino}, block {block}: {e}"));
            bytes.extend_from_slice(&block.to_le_bytes());
            bytes.extend_from_slice(&buffer[..got]);
        }
        all.insert(ino, bytes);
    }
    all
}
