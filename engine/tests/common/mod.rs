//! What stories about a store share: a store in memory, and the few verbs they need.
#![allow(dead_code)] // every test binary uses a part of it
#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Arc;
use strand_engine::*;
use strand_journal::{Disk, MemoryDisk};

/// A clock that the test moves on by asking.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(1_800_000_000_000_000_000))
}

/// Who works.
pub(crate) fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 7,
        pid: 70,
        name: "test".into(),
        ..Actor::program()
    }
}

/// A new store.
pub(crate) fn new_store(segment_size: u64) -> (Arc<dyn Disk>, Store) {
    limited_store(segment_size, None)
}

/// A store of at most so many bytes.
pub(crate) fn limited_store(segment_size: u64, capacity: Option<u64>) -> (Arc<dyn Disk>, Store) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let options = InitOptions {
        segment_size,
        capacity,
        store: StoreId([3; 16]),
    };
    let store = Store::init(disk.clone(), clock(), options, &me()).unwrap();
    (disk, store)
}

/// A new volume.
pub(crate) fn volume(store: &Store, name: &str) -> VolumeId {
    let command = Command::VolumeCreate {
        name: name.into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    store.run(&me(), command).unwrap();
    store.state().volume_named(name).unwrap().id
}

/// A new file in the root of a volume.
pub(crate) fn file(store: &Store, volume: VolumeId, name: &str) -> Ino {
    let dir = store.state().volume(volume).unwrap().live.root;
    let name: Bytes = name.as_bytes().into();
    let command = Command::Create {
        volume,
        dir,
        name: name.clone(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    store.run(&me(), command).unwrap();
    store
        .state()
        .volume(volume)
        .unwrap()
        .live
        .child(dir, &name)
        .unwrap()
}

/// A checkpoint with data.
pub(crate) fn checkpoint(store: &Store, volumes: &[VolumeId], name: &str) -> CheckpointId {
    let command = Command::CheckpointCreate {
        name: Some(name.into()),
        volumes: volumes.to_vec(),
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    store.run(&me(), command).unwrap();
    store.state().checkpoint_named(name).unwrap().id
}

/// The bytes of a file.
pub(crate) fn content(store: &Store, source: Source, path: &[u8]) -> Vec<u8> {
    let tree = store.view(source).unwrap();
    let ino = tree.lookup(path).unwrap();
    let mut bytes = vec![0; usize::try_from(tree.inode(ino).unwrap().size()).unwrap()];
    assert_eq!(store.read(&tree, ino, 0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// Counts what waits, and holds every ledger against a walk of all roots.
pub(crate) fn check_ledgers(store: &Store) {
    store.settle().unwrap();
    for volume in store.state().volumes.values() {
        let truth = owner::owned_brute(volume);
        for (id, image) in &volume.images {
            assert_eq!(
                image.ledger.owned(),
                truth[id],
                "checkpoint {id} of {}",
                volume.name
            );
        }
    }
}

/// What it was refused with.
pub(crate) fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> Kind {
    result.unwrap_err().kind()
}
