//! What a command does not do unasked: replace a tree, take other volumes back, import the store into itself; and that
//! it stops when told.

use crate::strand::{Place, command};
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_directory_is_replaced_only_with_consent() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /new --offset 0", b"new").well();
    fs::create_dir(place.path().join("dest")).expect("made");
    place.line("export v / dest --force").well();
    let ran = place.line("export v / dest --force").failed(1);
    assert!(ran.err.contains("--yes"), "{}", ran.err);
    place.file("dest/old", b"old");
    place.line("export v / dest --force --yes").well();
    assert!(!place.path().join("dest/old").exists());
    let above = place.path().display().to_string();
    let ran = place
        .run(["export", "v", "/", &above, "--force", "--yes"])
        .failed(1);
    assert!(ran.err.contains("lies in it"), "{}", ran.err);
    place.line("verify").well();
}

#[test]
fn a_directory_that_holds_the_store_is_not_imported() {
    let place = Place::with_volumes(&["v"]);
    let ran = place.line("import v .").failed(1);
    assert!(ran.err.contains("lies in it"), "{}", ran.err);
}

#[test]
fn undo_of_one_volume_does_not_take_others_along() {
    let place = Place::with_volumes(&["a", "b"]);
    place.line("mkdir a /x").well();
    place
        .line("checkpoint create c --volume a --volume b")
        .well();
    place.line("mkdir a /y").well();
    place.line("mkdir b /y").well();
    place.line("rollback --to c").well();
    let ran = place.line("undo a").failed(1);
    assert!(
        ran.err.contains("a and b") && ran.err.contains("--all"),
        "{}",
        ran.err
    );
    place.line("undo a --all").well();
    assert!(place.line("ls b").well().out.contains('y'));
    let ran = place.line("redo b").failed(1);
    assert!(ran.err.contains("redo b --all"), "{}", ran.err);
    place.line("redo b --all").well();
    assert_eq!(place.line("ls b").well().out, "");
}

#[test]
fn a_name_given_again_is_nothing_to_undo() {
    let place = Place::with_volumes(&["v"]);
    let ran = place.line("volume rename v v").well();
    assert!(!ran.out.contains("undo"), "{}", ran.out);
    place.line("undo").failed(1);
}

#[test]
fn an_empty_variable_names_no_store() {
    let place = Place::empty();
    let mut run = command(place.path(), None);
    run.env("STRAND_STORE", "");
    let ran = crate::strand::finish(run, b"").well();
    assert!(ran.out.starts_with("no store: "), "{}", ran.out);
}

#[test]
fn the_log_begins_at_a_position() {
    let place = Place::with_volumes(&["v"]);
    for name in ["mkdir v /a", "mkdir v /b", "mkdir v /c"] {
        place.line(name).well();
    }
    let all = place.line("log --events --json").well().out;
    let seqs: Vec<u64> = all
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|row| row["seq"].as_u64().expect("a number"))
        .collect();
    let from = seqs[seqs.len() / 2];
    let since = format!("log --events --json --since seq:{from}");
    let shown = place.line(&since).well().out.lines().count();
    assert_eq!(shown, seqs.iter().filter(|seq| **seq >= from).count());
    place.line("log --since seq:1").well();
    place.line("log --since seq:99999").failed(1);
    place.line("log --since seq:x").failed(1);
}

#[test]
fn a_write_whose_input_stalls_can_be_stopped() {
    let place = Place::with_volumes(&["v"]);
    let mut child = place
        .command(["write", "v", "/f", "--offset", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    // More than the first buffer, so that the store is open when the input stalls.
    input.write_all(&[7; (1 << 20) + 4096]).expect("taken");
    let begun = Instant::now();
    let segments = place.store().join("lock");
    while fs::read(&segments).map_or(0, |lock| lock.len()) == 0
        && begun.elapsed() < Duration::from_secs(10)
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    let ended = loop {
        if let Some(status) = child.try_wait().expect("waited") {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(ended.code(), Some(130));
    drop(input);
    place.line("verify").well();
    let stat = place.line("stat v /f --json").well().json();
    assert_eq!(stat["size"], (1 << 20) + 4096);
}
