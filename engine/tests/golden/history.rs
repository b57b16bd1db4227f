//! A history with every kind of event, and its journal as text.

use super::b;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use strand_engine::fold::fold_prefix;
use strand_engine::*;
use strand_journal::{Disk, MemoryDisk};

const BEGIN: u64 = 1_800_000_000_000_000_000;

/// The script: a store, who acts, and the volume acted upon.
struct Script {
    store: Store,
    clock: Arc<ManualClock>,
    volume: VolumeId,
}

impl Script {
    fn begin() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let clock = Arc::new(ManualClock::new(BEGIN));
        let options = InitOptions {
            segment_size: 64 << 10,
            capacity: None,
            store: StoreId([7; 16]),
        };
        let store = Store::init(disk, clock.clone(), options, &ada()).unwrap();
        let volume = VolumeId(1);
        let script = Self {
            store,
            clock,
            volume,
        };
        script.run(Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 7,
            gid: 8,
        });
        script
    }

    fn run(&self, command: Command) -> Done {
        self.store.run(&ada(), command).unwrap()
    }

    fn refused(&self, command: Command) {
        assert!(matches!(
            self.store.run(&ada(), command),
            Err(Error::Refused(_))
        ));
    }

    fn root(&self) -> Ino {
        self.store.state().volume(self.volume).unwrap().live.root
    }

    fn ino(&self, path: &str) -> Ino {
        self.store
            .state()
            .volume(self.volume)
            .unwrap()
            .live
            .lookup(path.as_bytes())
            .unwrap()
    }

    fn create(&self, dir: Ino, name: &str, body: NewBody) -> Ino {
        let mode = if body == NewBody::Dir { 0o755 } else { 0o644 };
        self.run(Command::Create {
            volume: self.volume,
            dir,
            name: b(name),
            body,
            mode,
            uid: 7,
            gid: 8,
        });
        self.store
            .state()
            .volume(self.volume)
            .unwrap()
            .live
            .child(dir, name.as_bytes())
            .unwrap()
    }

    fn write(&self, ino: Ino, offset: u64, fill: u8, length: usize) {
        self.store
            .write(&sqlite(), self.volume, ino, offset, &vec![fill; length])
            .unwrap();
    }

    fn rename(&self, from: &str, to: &str, exchange: bool) {
        let dir = self.root();
        let (volume, from_name, to_name) = (self.volume, b(from), b(to));
        self.run(Command::Rename {
            volume,
            from_dir: dir,
            from_name,
            to_dir: dir,
            to_name,
            no_replace: false,
            exchange,
        });
    }

    fn unlink(&self, name: &str) {
        self.run(Command::Unlink {
            volume: self.volume,
            dir: self.root(),
            name: b(name),
            dir_wanted: false,
        });
    }

    fn checkpoint(&self, name: &str) -> CheckpointId {
        let volumes = vec![self.volume];
        let note = "for the golden".into();
        self.run(Command::CheckpointCreate {
            name: Some(name.into()),
            volumes,
            nomount: false,
            removable: false,
            nodata: false,
            note,
        });
        self.store.state().checkpoint_named(name).unwrap().id
    }
}

fn ada() -> Actor {
    Actor {
        grade: Grade::Command,
        uid: 7,
        pid: 70,
        name: "strand".into(),
        login: "ada".into(),
        ..Actor::program()
    }
}

fn sqlite() -> Actor {
    Actor {
        grade: Grade::Caller,
        uid: 7,
        pid: 812,
        started: 99,
        name: "sqlite3".into(),
        ..Actor::program()
    }
}

/// Plays the history.
fn play() -> Script {
    let script = Script::begin();
    let (store, volume, root) = (&script.store, script.volume, script.root());
    files(&script);
    let data = script.ino("data");

    let before = script.checkpoint("before");
    let boundary = store.state().boundary;
    script.write(data, 4096, 0x22, 5000);
    store.punch(&sqlite(), volume, data, 8192, 4096).unwrap();
    store.truncate(&sqlite(), volume, data, 1000).unwrap();
    script.unlink("copy");
    script.run(Command::Create {
        volume,
        dir: root,
        name: b("new"),
        body: NewBody::File,
        mode: 0o600,
        uid: 7,
        gid: 8,
    });
    script.run(Command::Rollback {
        volume,
        source: Source::Checkpoint(volume, before),
        only: false,
    });
    assert!(store.settle().unwrap() > 0);
    script.run(Command::Undo { volume: None });
    script.run(Command::Redo { volume: None });
    script.run(Command::Rollback {
        volume,
        source: Source::Position(volume, boundary),
        only: false,
    });
    script.write(data, 0, 0x33, 4096);
    script.run(Command::RollbackFiles {
        volume,
        source: Source::Checkpoint(volume, before),
        paths: vec![b("data")],
        attributes: true,
        delete_new: true,
    });

    script.run(Command::CheckpointHold {
        checkpoint: before,
        held: true,
    });
    script.refused(Command::CheckpointRemove { checkpoint: before });
    script.run(Command::CheckpointHold {
        checkpoint: before,
        held: false,
    });
    script.run(Command::CheckpointFlag {
        checkpoint: before,
        removable: Some(true),
        nomount: None,
    });
    script.run(Command::CheckpointRename {
        checkpoint: before,
        name: "old".into(),
    });
    script.run(Command::CheckpointRemove { checkpoint: before });
    script.run(Command::Undo { volume: None });

    script.run(Command::CloneCreate {
        name: "trial".into(),
        source: Source::Checkpoint(volume, before),
    });
    let trial = store.state().volume_named("trial").unwrap().id;
    store
        .write(&sqlite(), trial, data, 0, &[0x44; 4096])
        .unwrap();
    script.run(Command::CloneReset { volume: trial });
    script.run(Command::VolumeRename {
        volume: trial,
        name: "second".into(),
    });
    script.run(Command::VolumeRemove {
        volume: trial,
        with_checkpoints: true,
    });
    script.run(Command::Undo {
        volume: Some(trial),
    });
    store.record_digest().unwrap();
    script.clock.jump_to(BEGIN + 3_600_000_000_000);
    script.write(data, 0, 0x55, 10);
    life_of_checkpoints(&script, data, before);
    space(&script, data);
    store.sync().unwrap();
    script
}

/// What changes without a before-image, and images that are given up.
fn life_of_checkpoints(script: &Script, data: Ino, old: CheckpointId) {
    script.run(Command::CheckpointCreate {
        name: Some("marks".into()),
        volumes: vec![script.volume],
        nomount: false,
        removable: false,
        nodata: true,
        note: String::new(),
    });
    script.write(data, 0, 0x66, 4096);
    script.run(Command::CheckpointConvert { checkpoint: old });
    assert!(script.store.settle().unwrap() > 0);
    let limits = Quota {
        hard: Some(4096),
        on: true,
        ..Quota::default()
    };
    script.run(Command::QuotaSet {
        volume: script.volume,
        quota: limits,
        below_use: true,
    });
    let latest = script.checkpoint("latest");
    script.run(Command::CheckpointFlag {
        checkpoint: latest,
        removable: Some(true),
        nomount: None,
    });
    script.write(data, 0, 0x77, 4096);
}

/// What is moved, given back and forgotten. Told, not done: the segment itself stays where it is.
fn space(script: &Script, data: Ino) {
    let (store, volume) = (&script.store, script.volume);
    script.run(Command::RetentionSet {
        volume,
        retention: Retention {
            age: Some(3_600_000_000_000),
            bytes: None,
        },
    });
    let schedule = Schedule {
        every: 900_000_000_000,
        keep: vec![Keep {
            age: 14_400_000_000_000,
            every: 0,
        }],
    };
    script.run(Command::ScheduleSet {
        volume,
        schedule: Some(schedule),
    });
    script.run(Command::AuditSet {
        keep: Some(1 << 20),
    });
    let thinned = script.checkpoint("thinned");
    script.run(Command::CheckpointGiveUp {
        checkpoint: thinned,
        cause: GiveUp::Asked,
    });
    let own = |command, payload: &[Block]| {
        store
            .submit_with(&Actor::program(), command, payload)
            .unwrap()
    };
    let before = store.state().boundary;
    own(Command::ReleaseHistory { before }, &[]);
    let place = Place {
        ino: data,
        block: 0,
    };
    let version = store.live(volume).unwrap().version(place).unwrap();
    let births = vec![(version.addr().0, 1)];
    own(
        Command::Relocate { births },
        &[Block::from_slice(&[0x77; 4096])],
    );
    let blocks = store.journal().blocks_per_segment();
    let ranges = vec![(u64::from(blocks), blocks)];
    own(Command::ReclaimSegments { ranges }, &[]);
    let chain = [7; 32];
    own(Command::MoveArchive { before, chain }, &[]);
}

/// Every kind of inode, and what happens to names and contents without a checkpoint.
fn files(script: &Script) {
    let (store, volume, root) = (&script.store, script.volume, script.root());
    let data = script.create(root, "data", NewBody::File);
    script.write(data, 0, 0x11, 10_000);
    let dir = script.create(root, "dir", NewBody::Dir);
    script.create(dir, "link", NewBody::Symlink(b("../data")));
    script.create(root, "pipe", NewBody::Fifo);
    script.run(Command::Link {
        volume,
        ino: data,
        dir,
        name: b("hard"),
    });
    let copy = script.create(root, "copy", NewBody::File);
    store
        .copy_range(&sqlite(), volume, data, 0, copy, 4096, 8192)
        .unwrap();
    script.run(Command::Preallocate {
        volume,
        ino: copy,
        offset: 0,
        length: 1 << 20,
        keep_size: false,
    });
    script.rename("copy", "moved", false);
    script.rename("moved", "pipe", true);
    script.rename("pipe", "copy", false);
    let gone = script.create(root, "gone", NewBody::File);
    store.open_handle(volume, gone);
    script.unlink("gone");
    store.close_handle(&sqlite(), volume, gone).unwrap();
    script.create(root, "over", NewBody::File);
    script.rename("moved", "over", false);
    let set = SetAttributes {
        mode: Some(0o600),
        mtime: Some(-1),
        ..SetAttributes::default()
    };
    script.run(Command::SetAttributes {
        volume,
        ino: data,
        set,
    });
    script.run(Command::SetXattr {
        volume,
        ino: data,
        name: b("user.kind"),
        value: b("table"),
        create: None,
    });
    script.run(Command::RemoveXattr {
        volume,
        ino: data,
        name: b("user.kind"),
    });
}

/// The journal of the history, one event a line, and the kinds in it.
pub(crate) fn dump() -> (String, BTreeSet<&'static str>) {
    let script = play();
    let mut lines = Vec::new();
    let mut kinds = BTreeSet::new();
    let state = fold_prefix(&script.store.journal().reader(), None, &mut |_, placed| {
        // Where events go back to a position, the fold runs again: the last run's lines count.
        lines.truncate(usize::try_from(placed.seq).unwrap() - 1);
        kinds.insert(placed.event.kind());
        let mut line = format!(
            "{:3} {:14} a{}",
            placed.seq,
            placed.time - BEGIN,
            placed.actor
        );
        line.push_str(if placed.last { " * " } else { "   " });
        write!(
            line,
            "{} {}",
            placed.event.kind(),
            with_texts(&format!("{:?}", placed.event))
        )
        .unwrap();
        let crcs: Vec<String> = placed.crcs.iter().map(|crc| format!("{crc:08x}")).collect();
        if !crcs.is_empty() {
            write!(line, " at {} [{}]", placed.first.0, crcs.join(" ")).unwrap();
        }
        lines.push(line);
    });
    assert_eq!(state.unwrap().seq, lines.len() as u64);
    let text = lines
        .join("\n")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    (text, kinds)
}

/// `[100, 105, 114]` as `b"dir"`: names are bytes, and readable ones read better.
fn with_texts(debug: &str) -> String {
    let mut text = String::new();
    let mut rest = debug;
    while let Some(open) = rest.find('[') {
        let (before, from) = rest.split_at(open);
        text.push_str(before);
        let close = from.find(']').map_or(from.len(), |at| at + 1);
        let (list, after) = from.split_at(close);
        let inner = list.strip_prefix('[').and_then(|l| l.strip_suffix(']'));
        let bytes: Option<Vec<u8>> = inner
            .unwrap_or_default()
            .split(", ")
            .map(|n| n.parse().ok())
            .collect();
        match bytes {
            Some(bytes) if bytes.iter().all(u8::is_ascii_graphic) => {
                write!(text, "b{:?}", String::from_utf8_lossy(&bytes)).unwrap();
                rest = after;
            }
            _ => {
                text.push('[');
                rest = &from[1..];
            }
        }
    }
    text + rest
}
