//! A store with a file of random overwrites, and what every view of it should show.

use std::collections::BTreeMap;
use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Disk, MemoryDisk};

pub(crate) const BLOCKS: u64 = 48;
pub(crate) const BLOCK: usize = 4096;

pub(crate) fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 7,
        pid: 70,
        name: "test".into(),
        ..Actor::program()
    }
}

/// The content of a file: what was written last to each block.
pub(crate) type Content = BTreeMap<u64, u64>;

pub(crate) struct Town {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) volume: VolumeId,
    pub(crate) file: Ino,
    pub(crate) content: Content,
    /// What checkpoints show.
    pub(crate) images: BTreeMap<String, Content>,
    random: u64,
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions {
        state_every: 0,
        ..OpenOptions::read_write()
    }
}

/// The bytes of a version.
pub(crate) fn version(number: u64) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    for (i, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (number << 16 | i as u64).to_le_bytes();
    }
    bytes
}

impl Town {
    pub(crate) fn new(capacity: Option<u64>) -> Town {
        Self::on(Arc::new(MemoryDisk::new()), capacity).unwrap()
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, capacity: Option<u64>) -> Result<Town, Error> {
        Self::of_segments(disk, 64 << 10, capacity)
    }

    pub(crate) fn of_segments(
        disk: Arc<dyn Disk>,
        segment_size: u64,
        capacity: Option<u64>,
    ) -> Result<Town, Error> {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        let init = InitOptions {
            segment_size,
            capacity,
            store: StoreId([3; 16]),
        };
        let store = Store::init(disk.clone(), clock.clone(), init, &me())?;
        let command = Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me(), command)?;
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
        store.run(&me(), command)?;
        let file = store.live(found.id).unwrap().lookup(b"file").unwrap();
        Ok(Town {
            disk,
            clock,
            store,
            volume: found.id,
            file,
            content: Content::new(),
            images: BTreeMap::new(),
            random: 0x9E37_79B9_7F4A_7C15,
        })
    }

    /// The same story in a store that was opened elsewhere.
    pub(crate) fn elsewhere(&self, disk: Arc<dyn Disk>, store: Store) -> Town {
        Town {
            disk,
            clock: self.clock.clone(),
            store,
            volume: self.volume,
            file: self.file,
            content: self.content.clone(),
            images: self.images.clone(),
            random: self.random,
        }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Overwrites a block, durably.
    pub(crate) fn put(&mut self, block: u64) -> Result<Seq, Error> {
        let number = self.random(1 << 40) + 1;
        self.clock.advance(1_000_000);
        let offset = block * BLOCK as u64;
        let (store, volume, file) = (&self.store, self.volume, self.file);
        let done = store.write(&me(), volume, file, offset, &version(number))?;
        store.commit(done.ticket)?;
        self.content.insert(block, number);
        Ok(done.last)
    }

    /// Overwrites every block.
    pub(crate) fn rewrite(&mut self) -> Result<(), Error> {
        (0..BLOCKS).try_for_each(|block| self.put(block).map(drop))
    }

    /// Overwrites blocks at random.
    pub(crate) fn write(&mut self, count: u64) -> Seq {
        let mut last = 0;
        for _ in 0..count {
            let block = self.random(BLOCKS);
            last = self.put(block).unwrap();
        }
        last
    }

    pub(crate) fn checkpoint(&mut self, name: &str) -> CheckpointId {
        self.try_checkpoint(name, false).unwrap()
    }

    pub(crate) fn try_checkpoint(
        &mut self,
        name: &str,
        removable: bool,
    ) -> Result<CheckpointId, Error> {
        let command = Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable,
            nodata: false,
            note: String::new(),
        };
        self.store.run(&me(), command)?;
        self.images.insert(name.into(), self.content.clone());
        Ok(self.store.state().checkpoint_named(name).unwrap().id)
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let checkpoint = self.store.state().checkpoint_named(name).unwrap().id;
        let command = Command::CheckpointGiveUp {
            checkpoint,
            cause: GiveUp::Asked,
        };
        self.store.run(&me(), command).unwrap();
        self.images.remove(name);
    }

    pub(crate) fn reclaim(&self) -> Reclaimed {
        let options = ReclaimOptions {
            now: true,
            ..ReclaimOptions::default()
        };
        self.store.reclaim(&options).unwrap()
    }

    /// The content that a tree shows, block by block.
    pub(crate) fn shown(store: &Store, tree: &Fileset) -> Result<Vec<u8>, Error> {
        let ino = tree.lookup(b"file").unwrap();
        let mut bytes = vec![0; usize::try_from(tree.inode(ino).unwrap().size()).unwrap()];
        store.read(tree, ino, 0, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn expected(content: &Content) -> Vec<u8> {
        let end = content.keys().next_back().map_or(0, |last| last + 1);
        let mut bytes = vec![0; usize::try_from(end).unwrap() * BLOCK];
        for (block, number) in content {
            let at = usize::try_from(*block).unwrap() * BLOCK;
            bytes[at..at + BLOCK].copy_from_slice(&version(*number));
        }
        bytes
    }

    /// Live and every image read as they should.
    pub(crate) fn check(&self) {
        let live = self.store.view(Source::Live(self.volume)).unwrap();
        assert!(Self::shown(&self.store, &live).unwrap() == Self::expected(&self.content));
        for (name, content) in &self.images {
            let id = self.store.state().checkpoint_named(name).unwrap().id;
            let source = Source::Checkpoint(self.volume, id);
            let image = self.store.view(source).unwrap();
            let shown = Self::shown(&self.store, &image);
            assert!(shown.unwrap() == Self::expected(content), "{name}");
        }
    }

    pub(crate) fn reopened(self) -> Town {
        let (disk, clock) = (self.disk, self.clock);
        let before = self.store.digest();
        drop(self.store);
        let scratch = OpenOptions {
            ignore_state_files: true,
            ..OpenOptions::read_only()
        };
        let folded = Store::open(disk.clone(), clock.clone(), scratch).unwrap();
        assert_eq!(folded.digest(), before, "a fold from the start agrees");
        drop(folded);
        let store = Store::open(disk.clone(), clock.clone(), options()).unwrap();
        Town {
            disk,
            clock,
            store,
            ..self
        }
    }

    pub(crate) fn segment_files(&self) -> usize {
        let names = self.disk.list("journal").unwrap();
        names.iter().filter(|name| name.ends_with(".seg")).count()
    }
}
