//! What the last verification could not read is no target of a rollback, wherever else it is shown.

#![allow(clippy::unwrap_used)] // all of it is test code

use std::sync::Arc;
use strand_engine::last_verify::{BadVersion, DataVerify, LAST_VERIFY, LastVerify};
use strand_engine::{
    Actor, Bytes, CheckpointId, Command, InitOptions, Ino, Kind, ManualClock, NewBody, OpenOptions,
    Source, Store, VolumeId,
};
use strand_journal::{Disk, MemoryDisk, StoreId};

struct Bench {
    store: Store,
    disk: Arc<MemoryDisk>,
    actor: Actor,
    volume: VolumeId,
    root: Ino,
}

impl Bench {
    fn new() -> Self {
        let (disk, actor) = (Arc::new(MemoryDisk::new()), Actor::program());
        let options = InitOptions {
            segment_size: 256 << 10,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let clock = Arc::new(ManualClock::new(1_700_000_000_000_000_000));
        let store = Store::init(disk.clone(), clock, options, &actor).unwrap();
        let command = Command::VolumeCreate {
            name: "v".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&actor, command).unwrap();
        let state = store.state();
        let found = state.volume_named("v").unwrap();
        let (volume, root) = (found.id, found.live.root);
        Bench {
            store,
            disk,
            actor,
            volume,
            root,
        }
    }

    fn run(&self, command: Command) -> Result<(), strand_engine::Error> {
        self.store.run(&self.actor, command).map(drop)
    }

    fn file(&self, name: &str) -> Ino {
        let name: Bytes = name.as_bytes().into();
        self.run(Command::Create {
            volume: self.volume,
            dir: self.root,
            name: name.clone(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        })
        .unwrap();
        let state = self.store.state();
        state
            .volume(self.volume)
            .unwrap()
            .live
            .child(self.root, &name)
            .unwrap()
    }

    fn write(&self, ino: Ino, block: u64, byte: u8) {
        let done = self
            .store
            .write(&self.actor, self.volume, ino, block * 4096, &[byte; 4096]);
        self.store.commit(done.unwrap().ticket).unwrap();
    }

    fn checkpoint(&self, name: &str) -> CheckpointId {
        self.run(Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![self.volume],
            removable: false,
            nodata: false,
            nomount: false,
            note: String::new(),
        })
        .unwrap();
        self.store.state().checkpoint_named(name).unwrap().id
    }

    /// The live version of a block, said to be bad.
    fn mark_bad(&self, ino: Ino, block: u64) {
        let state = self.store.state();
        let live = &state.volume(self.volume).unwrap().live;
        let version = live.version(strand_engine::Place { ino, block }).unwrap();
        let bad = BadVersion {
            addr: version.addr().0,
            segment: 1,
            offset: 8192,
            ino,
            block,
        };
        self.note(vec![bad]);
    }

    fn note(&self, bad: Vec<BadVersion>) {
        let data = DataVerify {
            bad,
            ..DataVerify::default()
        };
        self.store
            .note_verified(&LastVerify {
                data: Some(data),
                ..LastVerify::default()
            })
            .unwrap();
    }

    fn back_to(&self, checkpoint: CheckpointId) -> Command {
        Command::Rollback {
            volume: self.volume,
            source: Source::Checkpoint(self.volume, checkpoint),
            only: false,
        }
    }

    fn file_back_to(&self, checkpoint: CheckpointId, name: &str) -> Command {
        Command::RollbackFiles {
            volume: self.volume,
            source: Source::Checkpoint(self.volume, checkpoint),
            paths: vec![name.as_bytes().into()],
            attributes: false,
            delete_new: false,
        }
    }

    fn clone_of(&self, checkpoint: CheckpointId, name: &str) -> Command {
        Command::CloneCreate {
            name: name.into(),
            source: Source::Checkpoint(self.volume, checkpoint),
        }
    }

    #[track_caller]
    fn damaged(&self, command: Command) -> String {
        let error = self.store.run(&self.actor, command).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
        error.refusal().why.unwrap_or_default()
    }
}

#[test]
fn an_image_with_a_bad_block_is_no_target_and_another_one_is() {
    let b = Bench::new();
    let (f, g) = (b.file("f"), b.file("g"));
    b.write(g, 0, 9);
    b.write(f, 3, 1);
    let sound = b.checkpoint("sound");
    b.write(f, 3, 2);
    b.mark_bad(f, 3);
    let spoilt = b.checkpoint("spoilt");
    // What the live tree shows too is no worse afterwards.
    b.run(b.clone_of(spoilt, "early")).unwrap();
    b.write(g, 0, 8);
    b.run(b.back_to(spoilt)).unwrap();
    b.write(f, 3, 3);
    b.write(g, 0, 7);

    let why = b.damaged(b.back_to(spoilt));
    assert!(
        why.contains("block 3 of /f") && why.contains("segment 1 offset 8192"),
        "{why}"
    );
    b.damaged(b.clone_of(spoilt, "late"));
    b.damaged(b.file_back_to(spoilt, "f"));
    b.damaged(Command::RollbackAll { checkpoint: spoilt });
    b.run(b.file_back_to(spoilt, "g")).unwrap();
    b.run(b.back_to(sound)).unwrap();
    b.run(b.clone_of(sound, "fine")).unwrap();

    // Undo is a rollback as well: to the state before it, which is sound; and with nothing bad known all is allowed.
    b.run(Command::Undo {
        volume: Some(b.volume),
    })
    .unwrap();
    b.note(Vec::new());
    b.run(b.back_to(spoilt)).unwrap();
}

#[test]
fn a_bad_block_is_found_where_it_was_shared_to() {
    let b = Bench::new();
    let (f, g) = (b.file("f"), b.file("g"));
    b.write(f, 0, 1);
    b.mark_bad(f, 0);
    b.store
        .copy_range(&b.actor, b.volume, f, 0, g, 2 * 4096, 4096)
        .unwrap();
    b.store.sync().unwrap();
    b.write(f, 0, 2);
    let shared = b.checkpoint("shared");
    b.write(g, 2, 3);
    let why = b.damaged(b.back_to(shared));
    assert!(why.contains("block 2 of /g"), "{why}");
}

#[test]
fn a_clone_is_not_reset_to_a_bad_block() {
    let b = Bench::new();
    let f = b.file("f");
    b.write(f, 0, 1);
    b.mark_bad(f, 0);
    let c = b.checkpoint("c");
    b.run(b.clone_of(c, "test")).unwrap();
    let state = b.store.state();
    let test = state.volume_named("test").unwrap().id;
    b.run(Command::CloneReset { volume: test }).unwrap();
    let done = b.store.write(&b.actor, test, f, 0, &[5; 4096]).unwrap();
    b.store.commit(done.ticket).unwrap();
    b.damaged(Command::CloneReset { volume: test });
}

#[test]
fn what_was_known_is_known_after_an_opening_and_garbage_is_as_nothing() {
    let b = Bench::new();
    let f = b.file("f");
    b.write(f, 0, 1);
    b.mark_bad(f, 0);
    let c = b.checkpoint("c");
    b.write(f, 0, 2);
    let back = b.back_to(c);
    let (disk, actor) = (b.disk.clone(), b.actor.clone());
    b.store.close().unwrap();
    let open = || {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        Store::open(disk.clone(), clock, OpenOptions::read_write()).unwrap()
    };
    let store = open();
    assert_eq!(
        store.run(&actor, back.clone()).unwrap_err().kind(),
        Kind::Damaged
    );
    assert_eq!(
        store.plan(&actor, back.clone()).unwrap_err().kind(),
        Kind::Damaged
    );
    store.close().unwrap();
    disk.write_small(LAST_VERIFY, b"garbage").unwrap();
    let store = open();
    assert_eq!(store.last_verify().unwrap_err().kind(), Kind::Damaged);
    store.run(&actor, back).unwrap();
}
