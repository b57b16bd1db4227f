//! Files in and out: what is imported comes out the same, what did not change is not written, what is there is not replaced.

use crate::strand::{Place, data, finish};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A tree with one of everything that an ordinary user can make.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/b/c")).expect("made");
    fs::create_dir(root.join("empty")).expect("made");
    fs::write(root.join("a/small"), b"small").expect("written");
    fs::write(root.join("a/nothing"), b"").expect("written");
    fs::write(root.join("a/b/large"), data(3 * (1 << 20) + 17, 1)).expect("written");
    fs::hard_link(root.join("a/small"), root.join("a/b/c/second-name")).expect("linked");
    symlink("../small", root.join("a/b/link")).expect("linked");
    symlink("/nowhere/at all", root.join("dangling")).expect("linked");
    rustix::fs::mknodat(
        CWD,
        root.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .expect("made");
    let sparse = fs::File::create(root.join("sparse")).expect("made");
    sparse.set_len(64 << 20).expect("set");
    sparse
        .write_all_at(b"in the middle", (32 << 20) + 5)
        .expect("written");
    fs::set_permissions(root.join("a/small"), fs::Permissions::from_mode(0o4751)).expect("set");
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1777)).expect("set");
    rustix::fs::setxattr(
        root.join("a/small"),
        "user.colour",
        b"sea \0 green",
        XattrFlags::empty(),
    )
    .ok();
    let old = rustix::fs::Timespec {
        tv_sec: -86_400,
        tv_nsec: 123_456_789,
    };
    let times = rustix::fs::Timestamps {
        last_access: old,
        last_modification: old,
    };
    for path in ["a/nothing", "dangling", "a/b"] {
        rustix::fs::utimensat(
            CWD,
            root.join(path),
            &times,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .expect("set");
    }
}

/// Every file of a tree with what has to survive.
fn listing(root: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(path) = stack.pop() {
        let m = fs::symlink_metadata(&path).expect("there");
        let name = path
            .strip_prefix(root)
            .expect("below")
            .display()
            .to_string();
        let mtime = (m.mtime(), m.mtime_nsec());
        let content = match m.file_type() {
            t if t.is_dir() => {
                stack.extend(
                    fs::read_dir(&path)
                        .expect("readable")
                        .map(|e| e.expect("readable").path()),
                );
                "directory".to_owned()
            }
            t if t.is_symlink() => {
                format!("-> {}", fs::read_link(&path).expect("a link").display())
            }
            t if t.is_fifo() => "fifo".to_owned(),
            _ => format!(
                "{} bytes, {:x}",
                m.len(),
                sum(&fs::read(&path).expect("readable"))
            ),
        };
        let links = if m.is_dir() { 0 } else { m.nlink() };
        let mut value = [0; 64];
        let colour = rustix::fs::lgetxattr(&path, "user.colour", &mut value[..]).unwrap_or(0);
        rows.push(format!(
            "{name} {:o} {}:{} {mtime:?} {links} {content} {:?}",
            m.mode(),
            m.uid(),
            m.gid(),
            &value[..colour]
        ));
    }
    rows.sort();
    rows
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(14_695_981_039_346_656_037, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(1_099_511_628_211)
    })
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let place = Place::with_volumes(&["v"]);
    let source = place.path().join("source");
    tree(&source);
    let before = listing(&source);
    place.line("import v source").well();
    place.line("export v / out").well();
    assert_eq!(listing(&place.path().join("out")), before);
    let sparse = fs::metadata(place.path().join("out/sparse")).expect("there");
    assert!(
        sparse.blocks() * 512 < 1 << 20,
        "holes stay holes: {} sectors",
        sparse.blocks()
    );
    // A part of it, under another name, and one file.
    place.line("export v /a/b part").well();
    assert_eq!(
        fs::read(place.path().join("part/large")).expect("there"),
        data(3 * (1 << 20) + 17, 1)
    );
    place.line("export v /a/b/link link-itself").well();
    assert_eq!(
        fs::read_link(place.path().join("link-itself")).expect("a link"),
        Path::new("../small")
    );
    place.line("verify --data").well();
}

#[test]
fn importing_again_writes_only_the_blocks_that_differ() {
    let place = Place::with_volumes(&["v"]);
    let mut bytes = data(600 * 4096 + 100, 2);
    place.file("file", &bytes);
    let first = place.line("import v file --json").well().json();
    assert_eq!(
        (&first["blocks_written"], &first["created"]),
        (&601.into(), &1.into())
    );
    place.line("checkpoint create before").well();
    let again = place.line("import v file --json").well().json();
    assert_eq!(
        (&again["blocks_written"], &again["blocks_unchanged"]),
        (&0.into(), &601.into())
    );
    assert_eq!(again["passed"], serde_json::json!([]));

    bytes[5 * 4096 + 1] ^= 1;
    bytes[400 * 4096] ^= 1;
    bytes[500 * 4096..502 * 4096].fill(0);
    bytes.truncate(599 * 4096 + 7);
    place.file("file", &bytes);
    let changed = place.line("import v file --json").well().json();
    // Two changed, one cut in its middle; two became a hole.
    assert_eq!(changed["blocks_written"], 3, "{changed}");
    place.line("export v /file out").well();
    assert_eq!(fs::read(place.path().join("out")).expect("there"), bytes);
    let shown = place.line("checkpoint show before --json").well().json();
    // Five blocks written over or punched, and the two cut off.
    assert_eq!(
        shown["volumes"][0]["ledger"]["copied_out"]["blocks"], 6,
        "{shown}"
    );
    place.line("verify --data").well();
}

#[test]
fn a_large_file_goes_through_the_pipeline_and_back() {
    let place = Place::with_volumes(&["v"]);
    let mut bytes = data(40 << 20, 3);
    bytes[10 << 20..20 << 20].fill(0);
    place.file("file", &bytes);
    let done = place.line("import v file /there --json").well().json();
    assert_eq!(done["blocks_written"], 30 * 256);
    place.line("export v /there out").well();
    assert!(fs::read(place.path().join("out")).expect("there") == bytes);
    assert!(
        finish(place.command(["cat", "v", "/there"]), b"")
            .well()
            .out
            .len()
            > 1 << 20
    );
}

#[test]
fn dest_says_where_and_what_stands_there_is_respected() {
    let place = Place::with_volumes(&["v"]);
    fs::create_dir_all(place.path().join("dir")).expect("made");
    place.file("dir/f", b"1");
    place.file("one", b"one");
    place.line("import v dir /new").well();
    place.line("import v one /new").well();
    place.line("import v one /new/two").well();
    place.line("import v one").well();
    assert_eq!(
        place.line("ls -R v").well().out,
        "new\nnew/f\nnew/one\nnew/two\none\n"
    );
    place.line("import v dir /one").failed(1);
    place.file("dir/new", b"a file where a directory is");
    place.line("import v dir /").failed(1);
    assert_eq!(place.line("cat v /new/one").well().out, "one");
}

#[test]
fn export_refuses_what_exists_and_force_replaces_it_whole() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /f --offset 0", b"new").well();
    place.line("mkdir v /d").well();
    let out = place.file("out", b"old");
    place.line("export v /f out").failed(1);
    assert_eq!(fs::read(&out).expect("there"), b"old");
    place.line("export v /f out --force").well();
    assert_eq!(fs::read(&out).expect("there"), b"new");
    place.line("export v /d out --force").well();
    assert!(out.is_dir());
    let left: Vec<_> = fs::read_dir(place.path())
        .expect("readable")
        .map(|e| e.expect("readable").file_name())
        .collect();
    assert!(
        left.iter()
            .all(|n| n == OsStr::new("out") || n == OsStr::new("store")),
        "{left:?}"
    );
    assert_eq!(place.line("export v /f -").well().out, "new");
    place.line("export v /f missing/out").failed(1);
}

#[test]
fn changing_files_without_a_mount() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /f --offset 0", b"hello").well();
    place.feed("write v /f --offset 8190", b"world").well();
    assert_eq!(
        place.line("cat v /f").well().out,
        format!("hello{}world", "\0".repeat(8185))
    );
    place.file("in", b"HE");
    place.line("write v /f --offset 0 --input in").well();
    place.line("truncate v /f --size 5").well();
    assert_eq!(place.line("cat v /f").well().out, "HEllo");
    place.line("truncate v /f --size 8KiB").well();
    assert_eq!(place.line("stat v /f --json").well().json()["size"], 8192);

    place.line("mkdir -p v /a/b/c").well();
    place.line("mkdir -p v /a/b/c").well();
    place.line("mkdir v /a/d /a/e").well();
    place.line("mv v /f /a/b").well();
    place.line("mv v /a/b/f /a/g").well();
    place.feed("write v /h --offset 0", b"other").well();
    place.line("mv v /h /a/g --no-replace").failed(1);
    place.line("mv v /h /a/g --exchange").well();
    assert_eq!(place.line("cat v /a/g").well().out, "other");
    place.line("mv v /a /a/b/inside").failed(1);
    place.line("rm v /a").failed(1);
    place.line("rm -r v /a").well();
    assert_eq!(place.line("ls -R v").well().out, "h\n");
    place.line("verify --data").well();
}

#[test]
fn links_are_followed_inside_the_volume_only() {
    let place = Place::with_volumes(&["v"]);
    let dir = place.path().join("dir");
    fs::create_dir_all(dir.join("real")).expect("made");
    fs::write(dir.join("real/f"), b"found").expect("written");
    symlink("real", dir.join("way")).expect("linked");
    symlink("/real/f", dir.join("absolute")).expect("linked");
    symlink("loop", dir.join("loop")).expect("linked");
    symlink("/etc/hostname", dir.join("outside")).expect("linked");
    place.line("import v dir").well();
    assert_eq!(place.line("cat v /way/f").well().out, "found");
    assert_eq!(place.line("cat v /absolute").well().out, "found");
    place.line("cat v /loop").failed(1);
    place.line("cat v /outside").failed(1);
    assert_eq!(
        place.line("stat v /way --json").well().json()["kind"],
        "symlink"
    );
    assert_eq!(place.line("ls v /way").well().out, "f\n");
    place.line("rm v /way").well();
    assert_eq!(place.line("cat v /real/f").well().out, "found");
}
