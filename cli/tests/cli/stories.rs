//! What users come for, from end to end.

use crate::strand::data;
use crate::town::town;
use std::fs;

#[test]
fn the_dry_run_prints_the_numbers_of_the_run() {
    for line in [
        "rollback pg --to nightly --only",
        "rollback --to nightly",
        "rollback pg --to monday --file /base --file /postgresql.conf --delete-new",
        "rollback pg --to seq:20",
    ] {
        let town = town();
        town.feed("write pg /new --offset 0", b"new").well();
        let before = town.line("anchor").well().out;
        let dry = town.line(&format!("{line} --dry-run --json")).well().json();
        assert_eq!(
            town.line("anchor").well().out,
            before,
            "a dry run writes nothing"
        );
        let run = town.line(&format!("{line} --json")).well().json();
        for key in [
            "volumes",
            "to",
            "files_changed",
            "files_back",
            "files_gone",
            "blocks",
            "bytes",
            "files",
        ] {
            assert_eq!(dry[key], run[key], "{key} of {line}");
        }
        assert!(
            run["blocks"].as_u64().expect("a number") > 0,
            "{line}: {run}"
        );
        assert!(
            run["before"]
                .as_str()
                .expect("a name")
                .starts_with("auto-before-")
        );
    }
}

#[test]
fn the_ledger_equals_the_sum_over_the_log() {
    let town = town();
    for name in ["monday", "nightly", "before-upgrade"] {
        let shown = town
            .line(&format!("checkpoint show {name} --json"))
            .well()
            .json();
        let booked: u64 = shown["volumes"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|v| {
                v["ledger"]["copied_out"]["blocks"]
                    .as_u64()
                    .expect("a number")
            })
            .sum();
        let log = town
            .line(&format!("log --kind copied-out --checkpoint {name} --json"))
            .well()
            .out;
        let mut logged = 0;
        for row in log.lines() {
            let row: serde_json::Value = serde_json::from_str(row).expect("JSON");
            let passed = row["passed"].as_array().expect("rows");
            logged += passed
                .iter()
                .filter(|p| p["checkpoint"] == name)
                .map(|p| p["blocks"].as_u64().expect("a number"))
                .sum::<u64>();
        }
        assert_eq!(booked, logged, "{name}: {log}");
    }
}

#[test]
fn an_image_never_changes_and_undo_brings_everything_back() {
    let town = town();
    town.line("export pg@before-upgrade / image").well();
    let file = || fs::read(town.path().join("image/base/16384")).expect("there");
    let image = file();
    town.feed("write pg /base/16384 --offset 0", &data(40960, 77))
        .well();
    town.line("rm -r pg /base").well();
    town.line("rollback pg --to before-upgrade").well();
    town.line("export pg /base/16384 now").well();
    assert_eq!(fs::read(town.path().join("now")).expect("there"), image);
    town.line("undo pg").well();
    town.line("cat pg /base/16384").failed(1);
    town.line("redo pg").well();
    town.line("export pg@before-upgrade / image --force --yes")
        .well();
    assert_eq!(file(), image);
    town.line("replay --check").well();
    town.line("verify --data").well();
}

#[test]
fn every_past_commit_can_be_viewed_cloned_and_gone_back_to() {
    let town = town();
    let versions = town
        .line("versions pg /postgresql.conf --json")
        .well()
        .json();
    let rows = versions["versions"].as_array().expect("rows");
    assert!(rows.len() >= 3, "{versions}");
    let mut seen = Vec::new();
    for row in rows {
        let seq = row["seq"].as_u64().expect("a number");
        seen.push(
            town.line(&format!("cat pg@seq:{seq} /postgresql.conf"))
                .well()
                .out,
        );
    }
    assert!(
        seen.contains(&"port = 5433\n".to_owned()) && seen.contains(&"port = 5432\n".to_owned()),
        "{seen:?}"
    );
    let seq = rows
        .iter()
        .zip(&seen)
        .find(|(_, text)| *text == "port = 5433\n")
        .expect("seen")
        .0["seq"]
        .as_u64()
        .expect("a number");
    town.line(&format!("clone create then --from pg@seq:{seq}"))
        .well();
    assert_eq!(
        town.line("cat then /postgresql.conf").well().out,
        "port = 5433\n"
    );
    town.line(&format!("rollback pg --to seq:{seq}")).well();
    assert_eq!(
        town.line("cat pg /postgresql.conf").well().out,
        "port = 5433\n"
    );
    town.line("verify --data").well();
    town.line("replay --check").well();
}

#[test]
fn an_anchor_holds_and_a_wrong_one_is_found() {
    let town = town();
    let anchor = town.line("anchor").well().out.trim().to_owned();
    town.line("mkdir pg /later").well();
    let ran = town.line(&format!("verify --anchor {anchor}")).well();
    assert!(ran.out.contains("nothing up to seq"), "{}", ran.out);
    let (seq, hash) = anchor.split_once(':').expect("both");
    let other = if hash.starts_with('0') { "1" } else { "0" };
    let ran = town.line(&format!("verify --anchor {seq}:{other}{}", &hash[1..]));
    assert_eq!(ran.code, 3);
    assert!(ran.out.contains("ALTERED"), "{}", ran.out);
    assert_eq!(
        town.line(&format!("verify --anchor 99999999:{hash}")).code,
        3
    );
}

#[test]
fn a_bulk_movement_is_expanded_and_followed() {
    let town = town();
    let log = town
        .line("log --events --kind copied-out-scope --json -n 1")
        .well()
        .out;
    let scope: serde_json::Value = serde_json::from_str(log.trim()).expect("JSON");
    let seq = scope["seq"].as_u64().expect("a number");
    let moved = town
        .line(&format!("log --expand {seq} --json"))
        .well()
        .json();
    let blocks: u64 = moved["moved"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|m| m["blocks"].as_u64().expect("a number"))
        .sum();
    assert!(blocks >= 4, "{moved}");
    assert!(
        town.line(&format!("log --expand {seq}"))
            .well()
            .out
            .contains("base/16384")
    );

    let mut child = town.begin("log --follow --json -n 1");
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    lines.next().expect("a first line").expect("text");
    town.line("mkdir pg /followed").well();
    let found = lines
        .by_ref()
        .map_while(Result::ok)
        .take(20)
        .any(|line| line.contains("followed"));
    assert!(found);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .expect("sent");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
}
