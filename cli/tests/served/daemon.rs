//! The daemon itself: its beginning, its end, its death, and who may speak to it.

use crate::strand::{Place, command};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// `strand serve`, and what it says when it is ready.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) said: Vec<String>,
    _out: BufReader<ChildStdout>,
}

impl Serving {
    /// With these arguments behind `serve`.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Serving {
        let mut serve = command(place.path(), Some(&place.store()));
        let mut child = serve
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).expect("a line") > 0, "{said:?}");
            let ready = line.starts_with("serving ");
            said.push(line);
            if ready {
                break;
            }
        }
        Serving {
            child,
            said,
            _out: out,
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A store with one volume, at rest.
pub(crate) fn at_rest() -> Place {
    let place = Place::with_volumes(&["pg"]);
    place.at_rest();
    place
}

pub(crate) fn is_served(place: &Place) -> bool {
    place.store().join("control").exists()
}

pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn a_daemon_that_was_killed_is_replaced() {
    let place = at_rest();
    let mut first = Serving::start(&place, &[]);
    place.line("volume create kept").well();
    first.signal(Signal::KILL);
    assert!(is_served(&place), "its socket stays behind");
    // At rest again, whatever the socket says.
    place.line("volume show kept").well();
    let mut second = Serving::start(&place, &[]);
    let replaced = "replaced the control socket of a daemon that died\n";
    assert_eq!(second.said[0], replaced);
    place.line("volume show kept").well();
    assert_eq!(second.signal(Signal::TERM), Some(0));
    assert!(!is_served(&place));
    assert_eq!(mode(&place.store()), 0o700);
    place.line("verify --data").well();
}

#[test]
fn a_second_signal_ends_a_daemon_at_once() {
    let place = at_rest();
    let mut serving = Serving::start(&place, &[]);
    place.line("volume create kept").well();
    // Both are there before it can look at the first.
    let pid = Pid::from_child(&serving.child);
    for signal in [Signal::STOP, Signal::TERM, Signal::INT] {
        kill_process(pid, signal).expect("sent");
    }
    assert_eq!(serving.signal(Signal::CONT), Some(130));
    assert!(is_served(&place), "as after a power cut");
    place.line("volume show kept").well();
    place.line("verify --data").well();
}

#[test]
fn a_store_has_one_daemon() {
    let place = at_rest();
    let mut first = Serving::start(&place, &[]);
    let ran = place.line("serve").failed(4);
    assert!(ran.err.contains("is served already"), "{}", ran.err);
    assert!(
        ran.err.contains(&format!("pid {}", first.child.id())),
        "{}",
        ran.err
    );
    let ran = place.line("stop").well();
    assert!(ran.out.contains("at rest"), "{}", ran.out);
    assert_eq!(first.child.wait().expect("ends").code(), Some(0));
    let ran = place.line("stop").failed(1);
    assert!(ran.err.contains("nobody serves"), "{}", ran.err);
}

#[test]
fn a_daemon_waits_for_a_command_and_commands_wait_for_a_daemon() {
    let place = at_rest();
    // A command holds the store; the daemon says for whom it waited.
    let mut holder = place
        .command(["write", "pg", "/held", "--offset", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let mut input = holder.stdin.take().expect("piped");
    std::io::Write::write_all(&mut input, &vec![1; 1 << 20]).expect("taken");
    let lock = place.store().join("lock");
    wait_for("the lock", || {
        fs::read_to_string(&lock).is_ok_and(|text| text.contains("strand"))
    });
    let ran = place.line("serve --lock-timeout 100ms").failed(4);
    assert!(ran.err.contains("holds it"), "{}", ran.err);
    let waiting = std::thread::scope(|scope| {
        let daemon = scope.spawn(|| Serving::start(&place, &[]));
        std::thread::sleep(Duration::from_millis(200));
        drop(input);
        holder.wait().expect("ends");
        daemon.join().expect("serves")
    });
    place.line("stat pg /held").well();
    drop(waiting);
}

#[test]
fn what_cannot_be_served_is_refused_and_leaves_the_store_at_rest() {
    let place = at_rest();
    place.line("serve --metrics 0.0.0.0:9464").failed(2);
    place.line("serve --mount pg").failed(2);
    fs::create_dir(place.path().join("m")).expect("made");
    let ran = place.line("serve --mount nothing=m").failed(1);
    assert!(
        ran.err.contains("there is no volume nothing"),
        "{}",
        ran.err
    );
    let ran = place.line("serve --mount pg=missing").failed(1);
    assert!(ran.err.contains("cannot mount on missing"), "{}", ran.err);
    // A daemon that was to start for a mount says why it did not.
    let ran = place.line("mount nothing m").failed(1);
    assert!(
        ran.err.contains("there is no volume nothing"),
        "{}",
        ran.err
    );
    wait_for("the daemon goes", || !is_served(&place));
    assert_eq!(mode(&place.store()), 0o700);
    place.line("volume create x").well();
}

#[test]
fn others_are_told_that_they_may_not_and_it_is_recorded() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("STRAND_NO_SKIP").is_none(),
            "only root can be somebody else"
        );
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    let place = at_rest();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(), open.clone()).expect("set");
    // Where the binary was built others may not be able to go.
    let binary = place.path().join("strand");
    fs::copy(env!("CARGO_BIN_EXE_strand"), &binary).expect("copied");
    fs::set_permissions(&binary, open).expect("set");
    let _serving = Serving::start(&place, &[]);
    let stranger = |line: &str| {
        let mut command = std::process::Command::new(&binary);
        command
            .args(line.split_whitespace())
            .env("STRAND_STORE", place.store())
            .current_dir("/")
            .uid(65_534)
            .gid(65_534);
        let output = command.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    for line in [
        "status",
        "volume create mine",
        "checkpoint create mine --volume pg",
        "log",
        "stop",
        "mount",
    ] {
        let (code, said) = stranger(line);
        assert_eq!(code, Some(1), "{line}: {said}");
        assert!(
            said.contains("may not be used by this user"),
            "{line}: {said}"
        );
        assert!(said.contains("uid 65534 asks"), "{line}: {said}");
    }
    let error = stranger("status --json").1;
    assert!(error.contains("\"kind\":\"permission\""), "{error}");
    // The owner goes on, and finds it in the trail.
    place.line("volume create more").well();
    let trail = place.line("log --events --kind refused --json").well().out;
    assert!(trail.contains("permission"), "{trail}");
    assert!(place.line("volume list").well().out.contains("more"));
    // What else lies in the directory is closed to them.
    let read = std::process::Command::new("cat")
        .arg(place.store().join("STORE"))
        .uid(65_534)
        .output()
        .expect("runs");
    assert!(!read.status.success());
}

#[test]
fn the_audit_trail_names_the_command_and_not_the_daemon() {
    let place = at_rest();
    let serving = Serving::start(&place, &[]);
    place.line("volume create seen --reason because").well();
    let trail = place.line("log --events --json").well().out;
    assert!(trail.contains("strand volume create seen"), "{trail}");
    assert!(trail.contains("because"), "{trail}");
    assert!(
        !trail.contains(&format!("\"pid\":{},", serving.child.id())),
        "{trail}"
    );
}
