//! What a verification found is known afterwards: to `status`, and to whoever would go back to what cannot be read.

use crate::strand::{Place, data};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Flips a bit in every one of these blocks, wherever the journal has them.
fn flip(place: &Place, contents: &[u8]) {
    let segments: Vec<PathBuf> = fs::read_dir(place.store().join("journal"))
        .expect("there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|x| x == "seg"))
        .collect();
    for block in contents.chunks(4096) {
        let flipped = segments.iter().any(|path| {
            let mut bytes = fs::read(path).expect("readable");
            let found = bytes.chunks(4096).position(|b| b == block);
            if let Some(found) = found {
                bytes[found * 4096 + 99] ^= 1;
                fs::write(path, &bytes).expect("writable");
            }
            found.is_some()
        });
        assert!(flipped, "no segment has the block");
    }
}

/// `sound` and `spoilt` are checkpoints of `v`; what `spoilt` alone shows of /f, blocks 2 to 4, is damaged on the disk.
fn spoilt() -> Place {
    let place = Place::with_volumes(&["v"]);
    let old = data(3 * 4096, 2);
    place
        .feed("write v /f --offset 0", &data(6 * 4096, 1))
        .well();
    place.feed("write v /g --offset 0", b"kept").well();
    place.line("checkpoint create sound --volume v").well();
    place.feed("write v /f --offset 8192", &old).well();
    place.line("checkpoint create spoilt --volume v").well();
    place
        .feed("write v /f --offset 8192", &data(3 * 4096, 3))
        .well();
    flip(&place, &old);
    place
}

#[test]
fn no_rollback_goes_to_what_the_last_verification_could_not_read() {
    let place = spoilt();
    // Nobody knows yet.
    place.line("status").well();
    place.line("rollback v --to spoilt --dry-run").well();

    let ran = place.line("verify --data");
    let lines: Vec<&str> = ran
        .out
        .lines()
        .filter(|l| l.starts_with("damage"))
        .collect();
    assert_eq!(lines.len(), 1, "neighbours in one line: {}", ran.out);
    assert!(
        lines[0].contains("3 data blocks are damaged")
            && lines[0].contains("volume v, file f, blocks 2–4")
            && lines[0].contains("shown by v@spoilt"),
        "{}",
        lines[0]
    );
    assert_eq!(ran.failed_in_its_output(), 3);
    let json = place.line("verify --data --json").json();
    assert_eq!(json["findings"][0]["blocks"], 3, "{json}");

    for line in [
        "rollback v --to spoilt",
        "rollback v --to spoilt --dry-run",
        "rollback --to spoilt",
        "rollback v --to spoilt --file /f",
        "clone create c --from v@spoilt",
    ] {
        let ran = place.line(line).failed(3);
        assert!(
            ran.err.contains("block 2 of /f is damaged: segment "),
            "{line}: {}",
            ran.err
        );
    }
    let json = place.line("rollback v --to spoilt --json").failed(3).err;
    assert!(json.contains(r#""kind":"damaged""#), "{json}");
    place.line("rollback v --to spoilt --file /g").well();
    place.line("rollback v --to sound").well();
    place.line("clone create c --from v@sound").well();

    let ran = place.line("status");
    assert!(
        ran.out
            .contains("last verify      DAMAGED (3 data blocks), "),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("the last verification found damage"),
        "{}",
        ran.out
    );
    assert_eq!(ran.failed_in_its_output(), 3);
    // A verification without the data proves nothing about it.
    place.line("verify").well();
    place.line("rollback v --to spoilt").failed(3);
    let json = place.line("status --json").json();
    assert_eq!(json["last_verify"]["ok"], false, "{json}");
    assert_eq!(json["last_verify"]["data"]["bad_blocks"], 3, "{json}");
}

#[test]
fn status_tells_when_the_store_was_last_verified() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /f --offset 0", b"1").well();
    let says = |text: &str| {
        let ran = place.line("status").well();
        assert!(
            ran.out.contains(&format!("last verify      {text}")),
            "{}",
            ran.out
        );
    };
    let json = || place.line("status --json").well().json()["last_verify"].clone();
    says("never: strand verify --data\n");
    assert!(json().is_null());
    place.line("verify").well();
    let record = fs::metadata(place.store().join("last-verify")).expect("there");
    assert_eq!(record.permissions().mode() & 0o777, 0o600);
    says("ok, ");
    assert!(place.line("status").out.contains(", without the data\n"));
    assert!(json()["data"].is_null());
    place.line("verify --data").well();
    assert!(place.line("status").out.contains(", with the data\n"));
    assert_eq!(json()["data"]["bad_blocks"], 0);
    place.line("verify").well();
    assert!(place.line("status").out.contains(" +00:00, the data 20"));
    assert_eq!(json()["ok"], true);
}

#[test]
fn a_record_that_is_garbage_or_cannot_be_written_hinders_nobody() {
    let place = spoilt();
    place.line("verify --data");
    place.line("rollback v --to spoilt").failed(3);
    let record = place.store().join("last-verify");
    let whole = fs::read(&record).expect("there");
    for garbage in [&b""[..], b"garbage", &whole[..whole.len() - 1]] {
        fs::write(&record, garbage).expect("writable");
        let out = place.line("status").well().out;
        assert!(out.contains("last verify      not known: "), "{out}");
        assert!(place.line("status --json").well().json()["last_verify"].is_null());
        place.line("rollback v --to spoilt --dry-run").well();
    }
    // Something in the way: the verification says what it has to say all the same, and the record before stays.
    fs::write(&record, &whole).expect("writable");
    let obstacle = place.store().join("last-verify.tmp");
    fs::create_dir(&obstacle).expect("made");
    place.line("verify").well();
    assert_eq!(fs::read(&record).expect("there"), whole);
    fs::remove_dir(&obstacle).expect("removed");
    place.line("verify").well();
    assert_ne!(fs::read(&record).expect("there"), whole);
}

#[test]
fn a_missing_segment_is_named_by_its_file() {
    for number in [1, 2] {
        let place = Place::with_volumes(&["v"]);
        place.file("data", &data(600_000, 5));
        place.line("import v data").well();
        let name = format!("journal/{number:020}.seg");
        fs::remove_file(place.store().join(&name)).expect("there");
        let ran = place.line("status");
        assert!(
            ran.out.contains(&format!("the file {name} is missing")),
            "{}",
            ran.out
        );
        assert_eq!(ran.failed_in_its_output(), 3);
        let ran = place.line("verify");
        assert!(ran.out.contains(&format!("file {name}")), "{}", ran.out);
        let ran = place.line("mkdir v /x").failed(3);
        assert!(ran.err.contains(&name), "{}", ran.err);
    }
}
