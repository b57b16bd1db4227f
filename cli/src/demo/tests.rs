//! The demo, run whole: its steps' results, its words, its refusals.

use super::{DemoOptions, lines_to_paste, run};
use crate::error::Failure;
use serde_json::Value;
use std::path::{Path, PathBuf};
use strand_engine::{Actor, Kind};

fn told(keep: Option<PathBuf>, json: bool) -> (Result<(), Failure>, String) {
    let mut out = Vec::new();
    let outcome = run(
        DemoOptions {
            keep,
            json,
            colour: false,
            actor: Actor::program(),
        },
        &mut out,
    );
    (outcome, String::from_utf8(out).unwrap())
}

fn step<'a>(told: &'a Value, name: &str) -> &'a Value {
    let steps = told["steps"].as_array().unwrap();
    steps
        .iter()
        .find(|step| step["step"] == name)
        .unwrap_or_else(|| panic!("no step {name} in {told:#}"))
}

#[test]
fn the_demo_keeps_every_promise() {
    let (outcome, text) = told(None, true);
    assert!(outcome.is_ok(), "{outcome:?}\n{text}");
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&all["format"], &all["ok"]),
        (&Value::from(1), &Value::from(true))
    );
    assert_eq!(all["steps"].as_array().unwrap().len(), 13);

    let remembered = &step(&all, "checkpoint")["contents"];
    assert_eq!(remembered["accounts"], 20_000);
    let business = step(&all, "business");
    assert_eq!(
        business["contents"]["entries"].as_u64().unwrap(),
        remembered["entries"].as_u64().unwrap() + 400
    );
    assert_eq!(
        business["contents"]["total_cents"],
        remembered["total_cents"]
    );
    assert_ne!(business["contents"]["checksum"], remembered["checksum"]);
    let passed_by_business = business["ledger"]["copied_out"].as_u64().unwrap();
    assert!(passed_by_business > 0);

    assert_eq!(step(&all, "mistake")["rows"], 20_000);
    assert_eq!(step(&all, "wreck")["integrity"]["ok"], false);
    let evidence = step(&all, "evidence");
    let by = evidence["copied_out"].as_array().unwrap();
    let actors: Vec<&str> = by
        .iter()
        .map(|row| row["actor"].as_str().unwrap())
        .collect();
    for (actor, who) in actors.iter().zip(["payments", "maintenance", "rogue"]) {
        assert!(actor.starts_with(who), "{actors:?}");
    }
    assert!(by.iter().all(|row| row["path"] == "/bank.db"), "{by:?}");
    let passed: u64 = by.iter().map(|row| row["blocks"].as_u64().unwrap()).sum();
    assert_eq!(evidence["ledger"]["owned"], passed);
    assert!(passed > passed_by_business);

    for name in ["rollback", "redo"] {
        assert_eq!(step(&all, name)["contents"], *remembered, "{name}");
        assert_eq!(step(&all, name)["integrity"]["ok"], true, "{name}");
    }
    assert_eq!(step(&all, "undo")["equal"], true);
    assert_eq!(step(&all, "precise")["contents"], business["contents"]);
    assert_eq!(step(&all, "replay")["equal"], true);
    let verify = step(&all, "verify");
    assert_eq!(verify["ok"], true);
    assert!(
        verify["findings"].as_array().unwrap().is_empty(),
        "{verify}"
    );
}

#[test]
fn a_kept_store_ends_with_five_lines_to_paste() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("a store");
    let (outcome, text) = told(Some(keep.clone()), false);
    assert!(outcome.is_ok(), "{outcome:?}\n{text}");
    assert!(keep.join("STORE").is_file());
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 80 || line.contains("a store")),
        "{text}"
    );
    assert!(!text.contains('\x1b'));
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    assert!(
        last.iter().all(|line| line.starts_with("  strand -s '")),
        "{text}"
    );

    let (again, _) = told(Some(keep), false);
    let Err(Failure::Refused(refusal)) = again else {
        panic!("a directory in use was taken")
    };
    assert_eq!(refusal.kind, Kind::NotAllowed, "it is a store by now");
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "precious").unwrap();
    let (outcome, text) = told(Some(dir.path().to_owned()), false);
    let Err(Failure::Refused(refusal)) = outcome else {
        panic!("it was taken")
    };
    assert_eq!((refusal.kind, text.as_str()), (Kind::NotEmpty, ""));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_lines_to_paste_survive_a_strange_directory() {
    let lines = lines_to_paste(Path::new("/it's here"), 12);
    assert_eq!(lines[0], "  strand -s '/it'\\''s here' status");
    assert!(lines[3].ends_with("--to seq:12 --dry-run"));
}
