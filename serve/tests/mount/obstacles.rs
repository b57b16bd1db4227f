//! What stands in the way of a mount is said.

use crate::setting::setting;
use std::fs;
use std::path::Path;
use strand_engine::{Kind, Source};

#[test]
fn every_obstacle_has_its_message() {
    let Some(s) = setting() else { return };
    let dir = |name: &str| {
        let path = s.scratch.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let refused = |source, path: &Path| {
        let refusal = s.live().mount(s.request(source, path)).unwrap_err();
        assert!(refusal.next.is_some(), "{refusal}");
        (refusal.kind, refusal.why.unwrap())
    };
    let live = Source::Live(s.volume);
    let (kind, why) = refused(live, &dir("twice"));
    assert_eq!(kind, Kind::Busy);
    assert!(why.contains("it is mounted at") && why.contains("mnt"));

    let at = s.at.clone();
    s.live().unmount(&at).unwrap();
    assert_eq!(s.live().mounts(), []);
    let full = dir("full");
    fs::write(full.join("x"), b"x").unwrap();
    assert_eq!(refused(live, &full).0, Kind::NotEmpty);
    assert_eq!(refused(live, &full.join("x")).0, Kind::NotADirectory);
    let (_, why) = refused(live, &dir("store/inside"));
    assert!(why.contains("inside the store"), "{why}");
    let (_, why) = refused(live, s.scratch.path());
    assert!(why.contains("hidden by its own mount"), "{why}");
    let mut strangers = s.request(live, &dir("roots"));
    strangers.uid = 12_345;
    let refusal = s.live().mount(strangers).unwrap_err();
    assert_eq!(refusal.kind, Kind::Permission);
    assert_eq!(s.live().mounts(), []);
    let nowhere = s.live().unmount(&at).unwrap_err();
    assert_eq!(nowhere.kind, Kind::NotFound);
}

#[test]
fn a_mount_in_use_is_not_taken_away() {
    let Some(s) = setting() else { return };
    let held = fs::File::create(s.at.join("held")).unwrap();
    let refusal = s.live().unmount(&s.at).unwrap_err();
    assert_eq!(refusal.kind, Kind::Busy);
    assert!(refusal.why.unwrap().ends_with("has held open"));
    let info = &s.live().mounts()[0];
    assert_eq!((info.writers, info.handles), (1, 1));
    drop(held);
    // The kernel tells of the closing a moment later.
    for _ in 0..100 {
        if s.live().mounts()[0].handles == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    s.live().unmount(&s.at).unwrap();
}

#[test]
fn lists_of_mounts_name_the_store() {
    let Some(s) = setting() else { return };
    let store = s.scratch.path().join("store").canonicalize().unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let row = mounts
        .lines()
        .find(|row| row.contains(s.at.to_str().unwrap()))
        .unwrap();
    assert!(row.starts_with(store.to_str().unwrap()), "{row}");
    assert!(
        row.contains(" fuse.strand rw,") && row.contains("default_permissions"),
        "{row}"
    );
}

#[test]
fn a_mount_ended_by_others_is_noticed() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), b"x").unwrap();
    rustix::mount::unmount(&s.at, rustix::mount::UnmountFlags::empty()).unwrap();
    for _ in 0..500 {
        if s.live().mounts().is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(s.live().mounts(), []);
    assert_eq!(s.stored("f").unwrap(), b"x");
}

#[test]
fn a_mount_is_found_again_although_its_directory_was_moved() {
    let Some(mut s) = setting() else { return };
    s.live().unmount(&s.at.clone()).unwrap();
    let (way, elsewhere) = (s.scratch.path().join("way"), s.scratch.path().join("else"));
    fs::create_dir_all(elsewhere.join("mnt")).unwrap();
    let at = s.mount(Source::Live(s.volume), "way/mnt");
    let moved = s.scratch.path().join("moved");
    fs::rename(&way, &moved).unwrap();
    // Another file system of somebody else, where the path leads now.
    std::os::unix::fs::symlink(&elsewhere, &way).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    let other = rustix::mount::mount("tmpfs", elsewhere.join("mnt"), "tmpfs", flags, None);
    if other.is_err() {
        eprintln!("skipped: only root can mount something else here");
        return;
    }
    let unmounted = s.live().unmount(&at);
    let gone = rustix::mount::unmount(elsewhere.join("mnt"), rustix::mount::UnmountFlags::empty());
    unmounted.unwrap();
    gone.expect("it is still there");
    assert!(s.live().mounts().is_empty());
    assert_eq!(fs::read_dir(moved.join("mnt")).unwrap().count(), 0);
}
