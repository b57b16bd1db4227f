//! The independent reader: `tests/independent/fold.py`, written from `docs/format.md` alone, must read from a store's bytes what the
//! engine reads through its own code: every file, every attribute, of every checkpoint and every live volume.
#![allow(clippy::unwrap_used)] // all of it is test code

#[path = "independent/script.rs"]
mod script;

use script::{BEGIN, Script, bytes, whole_history};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command as Process, Output};
use std::sync::Arc;
use strand_engine::digest::tree_digest;
use strand_engine::fold::fold_prefix;
use strand_engine::{Body, Error, Fileset, Ino, Inode, ManualClock, OpenOptions, Source, Store};
use strand_journal::FileDisk;
use strand_tests::history::{Profile, Step, choose, dice};
use strand_tests::lockstep::{Depth, Lockstep};

/// What the reader ends with where there are archives and no program to decompress them.
const NO_ZSTD: i32 = 3;

fn skipped(why: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "the independent reader needs {why}"
    );
    eprintln!("skipped: the independent reader needs {why}, and this machine has none");
}

/// Runs the reader; `None` where this machine has no Python or no zstd (which an automated run must have).
fn fold_py(store: &Path, out: &Path) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent/fold.py");
    match Process::new("python3")
        .arg("-B")
        .arg(script)
        .arg(store)
        .arg(out)
        .output()
    {
        Ok(output) if output.status.code() == Some(NO_ZSTD) => {
            skipped("the program zstd");
            None
        }
        Ok(output) => Some(output),
        Err(_) => {
            skipped("python3");
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The line that the reader should have for an inode.
fn line(volume: &str, view: &str, path: &[u8], ino: Ino, inode: &Inode) -> Value {
    let (kind, size, target, device) = match &inode.body {
        Body::File(file) => ("file", file.size, None, None),
        Body::Dir(_) => ("dir", 0, None, None),
        Body::Symlink(target) => ("symlink", 0, Some(hex(target)), None),
        Body::Fifo => ("fifo", 0, None, None),
        Body::Socket => ("socket", 0, None, None),
        Body::Char(device) => ("char", 0, None, Some(*device)),
        Body::Block(device) => ("block", 0, None, Some(*device)),
    };
    let xattrs: BTreeMap<String, String> = inode
        .xattrs
        .iter()
        .flat_map(|x| x.iter())
        .map(|(name, value)| (hex(name), hex(value)))
        .collect();
    json!({
        "volume": volume, "view": view, "path": hex(path), "ino": ino.0, "type": kind, "size": size, "mode": inode.mode, "uid": inode.uid,
        "gid": inode.gid, "nlink": inode.nlink, "atime": inode.atime, "mtime": inode.mtime, "ctime": inode.ctime, "xattrs": xattrs,
        "target": target, "device": device,
    })
}

/// Every path of a tree.
fn paths(tree: &Fileset) -> Vec<(Vec<u8>, Ino)> {
    let mut all = vec![(Vec::new(), tree.root)];
    let mut next = 0;
    while let Some((path, ino)) = all.get(next).cloned() {
        next += 1;
        for (name, child) in tree.inode(ino).unwrap().names().into_iter().flatten() {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            all.push(([&path, separator, name].concat(), *child));
        }
    }
    all
}

/// Every view that the reader writes: volume, `live` or checkpoint, tree.
fn views(store: &Store) -> Vec<(String, String, Fileset)> {
    let state = store.state();
    let live = state.volumes.iter().map(|(id, v)| {
        (
            v.name.to_string(),
            "live".to_owned(),
            store.view(Source::Live(*id)).unwrap(),
        )
    });
    let images = state
        .checkpoints
        .values()
        .flat_map(|c| c.volumes.iter().map(move |v| (c, v)))
        .map(|(checkpoint, id)| {
            let (volume, image) = (
                state.volume(*id).unwrap(),
                state.image(*id, checkpoint.id).unwrap(),
            );
            (
                volume.name.to_string(),
                checkpoint.name.to_string(),
                Fileset {
                    nodata: image.nodata,
                    ..image.root.clone()
                },
            )
        });
    live.chain(images).collect()
}

/// Holds what the reader makes of a store against what the engine does. Gives the number of files compared.
fn compare(store: &Store, dir: &Path) -> Option<usize> {
    store.sync().unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = fold_py(dir, out.path())?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = told["files"].as_array().unwrap().clone();
    let digests: BTreeMap<[String; 2], String> = told["trees"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| ["volume", "view", "digest"].map(|k| v[k].as_str().unwrap().to_owned()))
        .map(|[volume, view, digest]| ([volume, view], digest))
        .collect();
    let key = |v: &Value| ["volume", "view", "path"].map(|k| v[k].as_str().unwrap().to_owned());
    let mut listed: BTreeMap<[String; 3], Value> =
        listed.into_iter().map(|v| (key(&v), v)).collect();
    let mut files = 0;
    for (volume, view, tree) in views(store) {
        assert_eq!(
            digests.get(&[volume.clone(), view.clone()]),
            Some(&format!("{:032x}", tree_digest(&tree))),
            "the digest of {volume}, {view}"
        );
        for (path, ino) in paths(&tree) {
            let inode = tree.inode(ino).unwrap();
            let expected = line(&volume, &view, &path, ino, inode);
            assert_eq!(listed.remove(&key(&expected)), Some(expected));
            let at = out
                .path()
                .join(&volume)
                .join(&view)
                .join(Path::new(std::ffi::OsStr::from_bytes(&path)));
            match &inode.body {
                Body::File(_) if tree.nodata => assert!(!at.exists(), "{}", at.display()),
                Body::File(file) => {
                    let mut bytes = vec![0; usize::try_from(file.size).unwrap()];
                    assert_eq!(store.read(&tree, ino, 0, &mut bytes).unwrap(), bytes.len());
                    assert!(fs::read(&at).unwrap() == bytes, "{} differs", at.display());
                    files += 1;
                }
                Body::Dir(_) => assert!(fs::symlink_metadata(&at).unwrap().is_dir()),
                Body::Symlink(target) => assert_eq!(
                    fs::read_link(&at).unwrap().as_os_str().as_bytes(),
                    &**target
                ),
                _ => {}
            }
        }
    }
    assert_eq!(
        listed,
        BTreeMap::new(),
        "the reader has what the engine has not"
    );
    Some(files)
}

#[test]
fn the_independent_reader_reads_what_the_engine_reads() {
    let script = whole_history();
    let Some(files) = compare(&script.store, &script.path()) else {
        return;
    };
    assert!(files > 400, "only {files} files");

    // The same after a clean end and a new beginning, with what only open handles kept gone.
    let (path, Script { store, dir }) = (script.path(), script);
    store.close().unwrap();
    let open = |options| -> Result<Store, Error> {
        Store::open(
            Arc::new(FileDisk::open(&path).unwrap()),
            Arc::new(ManualClock::new(BEGIN + (1 << 50))),
            options,
        )
    };
    open(OpenOptions::read_write()).unwrap().close().unwrap();
    assert_eq!(seen(&open(OpenOptions::read_only()).unwrap()), SEEN.into());
    assert!(compare(&open(OpenOptions::read_only()).unwrap(), &path) >= Some(files));
    drop(dir);
}

/// The kinds of events that change what a reader sees.
const SEEN: [&str; 26] = [
    "attributes-set",
    "checkpoint-created",
    "checkpoint-removed",
    "checkpoint-renamed",
    "checkpoint-restored",
    "clone-created",
    "clone-reset",
    "created",
    "exchanged",
    "file-restored",
    "linked",
    "orphan-dropped",
    "preallocated",
    "punched",
    "renamed",
    "rolled-back",
    "shared",
    "truncated",
    "unlinked",
    "volume-created",
    "volume-removed",
    "volume-renamed",
    "volume-restored",
    "written",
    "xattr-removed",
    "xattr-set",
];

/// The kinds of events in a journal, as far as a reader sees what they do.
fn seen(store: &Store) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    fold_prefix(&store.journal().reader(), None, &mut |_, placed| {
        kinds.insert(placed.event.kind());
    })
    .unwrap();
    kinds.retain(|kind| SEEN.contains(kind));
    kinds
}

/// Files beyond this are left to the model: here they are written to a real file system, and read whole.
const LARGEST: u64 = 4 << 20;

/// How far into a file a step reaches.
fn reach(step: &Step) -> u64 {
    match step {
        Step::Write { offset, .. } => *offset,
        Step::Truncate { size, .. } => *size,
        Step::Zero { offset, length, .. } | Step::Preallocate { offset, length, .. } => {
            offset.saturating_add(*length)
        }
        Step::CopyRange { to, .. } => to.1,
        _ => 0,
    }
}

/// One step of both, the engine and the reference; the store's present is remembered.
fn walk(lockstep: &mut Lockstep, step: &Step, seed: u64) {
    lockstep
        .step(step)
        .unwrap_or_else(|e| panic!("seed {seed}: {step:?}: {e}"));
    lockstep
        .compare(Depth::Sampled(u64::MAX))
        .unwrap_or_else(|e| panic!("seed {seed}: after {step:?}: {e}"));
    lockstep.remember();
}

#[test]
fn the_independent_reader_follows_random_histories() {
    for seed in [11, 12] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut lockstep = Lockstep::new(Arc::new(FileDisk::create(&path).unwrap()), 0).unwrap();
        for die in dice(seed, 120) {
            let step = choose(die, &lockstep.reference, Profile::All);
            if reach(&step) > LARGEST {
                continue;
            }
            walk(&mut lockstep, &step, seed);
        }
        if compare(lockstep.store(), &path).is_none() {
            return;
        }
    }
}

/// What is dead was given back, what was alive was moved, and events are in archives; in the end the oldest ones have left the store.
#[test]
fn the_independent_reader_reads_archives_and_from_a_horizon_on() {
    let (mut archived, mut moved_away) = (0, 0);
    for seed in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut lockstep = Lockstep::new(Arc::new(FileDisk::create(&path).unwrap()), 25).unwrap();
        for (turn, die) in dice(seed + 40, 260).into_iter().enumerate() {
            let step = choose(die, &lockstep.reference, Profile::Life);
            let away = matches!(step, Step::MoveArchives(_) | Step::TrimArchives);
            // The first half keeps its events.
            if reach(&step) > LARGEST || away && turn < 130 {
                continue;
            }
            walk(&mut lockstep, &step, seed);
            if turn == 130 || turn == 259 {
                let most_live = 100;
                let now = turn == 130;
                lockstep.step(&Step::Reclaim { now, most_live }).unwrap();
                if compare(lockstep.store(), &path).is_none() {
                    return;
                }
                let segments = lockstep.store().journal().segments();
                archived += segments.iter().filter(|s| s.archive_bytes > 0).count();
            }
        }
        moved_away += u64::from(lockstep.store().state().horizon > 1);
    }
    assert!(archived > 20, "{archived} archives");
    assert!(moved_away > 0, "no events moved away");
}

#[test]
fn the_independent_reader_notices_what_is_damaged() {
    let script = Script::new();
    let volume = script.volume("pg");
    script.file(volume, "data", &bytes(1, 20_000));
    script.checkpoint(&[volume], "kept");
    let path = script.path();
    script.store.close().unwrap();
    let segment = path.join("journal/00000000000000000001.seg");
    let whole = fs::read(&segment).unwrap();
    // The journal's frames: where each begins, and how many header and payload blocks it has.
    let field = |at: usize, bytes: usize| {
        whole[at..at + bytes]
            .iter()
            .rev()
            .fold(0, |n, b| n << 8 | usize::from(*b))
    };
    let mut frames = Vec::new();
    let mut at = 0;
    while at < whole.len() && whole[at..].starts_with(b"STRANDF\0") {
        frames.push((at, field(at + 12, 2), field(at + 14, 2)));
        at += 4096 * (field(at + 12, 2) + field(at + 14, 2));
    }
    let with_payload = frames.iter().find(|(_, _, payload)| *payload > 0).unwrap();
    let payload = with_payload.0 + 4096 * with_payload.1 + 77;
    // In the core, beside it, in what is unused, in the checksum, in a payload block.
    for flip in [
        16,
        100,
        with_payload.0 + 152,
        with_payload.0 + 3_000,
        with_payload.0 + 4_095,
        payload,
    ] {
        let mut damaged = whole.clone();
        damaged[flip] ^= 1;
        fs::write(&segment, &damaged).unwrap();
        let out = tempfile::tempdir().unwrap();
        let Some(output) = fold_py(&path, out.path()) else {
            return;
        };
        assert!(
            !output.status.success(),
            "the reader did not see the flip at {flip}"
        );
        assert!(String::from_utf8_lossy(&output.stderr).contains("Damage"));
    }
    fs::write(&segment, &whole).unwrap();
    let out = tempfile::tempdir().unwrap();
    assert!(fold_py(&path, out.path()).is_some_and(|output| output.status.success()));
}
