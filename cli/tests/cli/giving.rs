//! Space that is given back, and what is said of it.

use crate::strand::{Place, SERVED, data};
use crate::town::town;
use std::process::Command;

/// A store whose file was written over so often that most of its segments are dead but for the history.
fn worn() -> Place {
    let place = Place::with_volumes(&["pg"]);
    for round in 0..12 {
        place
            .feed("write pg /data --offset 0", &data(64 * 4096, round))
            .well();
        if round == 5 {
            place.line("checkpoint create middle --volume pg").well();
        }
    }
    place
}

fn number(value: &serde_json::Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

fn sum(space: &serde_json::Value) -> u64 {
    let parts = [
        "live_bytes",
        "checkpoints_bytes",
        "clones_bytes",
        "history_bytes",
        "readers_bytes",
        "reclaimable_bytes",
        "events_bytes",
        "archives_bytes",
        "ahead_bytes",
    ];
    parts.iter().map(|part| number(space, part)).sum()
}

#[test]
fn space_info_and_du_agree() {
    let place = worn();
    let space = place.line("space --json").well().json();
    assert_eq!(sum(&space), number(&space, "journal_bytes"));
    let info = place.line("info --json").well().json();
    let du = Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(place.store())
        .output()
        .expect("du");
    let du = String::from_utf8_lossy(&du.stdout);
    let du: u64 = du
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    for (who, bytes) in [
        ("space", number(&space, "disk_bytes")),
        ("info", number(&info, "disk_bytes")),
    ] {
        assert!(
            bytes.abs_diff(du) * 100 <= du,
            "{who} says {bytes}, du {du}"
        );
    }
    assert!(number(&space, "journal_bytes") <= number(&space, "disk_bytes"));
    let live = number(&space, "live_bytes");
    assert_eq!(live, 64 * 4096);
    assert_eq!(number(&space, "checkpoints_bytes"), 64 * 4096);
    assert_eq!(number(&space["checkpoints"][0], "unique_bytes"), 64 * 4096);
    let shown = place.line("space").well().out;
    for word in [
        "live",
        "history",
        "dead",
        "events",
        "made ahead",
        "pg",
        "middle",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
}

#[test]
fn what_nobody_reaches_is_given_back() {
    let place = worn();
    let before = place.line("space --json").well().json();
    assert!(
        number(&before, "history_bytes") >= 9 * 64 * 4096,
        "{before}"
    );
    // The history is not given up without being asked for.
    let kept = place.line("space reclaim --json").well().json();
    assert_eq!(kept["segments"], 0);
    place.line("space reclaim --now").failed(1);
    let told = place.line("space reclaim --now --yes").well().out;
    assert!(told.contains("the history window begins at seq"), "{told}");
    assert!(told.contains("gave back "), "{told}");
    let after = place.line("space --json").well().json();
    assert_eq!(sum(&after), number(&after, "journal_bytes"));
    assert!(number(&after, "journal_bytes") < number(&before, "journal_bytes"));
    assert!(number(&after, "archives_bytes") > 0);
    let live = data(64 * 4096, 11);
    assert_eq!(place.run(["export", "pg", "/data", "now"]).code, 0);
    assert_eq!(
        std::fs::read(place.path().join("now")).expect("exported"),
        live
    );
    place.line("export pg@middle /data then").well();
    let then = std::fs::read(place.path().join("then")).expect("exported");
    assert_eq!(then, data(64 * 4096, 5));
    place.line("verify --data").well();
    place.line("ls pg@seq:5").failed(1);
    place.line("log").well();
    let info = place.line("info").well().out;
    assert!(info.contains("the events of "), "{info}");
}

#[test]
fn old_events_move_out_of_the_store() {
    let place = worn();
    place.line("space reclaim --now --yes").well();
    let before = place.line("info --json").well().json();
    let seq = number(&before, "position");
    place
        .line(&format!("journal archive --before seq:{seq} --to old"))
        .failed(1);
    place
        .line("journal archive --before seq:5 --to store/old --yes")
        .failed(1);
    let moved = place
        .line(&format!(
            "journal archive --before seq:{seq} --to old --yes --json"
        ))
        .well()
        .json();
    assert!(number(&moved, "archives") > 0, "{moved}");
    let kept = std::fs::read_dir(place.path().join("old"))
        .expect("made")
        .count();
    assert!(kept as u64 >= number(&moved, "archives"));
    let after = place.line("info --json").well().json();
    assert_eq!(after["first_seq"], moved["first_seq"]);
    assert!(number(&after, "archives_bytes") < number(&before, "archives_bytes"));
    place.line("verify --data").well();
    place.line("replay --check").well();
    place.line("cat pg@middle /data").well();

    let audit = place.line("journal audit").well().out;
    assert_eq!(audit, "all archived events are kept\n");
    place.line("journal audit --keep 1MiB").failed(1);
    place.line("journal audit --keep 1MiB --yes").well();
    assert_eq!(
        place.line("journal audit --json").well().json()["audit_bytes"],
        1 << 20
    );
    place.line("journal audit --keep all").well();
}

#[test]
fn jobs_are_listed_waited_for_and_cancelled() {
    let place = worn();
    let idle = place.line("job list").well().out;
    place.line("job cancel 99").failed(1);
    place.line("job wait 99").failed(1);
    if !SERVED {
        assert!(idle.contains("at rest"), "{idle}");
        place.line("space reclaim --background").failed(1);
        place.line("job wait").well();
        return;
    }
    let begun = place
        .line("space reclaim --background --json")
        .well()
        .json();
    let id = number(&begun, "job");
    place.line(&format!("job wait {id}")).well();
    let jobs = place.line("job list --json").well().json();
    let jobs = jobs["jobs"].as_array().expect("a list");
    let job = jobs.iter().find(|job| job["id"] == id).expect("listed");
    assert_eq!(
        (&job["kind"], &job["state"]),
        (&"reclaim".into(), &"done".into())
    );
    let had = place.line(&format!("job cancel {id}")).well().out;
    assert!(had.contains("had ended"), "{had}");
}

#[test]
fn a_store_at_rest_and_a_served_one_say_the_same_of_space() {
    let place = town();
    let shown = place.line("space").well().out;
    assert!(shown.contains("before-upgrade"), "{shown}");
    place.line("space show").well();
    place.line("space shrink").failed(2);
}

#[test]
fn scattered_files_are_laid_out_in_order() {
    let place = Place::with_volumes(&["pg"]);
    place
        .feed("write pg /data --offset 0", &data(256 * 4096, 1))
        .well();
    let mut whole = data(256 * 4096, 1);
    for i in 0..40_usize {
        let (at, block) = ((i * 37) % 256 * 4096, data(4096, 100 + i as u64));
        place
            .feed(&format!("write pg /data --offset {at}"), &block)
            .well();
        whole[at..at + 4096].copy_from_slice(&block);
    }
    place.line("checkpoint create before --volume pg").well();
    let done = place.line("space defrag pg /data --json").well().json();
    assert_eq!(done["files_moved"], 1, "{done}");
    assert!(number(&done, "bytes_copied") > 0);
    for view in ["pg", "pg@before"] {
        let read = place
            .run(["export", view, "/data", "out", "--force"])
            .well();
        assert!(read.err.is_empty(), "{}", read.err);
        assert_eq!(
            std::fs::read(place.path().join("out")).expect("read"),
            whole
        );
    }
    let again = place.line("space defrag pg").well().out;
    assert!(again.contains("nothing lies scattered"), "{again}");
    place.line("space defrag pg /nothing").failed(1);
    let all = place.line("space defrag pg / --json").well().json();
    assert_eq!((number(&all, "files"), number(&all, "files_moved")), (1, 0));
    place.line("verify --data").well();
}

#[test]
fn a_file_whose_blocks_were_moved_is_imported_again_without_writing_any() {
    let place = worn();
    let kept = data(16 * 4096, 77);
    place.feed("write pg /kept --offset 0", &kept).well();
    for round in 20..32 {
        place
            .feed("write pg /data --offset 0", &data(64 * 4096, round))
            .well();
    }
    place.line("space reclaim --now --yes").well();
    let space = place.line("verify --json").well().json();
    assert!(number(&space["totals"], "moved") > 0);
    place.file("kept", &kept);
    let said = place.line("import pg kept /kept --json").well().json();
    assert_eq!(number(&said, "blocks_written"), 0, "{said}");
}
