//! A disk that is full, a real one: ext4 on a loop device (where the machine has none, a tmpfs of that size), with a daemon on it and SQLite writing until there is no room. Nothing that was acknowledged is lost, it
//! can be read, rolled back and emptied as it is, and then work goes on.

use crate::bank::{Journal, Worker};
use crate::machine;
use crate::place::Place;
use crate::random::Random;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const MIB: u64 = 1 << 20;
const DISK: u64 = 200 * MIB;
/// What is written over between checkpoints, so that they come to own much.
const BALLAST: u64 = 20 * MIB;
/// More of these than fit.
const TURNS: u64 = 16;
const PATIENCE: Duration = Duration::from_secs(120);

/// A file system of its own. Unmounted with it.
struct LoopDisk {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl LoopDisk {
    /// Says why where there can be none.
    fn new(test: &str) -> Option<Self> {
        if !machine::is_root() {
            machine::skip(test, "only root mounts a loop device");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("disk"));
        let made = File::create(&image).and_then(|file| file.set_len(DISK));
        made.and_then(|()| fs::create_dir(&at)).expect("room");
        let run = |program: &str, arguments: &[&OsStr]| {
            let mut command = Command::new(program);
            command.args(arguments).stdout(Stdio::null());
            command.stderr(Stdio::null()).status()
        };
        let fine = |status: std::io::Result<std::process::ExitStatus>| {
            status.is_ok_and(|status| status.success())
        };
        let options = ["-q", "-F", "-m", "0"].map(OsStr::new);
        if !fine(run(
            "mkfs.ext4",
            &[&options[..], &[image.as_os_str()]].concat(),
        )) {
            machine::skip(test, "there is no mkfs.ext4");
            return None;
        }
        let options = ["-o", "loop"].map(OsStr::new);
        let places = [image.as_os_str(), at.as_os_str()];
        if !fine(run("mount", &[&options[..], &places[..]].concat())) {
            // Containers often have no loop devices; no installation brings them.
            let options = format!("size={DISK},mode=755");
            let options = ["-t", "tmpfs", "-o", &options, "none"].map(OsStr::new);
            if !fine(run("mount", &[&options[..], &places[1..]].concat())) {
                machine::pass_over(test, "nothing can be mounted here");
                return None;
            }
            println!("{test}: a tmpfs stands in for the loop device");
        }
        Some(Self { at, _dir: dir })
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(&self.at).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Somebody else takes all that is left.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("foreign");
        let mut file = File::create(&path).expect("a file");
        for size in [MIB as usize, 4096] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        file.sync_all().ok();
        path
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        for way in [&["umount"][..], &["umount", "-l"]] {
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).arg(&self.at).stderr(Stdio::null());
            if command.status().is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

#[test]
fn a_store_of_a_capacity_fills_up_and_is_emptied_again() {
    fills_up("full disk, capacity", Some("110MiB"), false);
}

#[test]
fn a_disk_fills_up_without_any_capacity_and_is_emptied_again() {
    fills_up("full disk", None, false);
}

#[test]
fn a_disk_that_somebody_else_filled_to_the_last_block_is_emptied_again() {
    fills_up("full disk, foreign", None, true);
}

/// Writes the ballast over; says whether there was room.
fn write_over(path: &Path, random: &mut Random) -> bool {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .expect("it opens, however full");
    let mut part = vec![0; MIB as usize];
    let written = (0..BALLAST / MIB).try_for_each(|_| {
        let words = part.chunks_exact_mut(8);
        words.for_each(|word| word.copy_from_slice(&random.next().to_le_bytes()));
        file.write_all(&part)
    });
    written.and_then(|()| file.sync_all()).is_ok()
}

fn fills_up(test: &str, capacity: Option<&str>, foreign: bool) {
    if !machine::fuse(test) {
        return;
    }
    let Some(disk) = LoopDisk::new(test) else {
        return;
    };
    let mut random = Random::seeded(test);
    let mut place = Place::empty(None);
    let store = disk.at.join("store");
    let mut init = vec!["init".as_ref(), store.as_os_str()];
    init.extend(["--segment-size", "1MiB"].map(OsStr::new));
    if let Some(capacity) = capacity {
        init.extend(["--capacity", capacity].map(OsStr::new));
    }
    place.run(init);
    std::os::unix::fs::symlink(&store, place.store()).expect("a name for it");
    place.run(["volume", "create", "bank"]);
    place.serve();
    let mount = place.mount("bank", "mnt", &[]);
    let (database, ballast) = (mount.join("bank.db"), mount.join("ballast"));
    let journal = Journal::Delete;
    let mut writer = Worker::start(&place, "writer", &database, journal, "writer");
    machine::wait_for("some commits", PATIENCE, || {
        assert!(writer.is_working(), "{}", writer.said());
        writer.last("committed") > 20
    });
    let then = writer.last("committed");
    place.run(["checkpoint", "create", "before"]);

    // Until there is no room: neither for the ballast nor for SQLite.
    let mut taken = Vec::new();
    for turn in 0..TURNS {
        if !write_over(&ballast, &mut random) {
            break;
        }
        taken.push(format!("c{turn}"));
        place.run(["checkpoint", "create", &taken[turn as usize]]);
    }
    assert!((2..TURNS as usize).contains(&taken.len()), "{taken:?}");
    machine::wait_for("SQLite to find no room", PATIENCE, || !writer.is_working());
    let (said, acknowledged) = (writer.said(), writer.last("committed"));
    assert!(said.contains("failed: "), "{said}");
    let theirs = foreign.then(|| disk.fill());
    assert!(place.is_served(), "{}", place.daemon_said());

    // As full as it is: it reads, it goes back and forth, and checkpoints go.
    let full = fs::read(&ballast).expect("it reads");
    assert_eq!(full.len() as u64, BALLAST);
    for command in ["status", "space", "info"] {
        place.run([command]);
    }
    if let Some(theirs) = theirs {
        // They took even what the store keeps back for what follows.
        fs::remove_file(theirs).expect("ours");
    }
    let free = disk.free();
    place.run(["rollback", "bank", "--to", "before", "--yes"]);
    assert!(!ballast.exists(), "it was not there then");
    place.run(["undo", "bank", "--yes"]);
    assert!(fs::read(&ballast).expect("it reads") == full);
    for checkpoint in &taken {
        place.run(["checkpoint", "remove", checkpoint, "--now", "--yes"]);
    }
    place.run(["space", "reclaim", "--now", "--yes"]);
    let back = disk.free().saturating_sub(free);
    let least = (taken.len() as u64 - 1) * BALLAST / 2;
    assert!(back > least, "{back} bytes came back, {free} were free");
    assert!(fs::read(&ballast).expect("it reads") == full);

    // There is room again: all that was acknowledged is there, and work goes on.
    let sound = |name: &str, least: i64| {
        let mut check = Worker::start(&place, "check", &database, journal, name);
        let status = check.end();
        assert!(status.success(), "{name}: {}", check.said());
        let last = check.last("sound");
        assert!(last >= least, "{name}: {last} of {least}");
        last
    };
    sound("emptied", acknowledged);
    let mut writer = Worker::start(&place, "writer", &database, journal, "again");
    machine::wait_for("commits again", PATIENCE, || {
        assert!(writer.is_working(), "{}", writer.said());
        writer.last("committed") > acknowledged + 20
    });
    writer.kill();
    drop(writer);
    place.run(["rollback", "bank", "--to", "before", "--yes"]);
    assert!(sound("back", then) < acknowledged);
    place.unmount("mnt");
    place.stop();
    place.run(["verify", "--data"]);
    println!(
        "{test}: {} checkpoints, {acknowledged} transactions, {back} bytes came back",
        taken.len()
    );
    drop(place);
    drop(disk);
}
