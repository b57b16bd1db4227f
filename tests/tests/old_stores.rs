//! Stores that earlier programs made: every later one opens them, finds them sound, shows what they showed, and goes back in them.
//!
//! `tests/stores/vN.tar.zst` was made when the format became version N, and never changes; `vN.json` is what it showed. Where a new version begins, or what
//! is promised grows, another one is made: `STRAND_MAKE_STORE=vN cargo test -p strand-tests --test old_stores`.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use strand_engine::{Actor, Command, Grade, OpenOptions, Source, Store};
use strand_replay::verify;
use strand_tests::keepsake::{self, Shown};

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stores")
}

/// The archives, oldest first.
fn archives() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(stores())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".tar.zst")?.to_owned()))
        .collect();
    names.sort();
    names
}

fn unpacked(name: &str) -> (tempfile::TempDir, Shown) {
    let directory = tempfile::tempdir().unwrap();
    let packed = File::open(stores().join(format!("{name}.tar.zst"))).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap())
        .unpack(directory.path())
        .unwrap();
    let text = fs::read(stores().join(format!("{name}.json"))).unwrap();
    (directory, serde_json::from_slice(&text).unwrap())
}

fn me() -> Actor {
    Actor {
        grade: Grade::Command,
        name: "later".into(),
        ..Actor::program()
    }
}

fn sound(store: &Store, what: &str) {
    let options = verify::Options {
        data: true,
        from_scratch: true,
        ..verify::Options::default()
    };
    let report = verify::verify(store, &options, &|_| {}).unwrap();
    assert!(report.ok(), "{what}: {:?}", report.findings);
}

#[test]
fn make_one_where_asked() {
    let Ok(name) = std::env::var("STRAND_MAKE_STORE") else {
        // The store that would be made is one that this program itself can read.
        let directory = tempfile::tempdir().unwrap();
        let shown = keepsake::make(directory.path());
        let store = keepsake::open(directory.path(), OpenOptions::read_only());
        assert_eq!(keepsake::shown(&store), shown);
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let shown = keepsake::make(directory.path());
    fs::create_dir_all(stores()).unwrap();
    let text = serde_json::to_string_pretty(&shown).unwrap() + "\n";
    fs::write(stores().join(format!("{name}.json")), text).unwrap();
    let packed = File::create_new(stores().join(format!("{name}.tar.zst"))).unwrap();
    let mut tar = tar::Builder::new(zstd::Encoder::new(packed, 19).unwrap());
    tar.append_dir_all(".", directory.path()).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

#[test]
fn old_stores_open_verify_and_show_what_they_showed() {
    let names = archives();
    assert!(names.contains(&"v1".to_owned()), "{names:?}");
    for name in names {
        let (directory, expected) = unpacked(&name);
        let store = keepsake::open(directory.path(), OpenOptions::read_only());
        assert_eq!(keepsake::shown(&store), expected, "{name}");
        sound(&store, &name);
        drop(store);
        let scratch = OpenOptions {
            ignore_state_files: true,
            ..OpenOptions::read_only()
        };
        let store = keepsake::open(directory.path(), scratch);
        assert_eq!(keepsake::shown(&store), expected, "{name}, folded");
    }
}

#[test]
fn old_stores_go_back_and_go_on() {
    for name in archives() {
        let (directory, expected) = unpacked(&name);
        let store = keepsake::open(directory.path(), OpenOptions::read_write());
        let state = store.state();
        let volume = state.volume_names["pg"];
        let source = Source::Checkpoint(volume, state.checkpoint_names["first"]);
        let back = Command::Rollback {
            volume,
            source,
            only: true,
        };
        store.run(&me(), back).unwrap();
        let now = keepsake::shown(&store);
        assert_eq!(now["pg"], expected["pg@first"], "{name}");
        store.run(&me(), Command::Undo { volume: None }).unwrap();
        assert_eq!(keepsake::shown(&store)["pg"], expected["pg"], "{name}");
        store.close().unwrap();
        let store = keepsake::open(directory.path(), OpenOptions::read_only());
        sound(&store, &name);
    }
}
