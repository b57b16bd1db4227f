//! The first five minutes of an ordinary user: what the README shows, and a live volume with nothing but `/dev/fuse`.

use crate::machine;
use crate::place::{Place, is_mount_point};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The commands of the README's tour, as they are pasted; only where they put things is replaced.
fn tour(dir: &Path) -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"))
        .expect("the README");
    let (_, behind) = readme
        .split_once("## A tour\n")
        .expect("the README has a tour");
    let lines = behind
        .lines()
        .skip_while(|line| line.trim().is_empty())
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let commands: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("alias strand="))
        .collect();
    assert!(
        commands
            .iter()
            .any(|line| line.contains("strand mount pg /tmp/pg")),
        "the tour is not what it was: {commands:#?}"
    );
    commands
        .join("\n")
        .replace("/tmp/", &format!("{}/", dir.display()))
}

#[test]
fn the_tour_of_the_readme_is_walked_by_an_ordinary_user() {
    let test = "the README's tour";
    if !machine::fuse_for_all(test) {
        return;
    }
    let mut place = Place::empty(machine::ordinary_user());
    place.may_be_mounted("pg");
    let script = format!(
        "set -eux\nstrand() {{ '{}' \"$@\"; }}\n{}\n",
        place.binary().display(),
        tour(place.path())
    );
    let output = place
        .program(Path::new("/bin/bash"))
        .env_remove("STRAND_STORE")
        .args(["-c", &script])
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_ordinary_user_mounts_uses_rolls_back_and_unmounts() {
    let test = "an ordinary user";
    if !machine::fuse_for_all(test) {
        return;
    }
    let user = machine::ordinary_user();
    let mut place = Place::empty(user.clone());
    place.run(["init", "store"]);
    place.run(["volume", "create", "notes"]);
    place.serve();
    let mount = place.mount("notes", "mnt", &[]);
    let inside = |script: &str| {
        let output = place
            .program(Path::new("/bin/bash"))
            .args(["-ec", script])
            // Where the store is, the mount tells.
            .env_remove("STRAND_STORE")
            .env("PATH", format!("{}:/usr/bin:/bin", place.path().display()))
            .env("STRAND", place.binary())
            .current_dir(&mount)
            .output()
            .expect("bash runs");
        assert!(
            output.status.success(),
            "{script}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    inside("mkdir sub && echo first > sub/note && ln sub/note hard && sync");
    inside("$STRAND checkpoint create good");
    inside("echo second > sub/note && rm hard && echo more > new");
    // Anyone gets a file back with cp.
    assert_eq!(inside("cat .strand/good/sub/note"), "first\n");
    assert!(!inside("ls -a").contains(".strand"));
    inside("cp .strand/good/hard again && cmp again .strand/good/sub/note");
    let refused = inside(
        "exec 3>>sub/note
         $STRAND rollback notes --to good 2>&1 && exit 9
         test $? = 4
         exec 3>&-",
    );
    assert!(refused.contains("open for writing"), "{refused}");
    inside("$STRAND rollback notes --to good");
    let now = inside("cat sub/note hard; ls");
    assert_eq!(now, "first\nfirst\nhard\nsub\n");
    let owner = inside("stat -c %u sub/note");
    let me = user.map_or(rustix::process::getuid().as_raw(), |user| user.uid);
    assert_eq!(owner.trim(), me.to_string());
    place.unmount("mnt");
    assert!(!is_mount_point(&mount));
    place.stop();
    let at_rest = place.run(["cat", "notes", "hard"]);
    assert_eq!(at_rest, "first\n");
    place.run(["verify", "--data"]);
}

/// What fusermount3 reads; a machine may let users allow others in, or not.
const CONF: &str = "/etc/fuse.conf";

#[test]
fn who_lets_others_in_is_told_what_stands_in_the_way() {
    let test = "--allow-other of an ordinary user";
    if !machine::fuse_for_all(test) {
        return;
    }
    let mut place = Place::empty(machine::ordinary_user());
    place.run(["init", "store"]);
    place.run(["volume", "create", "notes"]);
    place.serve();
    let at = place.mount("notes", "mnt", &[]);
    place.unmount("mnt");
    let arguments = ["mount", "notes", "mnt", "--allow-other"];
    let output = place.strand(arguments).output().expect("the binary runs");
    let conf = fs::read_to_string(CONF).unwrap_or_default();
    if conf.lines().any(|line| line.trim() == "user_allow_other") {
        assert!(output.status.success() && is_mount_point(&at));
        place.unmount("mnt");
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [
            "does not let users allow others in",
            "add the line user_allow_other",
            CONF,
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!is_mount_point(&at));
    }
    place.stop();
}

#[test]
fn without_fuse_a_mount_says_what_to_do() {
    let apart = std::process::Command::new("unshare")
        .args(["-m", "true"])
        .status();
    if !apart.is_ok_and(|status| status.success()) {
        machine::pass_over("no /dev/fuse", "no mounts of one's own can be had here");
        return;
    }
    let place = Place::with_volume("notes");
    place.directory("mnt", None);
    // Nothing is in /dev, for this one process.
    let script = "mount -t tmpfs none /dev && exec \"$0\" serve --mount notes=mnt";
    let mut serve = place.program(Path::new("unshare"));
    serve.args(["-m", "sh", "-c", script]).arg(place.binary());
    let output = serve.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["there is no /dev/fuse", "modprobe fuse"] {
        assert!(said.contains(part), "{said}");
    }
    place.run(["verify", "--data"]);
}

#[test]
fn a_mount_starts_its_own_daemon_which_ends_with_it() {
    let test = "a daemon in the background";
    if !machine::fuse(test) {
        return;
    }
    let mut place = Place::with_volume("notes");
    let mount = place.mount("notes", "mnt", &[]);
    fs::write(mount.join("note"), "kept").expect("written");
    let status = place.json(["status"]);
    let daemon = status["served"]["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status}"));
    let daemon = u32::try_from(daemon).expect("a pid");
    assert!(machine::runs(daemon));
    place.unmount("mnt");
    machine::wait_for("the daemon's end", Duration::from_secs(30), || {
        !machine::runs(daemon)
    });
    assert!(!mount.join("note").exists());
    assert_eq!(place.run(["cat", "notes", "note"]), "kept");
}
