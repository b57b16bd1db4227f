//! A history with every event that changes what files hold, are called, or are: on a real directory, in small segments.

use std::path::PathBuf;
use std::sync::Arc;
use strand_engine::{
    Actor, Bytes, CheckpointId, Command, Done, Grade, InitOptions, Ino, ManualClock, NewBody,
    Quota, Seq, SetAttributes, Source, Store, StoreId, VolumeId,
};
use strand_journal::{Disk, FileDisk};

/// When the history begins, ns since the Unix epoch.
pub(crate) const BEGIN: u64 = 1_800_000_000_000_000_000;

/// A store in a directory of its own, and short words for what a history does to it.
pub(crate) struct Script {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

fn actor(name: &str) -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 1000,
        pid: 70,
        name: name.into(),
        ..Actor::program()
    }
}

pub(crate) fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 31 + seed * 17) % 255) as u8 + 1)
        .collect()
}

impl Script {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path().join("store")).unwrap());
        let clock = Arc::new(ManualClock::new(BEGIN));
        let options = InitOptions {
            segment_size: 64 << 10,
            capacity: None,
            store: StoreId([9; 16]),
        };
        Self {
            store: Store::init(disk, clock, options, &actor("init")).unwrap(),
            dir,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn run(&self, command: Command) -> Done {
        self.store.run(&actor("admin"), command).unwrap()
    }

    /// Without waiting for the disk.
    fn submit(&self, command: Command) {
        self.store.submit(&actor("user"), command).unwrap();
    }

    pub(crate) fn volume(&self, name: &str) -> VolumeId {
        self.run(Command::VolumeCreate {
            name: name.into(),
            mode: 0o750,
            uid: 1,
            gid: 2,
        });
        self.store.state().volume_named(name).unwrap().id
    }

    fn ino(&self, volume: VolumeId, path: &str) -> Ino {
        self.store
            .state()
            .volume(volume)
            .unwrap()
            .live
            .lookup(path.as_bytes())
            .unwrap()
    }

    fn place(&self, volume: VolumeId, path: &[u8]) -> (Ino, Bytes) {
        let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        (
            self.store
                .state()
                .volume(volume)
                .unwrap()
                .live
                .lookup(dir)
                .unwrap(),
            name.into(),
        )
    }

    fn create(&self, volume: VolumeId, path: &[u8], body: NewBody) -> Ino {
        let (dir, name) = self.place(volume, path);
        self.submit(Command::Create {
            volume,
            dir,
            name: name.clone(),
            body,
            mode: 0o640,
            uid: 1000,
            gid: 100,
        });
        self.store
            .state()
            .volume(volume)
            .unwrap()
            .live
            .child(dir, &name)
            .unwrap()
    }

    pub(crate) fn file(&self, volume: VolumeId, path: &str, content: &[u8]) -> Ino {
        let ino = self.create(volume, path.as_bytes(), NewBody::File);
        self.write(volume, ino, 0, content);
        ino
    }

    fn write(&self, volume: VolumeId, ino: Ino, offset: u64, content: &[u8]) {
        self.store
            .write(&actor("user"), volume, ino, offset, content)
            .unwrap();
    }

    fn unlink(&self, volume: VolumeId, path: &str, dir_wanted: bool) {
        let (dir, name) = self.place(volume, path.as_bytes());
        self.submit(Command::Unlink {
            volume,
            dir,
            name,
            dir_wanted,
        });
    }

    fn rename(&self, volume: VolumeId, from: &str, to: &str, exchange: bool) {
        let ((from_dir, from_name), (to_dir, to_name)) = (
            self.place(volume, from.as_bytes()),
            self.place(volume, to.as_bytes()),
        );
        self.submit(Command::Rename {
            volume,
            from_dir,
            from_name,
            to_dir,
            to_name,
            no_replace: false,
            exchange,
        });
    }

    fn link(&self, volume: VolumeId, ino: Ino, path: &str) {
        let (dir, name) = self.place(volume, path.as_bytes());
        self.submit(Command::Link {
            volume,
            ino,
            dir,
            name,
        });
    }

    fn xattr(&self, volume: VolumeId, ino: Ino, name: &str, value: &[u8]) {
        self.submit(Command::SetXattr {
            volume,
            ino,
            name: name.as_bytes().into(),
            value: value.into(),
            create: None,
        });
    }

    pub(crate) fn checkpoint(&self, volumes: &[VolumeId], name: &str) -> CheckpointId {
        self.take(volumes, name, false)
    }

    fn take(&self, volumes: &[VolumeId], name: &str, nodata: bool) -> CheckpointId {
        let (name, volumes) = (Some(name.to_owned()), volumes.to_vec());
        self.run(Command::CheckpointCreate {
            name,
            volumes,
            nomount: false,
            removable: false,
            nodata,
            note: String::new(),
        });
        CheckpointId(self.store.state().next_checkpoint.0 - 1)
    }

    fn back(&self, volume: VolumeId, source: Source) {
        self.run(Command::Rollback {
            volume,
            source,
            only: true,
        });
    }

    fn files_back(
        &self,
        volume: VolumeId,
        source: Source,
        paths: &[&str],
        attributes: bool,
        delete_new: bool,
    ) {
        let paths = paths.iter().map(|p| p.as_bytes().into()).collect();
        self.run(Command::RollbackFiles {
            volume,
            source,
            paths,
            attributes,
            delete_new,
        });
    }

    fn undo(&self) {
        self.run(Command::Undo { volume: None });
    }

    fn position(&self) -> Seq {
        self.store.state().boundary
    }
}

/// Contents and sizes: ragged writes, holes, cuts, growth, blocks shared between files and inside one.
fn contents(s: &Script, volume: VolumeId) {
    let data = s.file(volume, "data", &bytes(1, 50_000));
    s.write(volume, data, 4_000, &bytes(2, 10_000));
    s.write(volume, data, 200_001, &bytes(3, 77));
    s.write(volume, data, 8_192, &[0; 8_192]);
    s.store
        .punch(&actor("user"), volume, data, 20_000, 9_999)
        .unwrap();
    s.store
        .zero(&actor("user"), volume, data, 199_000, 300_000)
        .unwrap();
    s.store
        .truncate(&actor("user"), volume, data, 45_678)
        .unwrap();
    s.store
        .truncate(&actor("user"), volume, data, 60_000)
        .unwrap();
    let long = s.file(volume, "long", &bytes(4, 300_000));
    s.store
        .truncate(&actor("user"), volume, long, 250_001)
        .unwrap();
    let copy = s.file(volume, "copy", &bytes(5, 9_000));
    s.store
        .copy_range(&actor("user"), volume, data, 4_096, copy, 8_192, 30_000)
        .unwrap();
    s.store
        .copy_range(&actor("user"), volume, copy, 0, copy, 409_600, 20_480)
        .unwrap();
    s.write(volume, copy, 409_600 + 5_000, b"after the sharing");
    s.submit(Command::Preallocate {
        volume,
        ino: copy,
        offset: 0,
        length: 700_001,
        keep_size: false,
    });
}

/// Names and attributes: every kind of inode, links, renames of all sorts, names that are no text, times before 1970.
fn names(s: &Script, volume: VolumeId) {
    let (data, copy) = (s.ino(volume, "data"), s.ino(volume, "copy"));
    s.create(volume, b"dir", NewBody::Dir);
    s.create(volume, b"dir/sub", NewBody::Dir);
    s.create(volume, b"other", NewBody::Dir);
    s.create(volume, b"dir/sub/\xff\xfe no text", NewBody::File);
    s.create(volume, b"soft", NewBody::Symlink(b"dir/\xff"[..].into()));
    s.create(volume, b"fifo", NewBody::Fifo);
    s.create(volume, b"socket", NewBody::Socket);
    s.create(volume, b"char", NewBody::Char(0x0105));
    s.create(volume, b"block", NewBody::Block(0x0801));
    s.link(volume, data, "dir/hard");
    s.link(volume, data, "dir/sub/third");
    s.unlink(volume, "data", false);
    s.rename(volume, "dir/hard", "data", false);
    s.rename(volume, "dir/sub", "other/moved", false);
    s.create(volume, b"empty", NewBody::Dir);
    s.rename(volume, "other", "empty", false);
    s.rename(volume, "empty", "soft", true);
    s.rename(volume, "soft/moved", "fifo", true);
    s.file(volume, "victim", &bytes(6, 5_000));
    s.file(volume, "winner", &bytes(7, 6_000));
    s.rename(volume, "winner", "victim", false);
    let open = s.file(volume, "open", &bytes(8, 10_000));
    s.store.open_handle(volume, open);
    s.unlink(volume, "open", false);
    s.write(volume, open, 3, b"still written to");
    let set = SetAttributes {
        mode: Some(0o4711),
        uid: Some(5),
        gid: Some(6),
        atime: Some(-1_500_000_000),
        mtime: Some(i64::MIN),
    };
    s.submit(Command::SetAttributes {
        volume,
        ino: copy,
        set,
    });
    s.xattr(volume, copy, "user.kept", b"\0\xff value");
    s.xattr(volume, copy, "user.gone", b"x");
    s.xattr(volume, copy, "user.kept", &bytes(9, 60_000));
    s.submit(Command::RemoveXattr {
        volume,
        ino: copy,
        name: b"user.gone"[..].into(),
    });
}

/// Checkpoints of one and several volumes, rollbacks of all sorts, undone and done again; clones, and clones of clones.
fn journeys(s: &Script, a: VolumeId, b: VolumeId) {
    let first = s.checkpoint(&[a], "first");
    let both = s.checkpoint(&[a, b], "both");
    let middle = s.position();
    let data = s.ino(a, "data");
    s.write(a, data, 1, &bytes(10, 30_000));
    s.unlink(a, "victim", false);
    s.unlink(a, "long", false);
    s.file(a, "new", &bytes(11, 100));
    s.file(b, "b-data", &bytes(12, 70_000));
    let before_wreck = s.position();
    s.store.truncate(&actor("user"), a, data, 3).unwrap();
    s.checkpoint(&[b], "only-b");
    s.back(a, Source::Checkpoint(a, first));
    s.write(a, data, 12_000, b"after the rollback");
    s.undo();
    s.back(a, Source::Position(a, before_wreck));
    s.run(Command::RollbackAll { checkpoint: both });
    s.undo();
    s.run(Command::Redo { volume: None });
    s.undo();
    s.files_back(
        a,
        Source::Checkpoint(a, first),
        &["victim", "data"],
        false,
        false,
    );
    s.files_back(
        a,
        Source::Position(a, middle),
        &["copy", "long", "soft"],
        true,
        true,
    );
    s.undo();
    s.run(Command::Redo { volume: Some(a) });

    s.run(Command::CloneCreate {
        name: "clone".into(),
        source: Source::Checkpoint(a, first),
    });
    let clone = s.store.state().volume_named("clone").unwrap().id;
    s.write(clone, data, 0, b"in the clone");
    s.checkpoint(&[clone], "of-clone");
    s.write(clone, data, 50_000, &bytes(13, 12_345));
    s.run(Command::CloneCreate {
        name: "second".into(),
        source: Source::Live(clone),
    });
    s.run(Command::CloneCreate {
        name: "past".into(),
        source: Source::Position(a, middle),
    });
    s.run(Command::CloneReset { volume: clone });
    let second = s.store.state().volume_named("second").unwrap().id;
    s.unlink(second, "copy", false);
    s.run(Command::CloneReset { volume: second });
    s.undo();

    s.run(Command::CheckpointRename {
        checkpoint: both,
        name: "pair".into(),
    });
    s.run(Command::CheckpointRemove { checkpoint: first });
    s.run(Command::CheckpointRemove { checkpoint: both });
    s.undo();
    s.run(Command::VolumeRename {
        volume: b,
        name: "renamed".into(),
    });
    let past = s.store.state().volume_named("past").unwrap().id;
    s.run(Command::VolumeRemove {
        volume: past,
        with_checkpoints: false,
    });
    s.run(Command::VolumeRemove {
        volume: second,
        with_checkpoints: true,
    });
    s.undo();
    s.store.settle().unwrap();
}

/// A command of several frames: a rollback of files that deletes 400 of them.
fn many_frames(s: &Script, volume: VolumeId) {
    s.create(volume, b"crowd", NewBody::Dir);
    s.file(volume, "crowd/old", &bytes(14, 10));
    let before = s.checkpoint(&[volume], "before-crowd");
    for i in 0..400 {
        s.create(volume, format!("crowd/{i:0>200}").as_bytes(), NewBody::File);
    }
    s.checkpoint(&[volume], "crowded");
    s.files_back(
        volume,
        Source::Checkpoint(volume, before),
        &["crowd"],
        false,
        true,
    );
    let reader = s.store.journal().reader();
    let more = reader
        .frames(reader.origin())
        .filter(|frame| frame.as_ref().unwrap().more)
        .count();
    assert!(more > 0, "no command took several frames");
}

/// Checkpoints that keep nothing: one from its beginning, and one that gives up what it kept.
fn lives(s: &Script, volume: VolumeId) {
    let marked = s.file(volume, "marked", &bytes(16, 30_000));
    let kept = s.checkpoint(&[volume], "given-up");
    s.take(&[volume], "marks", true);
    s.write(volume, marked, 4_096, &bytes(17, 9_000));
    s.run(Command::CheckpointConvert { checkpoint: kept });
    s.store.settle().unwrap();
    // A quota to which a removable checkpoint gives way.
    let volume = s.volume("limited");
    let marked = s.file(volume, "written-over", &bytes(19, 30_000));
    let quota = |on| Command::QuotaSet {
        volume,
        quota: Quota {
            hard: Some(4096),
            on,
            ..Quota::default()
        },
        below_use: true,
    };
    let given = s.checkpoint(&[volume], "gives-way");
    s.run(Command::CheckpointFlag {
        checkpoint: given,
        removable: Some(true),
        nomount: None,
    });
    s.write(volume, marked, 0, &bytes(18, 4_096));
    s.run(quota(true));
    s.write(volume, marked, 4_096, &bytes(18, 4_096));
    s.run(quota(false));
    let dropped = !s.store.state().checkpoints.contains_key(&given);
    assert!(dropped, "a checkpoint gave way");
}

pub(crate) fn whole_history() -> Script {
    let s = Script::new();
    let (a, b) = (s.volume("pg"), s.volume("web"));
    contents(&s, a);
    names(&s, a);
    journeys(&s, a, b);
    many_frames(&s, b);
    lives(&s, b);
    let open = s.file(b, "left-open", &bytes(15, 5_000));
    s.store.open_handle(b, open);
    s.unlink(b, "left-open", false);
    s
}
