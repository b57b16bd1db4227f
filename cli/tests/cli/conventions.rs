//! The conventions of the contract: JSON everywhere, errors as JSON, confirmation, global flags anywhere, echo of views.

use crate::strand::{Place, finish};
use crate::town::town;

#[test]
fn json_is_one_object_on_everything_that_prints() {
    for line in [
        "",
        "status",
        "info",
        "doctor",
        "volume",
        "volume list",
        "volume show pg",
        "volume create x",
        "volume rename web www",
        "volume remove test --yes",
        "clone",
        "clone create y --from pg@before-upgrade",
        "clone reset test",
        "clone remove test --yes",
        "ls pg",
        "stat pg /base",
        "write pg /x --offset 0",
        "rm pg /postgresql.conf",
        "mkdir pg /d",
        "mv pg /postgresql.conf /p",
        "truncate pg /postgresql.conf --size 1",
        "import pg data.bin",
        "export pg /base out",
        "checkpoint",
        "checkpoint create --volume pg",
        "checkpoint show before-upgrade",
        "checkpoint map before-upgrade",
        "checkpoint diff monday before-upgrade",
        "checkpoint rename monday m",
        "checkpoint remove monday --yes",
        "checkpoint hold monday",
        "checkpoint release monday",
        "checkpoint set monday removable",
        "checkpoint clear monday removable",
        "versions pg /base/16384",
        "rollback pg --to before-upgrade",
        "rollback pg --to before-upgrade --dry-run",
        "undo pg",
        "replay --check",
        "verify --data",
        "anchor",
        "man pages",
    ] {
        let town = town();
        let ran = town.line(&format!("{line} --json")).well();
        assert_eq!(ran.out.lines().count(), 1, "{line}: {}", ran.out);
        ran.json();
        assert_eq!(ran.err, "", "{line}");
        assert!(ran.out.starts_with("{\"format\":1,"), "{line}: {}", ran.out);
    }
}

#[test]
fn the_log_is_json_lines() {
    let town = town();
    for line in ["log --json", "log --events --json"] {
        let ran = town.line(line).well();
        assert!(ran.out.lines().count() > 5);
        for row in ran.out.lines() {
            let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
            assert_eq!(row["format"], 1);
            assert!(row["kind"].is_string());
        }
    }
}

#[test]
fn errors_under_json_are_objects_on_standard_error() {
    let town = town();
    for (line, kind, code) in [
        ("volume show x --json", "not-found", 1),
        ("--json volume create pg", "exists", 1),
        ("checkpoint remove monday --json", "unconfirmed", 1),
        ("chekpoint --json", "usage", 2),
        ("-s missing status --json", "not-a-store", 1),
        ("cat pg /base --json", "usage", 2),
    ] {
        let ran = town.line(line).failed(code);
        assert_eq!(ran.out, "", "{line}");
        let value: serde_json::Value =
            serde_json::from_str(&ran.err).unwrap_or_else(|e| panic!("{line}: {e}: {}", ran.err));
        assert_eq!(value["error"]["kind"], kind, "{line}");
        assert!(
            value["error"]["message"].is_string()
                && value["error"].get("why").is_some()
                && value["error"].get("next").is_some()
        );
    }
}

#[test]
fn what_cannot_be_brought_back_asks_first() {
    let town = town();
    for line in [
        "checkpoint remove monday",
        "volume remove test",
        "clone remove test",
    ] {
        let ran = town.line(line).failed(1);
        assert!(ran.err.contains("--yes"), "{line}: {}", ran.err);
    }
    assert_eq!(
        town.line("volume list --json").well().json()["volumes"]
            .as_array()
            .expect("rows")
            .len(),
        3
    );
    for line in [
        "checkpoint remove monday -y",
        "--yes clone remove test",
        "volume create x",
        "volume remove x --yes",
        "status --yes",
    ] {
        town.line(line).well();
    }
}

#[test]
fn global_flags_stand_anywhere_and_the_flag_wins_over_the_environment() {
    let town = town();
    let other = Place::with_volumes(&["only"]);
    let store = other.store();
    let store = store.to_str().expect("text");
    for line in [
        format!("--store {store} volume list"),
        format!("volume -s {store} list"),
        format!("volume list -s {store}"),
    ] {
        let out = town.line(&line).well().out;
        assert!(out.contains("only") && !out.contains("pg"), "{line}: {out}");
    }
    assert_eq!(
        town.line("vol list").well().out,
        town.line("volume").well().out
    );
    assert_eq!(
        town.line("ckpt list").well().out,
        town.line("checkpoint").well().out
    );
}

#[test]
fn a_position_and_a_time_say_what_they_resolved_to() {
    let town = town();
    let seq = town.line("checkpoint show monday --json").well().json()["seq"]
        .as_u64()
        .expect("a number");
    let ran = town.line(&format!("ls pg@seq:{seq}")).well();
    assert!(
        ran.err.starts_with(&format!("→ seq {seq}, 2")),
        "{}",
        ran.err
    );
    assert_eq!(ran.out, "base\n");
    // In the middle of a command: the boundary before it.
    let last: serde_json::Value = serde_json::from_str(
        town.line("log --events --json --kind rolled-back")
            .well()
            .out
            .trim(),
    )
    .expect("JSON");
    let last = last["seq"].as_u64().expect("a number");
    let ran = town
        .line(&format!("ls --json pg@seq:{}", last - 1))
        .well()
        .json();
    assert!(
        ran["view"]["seq"].as_u64().expect("a number") < last - 1,
        "{ran}"
    );
    let time = town.line("checkpoint show monday --json").well().json()["time"]
        .as_str()
        .expect("a time")
        .to_owned();
    let ran = town.run(["ls", &format!("pg@{time}")]).well();
    assert!(
        ran.err.starts_with(&format!("→ seq {seq}, ")),
        "{}",
        ran.err
    );
    assert_eq!(
        town.run(["ls", "--json", &format!("pg@{time}")])
            .well()
            .json()["view"]["seq"],
        seq
    );
}

#[test]
fn a_reason_and_the_command_line_are_kept() {
    let town = town();
    town.run([
        "checkpoint",
        "create",
        "c",
        "--volume",
        "pg",
        "--reason",
        "ticket 4711",
    ])
    .well();
    let row: serde_json::Value = serde_json::from_str(
        town.line("log --json -n 1 --kind checkpoint-created")
            .well()
            .out
            .trim(),
    )
    .expect("JSON");
    assert_eq!(row["actor"]["reason"], "ticket 4711");
    assert_eq!(row["actor"]["grade"], "command");
    assert_eq!(row["actor"]["login"], "alice");
    assert_eq!(
        row["actor"]["command"],
        "strand checkpoint create c --volume pg --reason 'ticket 4711'"
    );
    assert!(town.line("log -n 1").well().out.contains("(ticket 4711)"));
}

#[test]
fn no_colour_and_no_progress_without_a_terminal_and_logs_on_request() {
    let town = town();
    for line in ["status", "verify --data", "log", "doctor", "--help"] {
        let ran = town.line(line).well();
        assert!(
            !ran.out.contains('\x1b') && !ran.err.contains('\x1b'),
            "{line}"
        );
        assert_eq!(ran.err, "", "{line}");
    }
    // Not status: what the disk has free is another figure from one moment to the next.
    let mut traced = town.command(["volume", "list"]);
    traced.env("STRAND_LOG", "trace");
    let chatty = finish(traced, b"").well();
    let quiet = town.line("volume list").well();
    assert_eq!(chatty.out, quiet.out);
    assert!(town.line("-vvv verify --data").well().err.len() >= quiet.err.len());
}

#[test]
fn tables_fit_80_columns() {
    let town = town();
    for line in [
        "status",
        "info",
        "volume list",
        "checkpoint list",
        "checkpoint show before-upgrade",
        "versions pg /base/16384",
        "checkpoint map before-upgrade /base/16384",
        "verify --data",
        "doctor",
    ] {
        for row in town.line(line).well().out.lines() {
            let fixed = row
                .replace(&town.store().display().to_string(), "/srv/store")
                .replace(&town.path().display().to_string(), "/srv");
            assert!(fixed.chars().count() <= 80, "{line}: {row}");
        }
    }
}

#[test]
fn a_refused_administrative_command_is_recorded_and_the_store_closed() {
    // The second reads nothing of the store, and goes another way to a daemon.
    for line in [
        "volume create pg",
        "checkpoint create before-upgrade --volume pg",
    ] {
        let town = town();
        town.line(line).failed(1);
        let log = town.line("log --kind refused --events --json").well().out;
        assert_eq!(log.lines().count(), 1, "{line}: {log}");
        let row: serde_json::Value = serde_json::from_str(log.trim()).expect("JSON");
        assert_eq!(row["fields"]["kind"], "exists", "{row}");
        assert_eq!(town.line("info --json").well().json()["clean"], true);
        town.line("verify --data").well();
    }
}
