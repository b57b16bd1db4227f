//! Two commands at a time: readers share, a writer waits, and says for whom.

use crate::strand::{Place, data, finish};
use crate::town::town;
use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A `write` that has the store and waits for more input.
fn holder(place: &Place) -> std::process::Child {
    let mut command = place.command(["write", "pg", "/held", "--offset", "0"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    // The first MiB makes it open the store; then it waits for the second.
    child
        .stdin
        .as_mut()
        .expect("piped")
        .write_all(&data(1 << 20, 5))
        .expect("taken");
    let (lock, id) = (place.store().join("lock"), child.id().to_string());
    let waited = Instant::now();
    while fs::read_to_string(&lock).map_or(true, |t| !t.contains(&id))
        && waited.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_locked_store_names_who_holds_it_and_exits_4() {
    let place = town();
    let mut child = holder(&place);
    let started = Instant::now();
    let ran = place.line("volume create x --lock-timeout 100ms").failed(4);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(ran.err.contains(&child.id().to_string()), "{}", ran.err);
    assert!(ran.err.contains("strand write pg /held"), "{}", ran.err);
    let ran = place.line("status --json --lock-timeout 0").failed(4);
    let error: serde_json::Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(error["error"]["kind"], "locked");
    // One that waits gets its turn.
    let waiting = std::thread::spawn({
        let command = place.command(["volume", "create", "x"]);
        move || finish(command, b"")
    });
    drop(child.stdin.take());
    assert!(child.wait().expect("ends").success());
    waiting.join().expect("joined").well();
}

#[test]
fn a_writer_that_is_killed_or_interrupted_loses_nothing_that_was_acknowledged() {
    let place = town();
    let before = place.line("stat pg /base/16384 --json").well().json();
    let mut child = holder(&place);
    child.kill().expect("killed");
    child.wait().expect("ends");
    place.line("verify --data").well();
    assert_eq!(
        place.line("stat pg /base/16384 --json").well().json()["mtime"],
        before["mtime"]
    );

    let mut child = holder(&place);
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::sleep(Duration::from_millis(300));
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .expect("sent");
    // What is under way is finished; then it says how far it came.
    std::thread::sleep(Duration::from_millis(300));
    stdin.write_all(&data(2 << 20, 6)).ok();
    drop(stdin);
    let status = child.wait().expect("ends");
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut said)
        .expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("stay"), "{said}");
    place.line("verify --data").well();
    assert!(
        place.line("stat pg /held --json").well().json()["size"]
            .as_u64()
            .expect("a size")
            >= 1 << 20
    );
}

#[test]
fn a_closed_pipe_is_no_error_and_no_panic() {
    let place = town();
    place.file("big", &data(3 << 20, 7));
    place.line("import web big").well();
    for arguments in [
        &["cat", "web", "/big"][..],
        &["log", "--events"],
        &["help", "exit-codes"],
        &["completions", "bash"],
        &["ls", "-lR", "web"],
    ] {
        let mut child = place
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
}
