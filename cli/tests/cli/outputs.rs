//! Goldens of what the commands print on the scripted store, for people and for programs.

use crate::strand::{Place, golden};
use crate::town::town;

fn session(name: &str, place: &Place, lines: &[&str]) {
    let mut text = String::new();
    for line in lines {
        text += &format!("$ strand {line}\n{}", place.line(line).whole());
    }
    golden(name, &text);
}

#[test]
fn looking_at_the_store() {
    session(
        "out-store",
        &town(),
        &[
            "status",
            "info",
            "volume list",
            "volume show pg",
            "volume show test",
            "clone list",
            "anchor",
        ],
    );
}

#[test]
fn looking_at_the_store_by_program() {
    session(
        "json-store",
        &town(),
        &[
            "status --json",
            "volume list --json",
            "volume show pg --json",
            "clone list --json",
        ],
    );
}

#[test]
fn looking_at_files() {
    let lines = [
        "ls pg",
        "ls -R web",
        "ls -R web --json",
        "cat pg@before-upgrade /postgresql.conf",
        "versions pg /postgresql.conf",
        "versions pg /base/16384",
        "versions pg /base/16384 --json",
    ];
    session("out-files", &town(), &lines);
}

#[test]
fn checkpoints_for_people() {
    let lines = [
        "checkpoint list",
        "checkpoint list --volume web",
        "checkpoint show before-upgrade",
        "checkpoint show nightly",
        "checkpoint map before-upgrade",
        "checkpoint map nightly /base/16384",
        "checkpoint diff monday before-upgrade",
        "checkpoint diff nightly web",
        "checkpoint diff before-upgrade pg",
        "checkpoint rename monday moonday",
        "checkpoint hold moonday",
        "checkpoint set moonday removable nomount",
        "checkpoint list",
        "checkpoint release moonday",
        "checkpoint remove moonday nightly --yes",
        "checkpoint list",
        "undo",
        "redo",
    ];
    session("out-checkpoints", &town(), &lines);
}

#[test]
fn checkpoints_for_programs() {
    let lines = [
        "checkpoint list --json",
        "checkpoint map before-upgrade /base/16384 --json",
        "checkpoint diff monday before-upgrade --json",
        "checkpoint remove before-upgrade --yes --json",
    ];
    session("json-checkpoints", &town(), &lines);
}

#[test]
fn checkpoints_that_keep_nothing() {
    let place = town();
    place
        .line("checkpoint create marks --volume web --nodata")
        .well();
    place
        .feed("write web /notes --offset 0", &[b'n'; 9000])
        .well();
    let lines = [
        "checkpoint create weekly --volume pg --nodata --removable",
        "checkpoint list",
        "checkpoint show marks",
        "checkpoint show marks --json",
        "ls web@marks",
        "checkpoint map marks",
        "checkpoint diff marks web",
        "checkpoint diff nightly marks",
        "checkpoint diff marks web --json",
        "checkpoint set nightly nodata --yes",
        "checkpoint show nightly",
        "checkpoint set nightly nodata",
        "log --kind change-marked",
        "log --kind checkpoint-converted",
        "verify --data",
    ];
    session("out-nodata", &place, &lines);
}

#[test]
fn quotas() {
    let place = town();
    let lines = [
        "quota",
        "quota set pg --soft 1MiB --hard 1MiB",
        "quota set nothing --hard 1MiB",
        "quota set pg --hard 4KiB",
        "quota set pg --hard 1GiB --soft 512MiB --on-full fail-writes",
        "quota off pg",
        "quota on pg",
        "quota show pg --json",
        "quota set pg --hard none --on-full drop --soft 4KiB --yes",
        "checkpoint create more --volume pg",
        "quota on web",
        "log --kind quota-set",
    ];
    session("out-quota", &place, &lines);
    place.line("verify").well();
}

#[test]
fn the_audit_trail() {
    let lines = [
        "log",
        "log --volume pg --path /base/16384",
        "log --checkpoint before-upgrade",
        "log --kind copied-out",
        "log --kind rolled-back --json",
        "log --events -n 12",
        "log --events --kind copied-out --checkpoint nightly --json",
        "log --actor nobody-of-that-name",
    ];
    session("out-log", &town(), &lines);
}

#[test]
fn going_back_and_forth() {
    let place = town();
    let lines = [
        "rollback pg --to nightly --only --dry-run",
        "rollback pg --to nightly --only",
        "undo pg",
        "undo pg",
        "redo pg",
        "rollback --to nightly --dry-run --json",
        "rollback --to nightly",
        "rollback pg --to before-upgrade --file /postgresql.conf --dry-run",
        "rollback pg --to before-upgrade --file /postgresql.conf",
        "rollback web --to nightly --file / --delete-new",
        "volume rename web www",
        "undo",
    ];
    session("out-rollback", &place, &lines);
    place.line("verify --data").well();
}

#[test]
fn proving() {
    session(
        "out-verify",
        &town(),
        &[
            "verify",
            "verify --data",
            "replay",
            "replay --check",
            "replay --to monday",
            "verify --data --json",
        ],
    );
}
