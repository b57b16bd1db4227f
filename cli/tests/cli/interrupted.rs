//! Long work that is told to end, by Ctrl-C: it ends with 130, says so, and the store is sound and goes on from there.

use crate::strand::{Place, Ran, SERVED, data};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

/// In steps of a block.
const BLOCK: usize = 4096;
/// The file of the store that is worn: so many blocks.
const BLOCKS: usize = 2048;
/// Nothing here takes that long; without being told to end it would.
const SOON: Duration = Duration::from_secs(20);

/// A store in small segments whose file was written over in every other block: each segment of its first content is half alive.
fn worn() -> (Place, Vec<u8>) {
    let place = Place::empty();
    place.line("init store --segment-size 64KiB").well();
    place.line("volume create pg").well();
    let mut content = data(BLOCKS * BLOCK, 1);
    place.file("data", &content);
    place.line("import pg data /data").well();
    let later = data(BLOCKS * BLOCK, 2);
    for at in (0..BLOCKS).step_by(2).map(|block| block * BLOCK) {
        content[at..at + BLOCK].copy_from_slice(&later[at..at + BLOCK]);
    }
    place.file("data", &content);
    place.line("import pg data /data").well();
    (place, content)
}

/// Presses Ctrl-C, and says with what it ended.
fn interrupt(child: Child) -> Ran {
    kill_process(Pid::from_child(&child), Signal::INT).expect("sent");
    Ran::of(child.wait_with_output().expect("it ends"))
}

fn archives(dir: &Path) -> usize {
    let Ok(names) = std::fs::read_dir(dir) else {
        return 0;
    };
    let names = names.map(|entry| entry.expect("read").file_name());
    names
        .filter(|name| name.as_encoded_bytes().ends_with(b".arc"))
        .count()
}

/// Waits until archives lie in a directory, or the command is done.
fn wait_for_archives(dir: &Path, child: &mut Child) {
    let begun = Instant::now();
    while archives(dir) == 0 && child.try_wait().expect("waited").is_none() {
        assert!(begun.elapsed() < SOON, "no archive in {}", dir.display());
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn said_so(ran: &Ran) {
    let error: serde_json::Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(error["error"]["kind"], "interrupted", "{error}");
}

fn check(place: &Place, content: &[u8]) {
    if SERVED {
        place.line("job wait").well();
    }
    place.line("verify --data").well();
    place.line("replay --check").well();
    place.line("export pg /data now --force").well();
    let now = std::fs::read(place.path().join("now")).expect("exported");
    assert!(now == content, "/data is another");
}

#[test]
fn a_reclaim_that_is_interrupted_keeps_what_it_gave_back_and_is_done_the_next_time() {
    let (place, content) = worn();
    let line = "space reclaim --now --yes --rate 64KiB --json";
    let begun = Instant::now();
    let mut child = place.begin(line);
    wait_for_archives(&place.store().join("journal"), &mut child);
    std::thread::sleep(Duration::from_millis(300));
    let ran = interrupt(child).failed(130);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    said_so(&ran);
    if SERVED {
        // Whoever asked does not wait for the end; the job is told to, and says so.
        assert_eq!(ran.out, "");
        place.line("job wait").well();
        let jobs = place.line("job list --json").well().json();
        let asked = "what is dead, and the history"; // the daemon reclaims by itself too
        let mut asked = jobs["jobs"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|job| job["what"] == asked);
        assert_eq!(
            asked.next().expect("listed")["state"],
            "cancelled",
            "{jobs}"
        );
    } else {
        let done = ran.json();
        assert_eq!(done["cancelled"], true, "{done}");
        assert!(done["history_seq"].is_u64(), "{done}");
    }
    check(&place, &content);
    let whole = place.line("space reclaim --now --yes --json").well().json();
    assert_eq!(whole["cancelled"], false, "{whole}");
    assert!(
        whole["segments"].as_u64() >= Some(BLOCKS as u64 / 32),
        "{whole}"
    );
    check(&place, &content);
}

/// Begins to move old events away, and interrupts that; false where it was done before the signal came.
fn is_interrupted_while_moving_events_away() -> bool {
    let (place, content) = worn();
    place.line("space reclaim --now --yes").well();
    let info = || place.line("info --json").well().json();
    let before = info();
    let seq = &before["position"];
    let line = format!("journal archive --before seq:{seq} --to old --yes --json");
    let mut child = place.begin(&line);
    wait_for_archives(&place.path().join("old"), &mut child);
    let ran = match place.daemon() {
        None => interrupt(child),
        // A client looks for signals a few times a second, and in that time the daemon would be done.
        Some(daemon) => {
            kill_process(daemon, Signal::STOP).expect("sent");
            let interrupted = std::thread::spawn(move || interrupt(child));
            std::thread::sleep(Duration::from_millis(500));
            kill_process(daemon, Signal::CONT).expect("sent");
            interrupted.join().expect("ended")
        }
    };
    if ran.code == 0 {
        return false;
    }
    let ran = ran.failed(130);
    said_so(&ran);
    assert_eq!(ran.out, "");
    check(&place, &content);
    let after = info();
    if after["first_seq"] == before["first_seq"] {
        // Nothing is given up before all of it was copied.
        assert_eq!(after["archives_bytes"], before["archives_bytes"]);
        // What lies there already is taken as it is.
        let moved = place.line(&line).well().json();
        let kept = archives(&place.path().join("old"));
        assert!(moved["archives"].as_u64() > Some(0), "{moved}");
        assert!(kept as u64 >= moved["archives"].as_u64().unwrap_or(0));
        check(&place, &content);
    }
    assert_ne!(info()["first_seq"], before["first_seq"]);
    true
}

#[test]
fn events_whose_moving_away_is_interrupted_are_all_still_there() {
    let interrupted = (0..5).any(|_| is_interrupted_while_moving_events_away());
    assert!(interrupted, "no signal came in time");
}
