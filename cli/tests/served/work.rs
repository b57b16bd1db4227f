//! Long work in the daemon, and others beside it: who cancels it, and who takes away what it works on.

use crate::daemon::wait_for;
use crate::strand::{Place, Ran, data};
use serde_json::Value;

const BLOCK: usize = 4096;
/// Blocks of a file.
const BLOCKS: usize = 64;

/// Files of which every block was written after those of the others: they lie scattered. Half of what was written is nobody's.
fn scattered(files: &[&str]) -> Place {
    let place = Place::with_volumes(&["pg"]);
    for (n, file) in files.iter().enumerate() {
        let line = format!("write pg {file} --offset 0");
        place.feed(&line, &data(BLOCKS * BLOCK, n as u64)).well();
    }
    for block in (0..BLOCKS).step_by(2) {
        for file in files {
            let line = format!("write pg {file} --offset {}", block * BLOCK);
            place.feed(&line, &data(BLOCK, 100 + block as u64)).well();
        }
    }
    place
}

/// The number of the running job of which that is the end of what it works on.
fn working(place: &Place, what: &str) -> u64 {
    let mut id = None;
    wait_for("the job works", || {
        let jobs = place.line("job list --json").well().json();
        let jobs = jobs["jobs"].as_array().expect("a list");
        let on_this = |job: &&Value| job["what"].as_str().is_some_and(|of| of.ends_with(what));
        let job = jobs
            .iter()
            .filter(on_this)
            .find(|job| job["state"] == "running");
        id = job.and_then(|job| job["id"].as_u64());
        id.is_some()
    });
    id.expect("found")
}

#[test]
fn a_reclaim_that_somebody_cancels_says_what_it_did_and_exits_130() {
    let place = scattered(&["/a", "/b"]);
    let keys = |object: &Value| -> Vec<String> {
        let object = object.as_object().expect("an object");
        object.keys().cloned().collect()
    };
    // The living blocks alone take half a minute.
    let cancelled = |flag: &str| {
        let line = format!("space reclaim --now --yes --rate 8KiB {flag}");
        let child = place.begin(&line);
        let id = working(&place, "and the history");
        place.line(&format!("job cancel {id}")).well();
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        let jobs = place.line("job list --json").well().json();
        let jobs = jobs["jobs"].as_array().expect("a list");
        let job = jobs.iter().find(|job| job["id"] == id).expect("listed");
        assert_eq!(job["state"], "cancelled");
        ran.failed(130)
    };
    let ran = cancelled("");
    assert!(
        ran.err.starts_with("strand: the reclaim was told to end\n"),
        "{}",
        ran.err
    );
    let ran = cancelled("--json");
    let ended = ran.json();
    assert_eq!(ended["cancelled"], true, "{ended}");
    let error: Value = serde_json::from_str(&ran.err).expect("JSON");
    assert_eq!(error["error"]["kind"], "interrupted", "{error}");
    place.line("verify --data").well();
    let whole = place.line("space reclaim --now --yes --json").well().json();
    assert_eq!(whole["cancelled"], false);
    assert!(whole["segments"].as_u64() > Some(0), "{whole}");
    assert_eq!(keys(&ended), keys(&whole), "however it ended");
    place.line("verify --data").well();
}

#[test]
fn a_file_that_goes_while_its_directory_is_put_in_order_is_passed_over() {
    let place = scattered(&["/a", "/b", "/c"]);
    // The first takes two seconds; the second is gone before its turn.
    let child = place.begin("space defrag pg / --rate 128KiB --json");
    working(&place, "of pg");
    place.line("rm pg /b").well();
    let done = Ran::of(child.wait_with_output().expect("it ends")).well();
    let done = done.json();
    assert_eq!(
        (&done["files"], &done["files_moved"]),
        (&2.into(), &2.into()),
        "{done}"
    );
    assert_eq!(done["cancelled"], false);
    // Named itself it is missing, not passed over.
    place.line("space defrag pg /b").failed(1);
    let again = place.line("space defrag pg /").well().out;
    assert!(again.contains("nothing lies scattered"), "{again}");
    place.line("verify --data").well();
}
