//! Mounts by command: views as directories, shadows, and what happens to them when daemons end or die.

use crate::daemon::{Serving, at_rest, is_served, wait_for};
use crate::strand::{Place, command, data, finish};
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;

/// A place with directories to mount on; whatever happens, nothing stays mounted.
struct Mounts {
    place: Place,
}

impl Mounts {
    fn new(test: &str) -> Option<Mounts> {
        if !std::path::Path::new("/dev/fuse").exists() {
            assert!(
                std::env::var_os("STRAND_NO_SKIP").is_none(),
                "{test}: there is no /dev/fuse"
            );
            eprintln!("{test} is skipped: there is no /dev/fuse");
            return None;
        }
        let place = at_rest();
        for name in ["a", "b", "c"] {
            fs::create_dir(place.path().join(name)).expect("made");
        }
        Some(Mounts { place })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // Most are gone already.
        let mut stop = command(self.place.path(), Some(&self.place.store()));
        finish(
            {
                stop.args(["stop", "--force"]);
                stop
            },
            b"",
        );
        for name in ["a", "b", "c"] {
            rustix::mount::unmount(self.at(name), UnmountFlags::DETACH).ok();
        }
    }
}

#[test]
fn a_mount_brings_its_own_daemon_which_ends_with_it() {
    let Some(m) = Mounts::new("a_mount_brings_its_own_daemon_which_ends_with_it") else {
        return;
    };
    let ran = m.place.line("mount pg a").well();
    assert!(ran.out.contains("(read-write)"), "{}", ran.out);
    fs::write(m.at("a").join("f"), b"through the mount\n").expect("written");
    let cat = m.place.line("cat pg /f").well();
    assert_eq!(cat.out, "through the mount\n");
    let list = m.place.line("mount --json").well().json();
    assert_eq!(list["mounts"][0]["view"], "pg");
    assert_eq!(list["mounts"][0]["read_only"], false);
    // Who works in the mount need not name the store.
    let mut inside = command(&m.at("a"), None);
    inside.args(["volume", "list"]);
    assert!(finish(inside, b"").well().out.contains("pg"));
    let status = m.place.line("status").well().out;
    assert!(status.contains("served    by strand["), "{status}");
    assert!(status.contains("MOUNTED"), "{status}");
    m.place.line("checkpoint create monday --volume pg").well();
    m.place.line("mount pg@monday b").well();
    assert_eq!(
        fs::read(m.at("b").join("f")).expect("read"),
        b"through the mount\n"
    );
    assert!(
        fs::write(m.at("b").join("f"), b"x").is_err(),
        "an image is read-only"
    );
    m.place.line("mount pg c").failed(4);
    m.place.line("umount b").well();
    assert!(is_served(&m.place));
    m.place.line("umount a").well();
    wait_for("the daemon ends with its last mount", || {
        !is_served(&m.place)
    });
    m.place.line("umount a").failed(1);
    assert_eq!(m.place.line("mount").well().out, "nothing is mounted\n");
    assert_eq!(m.place.line("cat pg /f").well().out, "through the mount\n");
    m.place.line("verify --data").well();
}

#[test]
fn space_names_the_past_that_somebody_looks_at_in_a_mount() {
    let Some(m) = Mounts::new("space_names_the_past_that_somebody_looks_at_in_a_mount") else {
        return;
    };
    let old = data(64 * 4096, 1);
    m.place.feed("write pg /f --offset 0", &old).well();
    let seq = m.place.line("info --json").well().json()["position"].clone();
    let _serving = Serving::start(&m.place, &["--mount", "pg=a"]);
    let kept = || m.place.line("space --json").well().json()["kept"].clone();
    assert_eq!(kept(), serde_json::json!([]));
    let view = format!(".strand/at/seq:{seq}");
    let mut open = fs::File::open(m.at("a").join(&view).join("f")).expect("opened");
    let said = format!("looked at through {view}");
    assert_eq!(kept(), serde_json::json!([said]));
    let shown = m.place.line("space").well().out;
    let line = format!("  kept for readers: {said}\n");
    assert!(shown.contains(&line), "{shown}");
    // It does hold the space: nobody else reaches that content any more, and it is neither given back nor said to be dead.
    m.place.line("rm pg /f").well();
    m.place.line("space reclaim --now --yes").well();
    let space = m.place.line("space --json").well().json();
    assert_eq!(space["kept"], serde_json::json!([said]));
    // Of the segment that is written to, all that is not live counts as history.
    let number = |space: &Value, key: &str| space[key].as_u64().expect("a number");
    let held = |space: &Value| number(space, "readers_bytes") + number(space, "history_bytes");
    let then = held(&space);
    assert!(number(&space, "readers_bytes") > 0, "{space}");
    assert!(then >= old.len() as u64, "{space}");
    let mut read = Vec::new();
    open.read_to_end(&mut read).expect("read");
    assert!(read == old, "another content");
    drop(open);
    m.place.line("umount a").well();
    wait_for("the view is let go", || kept() == serde_json::json!([]));
    m.place.line("space reclaim --now --yes").well();
    let left = m.place.line("space --json").well().json();
    assert!(held(&left) < then, "{left}");
    assert_eq!(left["readers_bytes"], 0, "{left}");
}

#[test]
fn a_checkpoint_mounts_for_writing_through_a_shadow() {
    let Some(m) = Mounts::new("a_checkpoint_mounts_for_writing_through_a_shadow") else {
        return;
    };
    m.place.feed("write pg /f --offset 0", b"before\n").well();
    m.place.line("checkpoint create monday --volume pg").well();
    m.place
        .line("clone create monday_wr001 --from pg")
        .failed(1);
    let _serving = Serving::start(&m.place, &[]);
    let ran = m.place.line("mount pg@monday a --rw --json").well().json();
    assert_eq!(ran["shadow"], "monday_wr001");
    fs::write(m.at("a").join("f"), b"in the shadow\n").expect("written");
    assert_eq!(m.place.line("cat pg@monday /f").well().out, "before\n");
    assert_eq!(m.place.line("cat pg /f").well().out, "before\n");
    assert_eq!(
        m.place.line("cat monday_wr001 /f").well().out,
        "in the shadow\n"
    );
    let ran = m.place.line("mount pg@monday b --rw --json").well().json();
    assert_eq!(ran["shadow"], "monday_wr002");
    let ran = m.place.line("mount pg@seq:9 c --rw").failed(1);
    assert!(ran.err.contains("the past does not change"), "{}", ran.err);
    m.place.line("umount a").well();
    m.place.line("umount b").well();
    // A shadow stays a volume until it is removed.
    let clones = m.place.line("clone list").well().out;
    assert!(clones.contains("monday_wr001"), "{clones}");
    m.place.line("clone remove monday_wr001 --yes").well();
    m.place.line("rollback pg --to monday").well();
}

#[test]
fn a_stop_waits_for_nobody_unless_files_are_open() {
    let Some(m) = Mounts::new("a_stop_waits_for_nobody_unless_files_are_open") else {
        return;
    };
    let mut serving = Serving::start(&m.place, &["--mount", "pg=a"]);
    let mut open = OpenOptions::new()
        .create(true)
        .append(true)
        .open(m.at("a").join("log"))
        .expect("opened");
    open.write_all(b"one\n").expect("written");
    let ran = m.place.line("stop").failed(4);
    assert!(ran.err.contains("a file is open"), "{}", ran.err);
    m.place.line("umount a").failed(4);
    open.write_all(b"two\n").expect("still mounted");
    m.place.line("stop --force").well();
    assert_eq!(serving.child.wait().expect("ends").code(), Some(0));
    assert!(open.write_all(b"three\n").is_err());
    drop(open);
    assert_eq!(m.place.line("cat pg /log").well().out, "one\ntwo\n");
    // A signal does the same, and says so in the log.
    let mut serving = Serving::start(&m.place, &["--mount", "pg=a"]);
    fs::write(m.at("a").join("log"), b"again\n").expect("written");
    assert_eq!(serving.signal(Signal::TERM), Some(0));
    assert!(!m.at("a").join("log").exists(), "unmounted");
    assert_eq!(m.place.line("cat pg /log").well().out, "again\n");
}

#[test]
fn a_rollback_under_a_mount_needs_force_where_files_are_open() {
    let Some(m) = Mounts::new("a_rollback_under_a_mount_needs_force_where_files_are_open") else {
        return;
    };
    m.place.feed("write pg /f --offset 0", b"before\n").well();
    m.place.line("checkpoint create monday --volume pg").well();
    let _serving = Serving::start(&m.place, &["--mount", "pg=a"]);
    let path = m.at("a").join("f");
    let mut open = OpenOptions::new().write(true).open(&path).expect("opened");
    open.write_all(b"after!\n").expect("written");
    let ran = m.place.line("rollback pg --to monday").failed(4);
    assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
    assert!(ran.err.contains("open for writing"), "{}", ran.err);
    assert_eq!(fs::read(&path).expect("read"), b"after!\n");
    m.place.line("rollback pg --to monday --force").well();
    assert_eq!(fs::read(&path).expect("read"), b"before\n");
    let stale = open.write_all(b"late\n").expect_err("a stale handle");
    assert_eq!(
        stale.raw_os_error(),
        Some(rustix::io::Errno::STALE.raw_os_error())
    );
    drop(open);
    assert_eq!(fs::read(&path).expect("read"), b"before\n");
    m.place.line("undo pg --force").well();
    assert_eq!(fs::read(&path).expect("read"), b"after!\n");
}

#[test]
fn a_mount_takes_away_what_a_killed_daemon_left_there() {
    let Some(m) = Mounts::new("a_mount_takes_away_what_a_killed_daemon_left_there") else {
        return;
    };
    m.place.line("mount pg a").well();
    fs::write(m.at("a").join("f"), b"kept\n").expect("written");
    m.place.line("status").well(); // a reader makes it durable
    let holder = fs::read_to_string(m.place.store().join("lock")).expect("it says who holds it");
    let pid: i32 = holder
        .split(' ')
        .next()
        .expect("a pid")
        .parse()
        .expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, Signal::KILL).expect("ours");
    let dead = || fs::read(m.at("a").join("f")).is_err();
    wait_for("the daemon's end", dead);
    m.place.line("mount pg a").well();
    assert_eq!(
        fs::read(m.at("a").join("f")).expect("mounted anew"),
        b"kept\n"
    );
    m.place.line("umount a").well();
}

#[test]
fn what_a_killed_daemon_left_mounted_is_taken_away() {
    let Some(m) = Mounts::new("what_a_killed_daemon_left_mounted_is_taken_away") else {
        return;
    };
    let mut first = Serving::start(&m.place, &["--mount", "pg=a"]);
    fs::write(m.at("a").join("f"), b"kept\n").expect("written");
    m.place.line("status").well(); // a reader makes it durable
    first.signal(Signal::KILL);
    assert!(fs::read(m.at("a").join("f")).is_err(), "nobody serves it");
    assert_eq!(m.place.line("cat pg /f").well().out, "kept\n");
    let second = Serving::start(&m.place, &["--mount", "pg=a"]);
    let said = second.said.join("");
    assert!(said.contains("which a daemon left that died"), "{said}");
    assert_eq!(
        fs::read(m.at("a").join("f")).expect("mounted anew"),
        b"kept\n"
    );
    drop(second);
    // Without a new daemon, umount takes it away.
    m.place.line("umount a").well();
    assert_eq!(fs::read_dir(m.at("a")).expect("a directory").count(), 0);
}

#[test]
fn who_waits_for_the_daemon_is_told_when_the_mounts_are_there() {
    let Some(m) = Mounts::new("who_waits_for_the_daemon_is_told_when_the_mounts_are_there") else {
        return;
    };
    let told = m.place.path().join("notify");
    let socket = UnixDatagram::bind(&told).expect("bound");
    let patience = Some(std::time::Duration::from_secs(30));
    socket.set_read_timeout(patience).expect("set");
    let mut serve = command(m.place.path(), Some(&m.place.store()));
    serve.args(["serve", "--mount", "pg=a"]);
    let serve = serve.env("NOTIFY_SOCKET", &told).stdout(Stdio::null());
    let mut serve = serve.spawn().expect("the binary starts");
    let hear = || {
        let mut text = [0; 4096];
        let length = socket.recv(&mut text).expect("told");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    assert!(hear().lines().any(|line| line == "READY=1"));
    fs::write(m.at("a").join("f"), b"1").expect("it is mounted");
    m.place.line("stop").well();
    assert!(hear().lines().any(|line| line == "STOPPING=1"));
    assert_eq!(serve.wait().expect("ends").code(), Some(0));
}

#[test]
fn what_only_a_reader_keeps_is_not_dead() {
    let Some(m) = Mounts::new("what_only_a_reader_keeps_is_not_dead") else {
        return;
    };
    let _serving = Serving::start(&m.place, &["--mount", "pg=a"]);
    let size = 1 << 20;
    m.place
        .feed("write pg /f --offset 0", &data(size, 1))
        .well();
    m.place.line("checkpoint create monday --volume pg").well();
    let space = || m.place.line("space --json").well().json();
    let read = fs::File::open(m.at("a").join(".strand/monday/f")).expect("open");
    assert_eq!(space()["readers_bytes"], 0, "the checkpoint keeps it");
    m.place
        .feed("write pg /f --offset 0", &data(size, 2))
        .well();
    m.place.line("checkpoint remove monday --now --yes").well();
    m.place.line("space reclaim --now --yes").well();
    let found = space();
    // But for what lies in the segment that is written to.
    let kept = found["readers_bytes"].as_u64().expect("a number");
    assert!((size as u64 / 2..=size as u64).contains(&kept), "{found}");
    assert_eq!(found["reclaimable_bytes"], 0, "{found}");
    let text = m.place.line("space").well().out;
    assert!(
        text.contains("kept for readers: looked at through .strand/monday"),
        "{text}"
    );
    assert!(text.contains("what only those keep who read it"), "{text}");
    drop(read);
}
