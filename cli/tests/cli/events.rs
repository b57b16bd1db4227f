//! `strand log --events` and `--follow`: events in the words of commands, as they come.

use crate::strand::{Place, data};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

#[test]
fn no_event_shows_how_the_program_holds_it() {
    let place = Place::with_volumes(&["v"]);
    place
        .feed("write v /f --offset 0", &data(3 * 4096, 1))
        .well();
    let odd = OsStr::from_bytes(b"/odd\xff\nname");
    place
        .run([OsStr::new("mv"), OsStr::new("v"), OsStr::new("/f"), odd])
        .well();
    std::fs::create_dir(place.path().join("tree")).expect("made");
    std::os::unix::fs::symlink("some where", place.path().join("tree/link")).expect("made");
    place.line("import v tree /tree").well();
    for line in [
        "checkpoint create c --volume v",
        "clone create k --from v@c",
        "rm -r v /tree",
        "rollback v --to c",
        "clone reset k",
        "truncate v /new --size 0",
        "checkpoint remove c --yes",
        "undo",
    ] {
        let _ = place.line(line);
    }
    let text = place.line("log --events").well().out;
    let raw = text.lines().find(|line| line.contains(['{', '}']));
    assert_eq!(raw, None);
    for (kind, words) in [
        ("clone-created", "source=v@c"),
        ("rolled-back", "volumes=v→v@c before=auto-before-"),
        ("created", "body=symlink→\"some where\""),
        ("created", "body=directory"),
        ("actor-seen", " grade=command uid="),
        ("checkpoint-created", "checkpoint=c"),
        ("renamed", r"to_name=odd\xff\x0aname"),
    ] {
        let there = text
            .lines()
            .any(|line| line.contains(&format!("  {kind} ")) && line.contains(words));
        assert!(there, "{kind} with {words}:\n{text}");
    }
    for line in place.line("log --events --json").well().out.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for (name, value) in event["fields"].as_object().expect("fields") {
            let bytes = value.as_array().is_some_and(|items| {
                items.len() > 3 && items.iter().all(serde_json::Value::is_u64)
            });
            assert!(!bytes, "{name} is bytes: {line}");
        }
        assert!(
            !line.contains("\"Symlink\"") && !line.contains("\"Command\""),
            "{line}"
        );
    }
}

#[test]
fn follow_ends_when_nobody_reads_any_more() {
    let place = Place::with_volumes(&["v"]);
    let mut child = place.begin("log --follow");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    assert!(!line.is_empty());
    drop(reader);
    // No further event comes.
    let begun = Instant::now();
    let ended = loop {
        if let Some(status) = child.try_wait().expect("known") {
            break status;
        }
        if begun.elapsed() > Duration::from_secs(20) {
            child.kill().expect("killed");
            panic!("it goes on though nobody reads");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn paths_that_are_no_text_stand_in_hex_too() {
    let place = Place::with_volumes(&["v"]);
    let (odd, hex) = (OsStr::from_bytes(b"/a\xff"), "2f61ff");
    let run = |arguments: &[&OsStr]| place.run(arguments).well().json();
    let word = OsStr::new;
    place.file("input", b"1");
    let input = [word("--input"), word("input")];
    let json = run(&[
        word("write"),
        word("v"),
        odd,
        word("--offset"),
        word("0"),
        input[0],
        input[1],
        word("--json"),
    ]);
    assert_eq!(json["path_hex"], hex, "{json}");
    let json = run(&[
        word("truncate"),
        word("v"),
        odd,
        word("--size"),
        word("9"),
        word("--json"),
    ]);
    assert_eq!(json["path_hex"], hex, "{json}");
    let json = run(&[word("versions"), word("v"), odd, word("--json")]);
    assert_eq!(json["path_hex"], hex, "{json}");
    let json = run(&[
        word("mv"),
        word("v"),
        odd,
        OsStr::from_bytes(b"/b\xfe"),
        word("--json"),
    ]);
    assert_eq!(
        (&json["from_hex"], &json["to_hex"]),
        (&hex.into(), &"62fe".into()),
        "{json}"
    );
    let json = run(&[
        word("mv"),
        word("v"),
        OsStr::from_bytes(b"/b\xfe"),
        word("/c"),
        word("--json"),
    ]);
    assert!(json.get("to_hex").is_none(), "{json}");
}
