//! Stores that lost something: what is shown ends before the damage, and no command that read it ends well.

use crate::strand::{Place, data};
use crate::town::town;
use std::fs;

/// A store whose journal is damaged between `/first` and `/second`.
fn damaged() -> Place {
    let place = Place::with_volumes(&["v"]);
    let (first, second) = (data(4096, 1), data(4096, 2));
    place.feed("write v /first --offset 0", &first).well();
    place.feed("write v /second --offset 0", &second).well();
    place.feed("write v /third --offset 0", &first).well();
    let segment = fs::read_dir(place.store().join("journal"))
        .expect("there")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.extension().is_some_and(|x| x == "seg"))
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("readable");
    let at = bytes
        .windows(64)
        .position(|w| w == &second[..64])
        .expect("there");
    bytes[at - 4096 + 40] ^= 4; // the header of that frame
    fs::write(&segment, &bytes).expect("writable");
    place
}

#[test]
fn what_is_read_from_a_damaged_journal_never_ends_well() {
    let place = damaged();
    for line in [
        "ls v",
        "cat v /first",
        "cat v /second",
        "stat v /first",
        "log",
        "versions v /first",
        "volume list",
        "info",
        "replay",
        "replay --check",
        "export v / new",
        "export v /first -",
    ] {
        let ran = place.line(line).failed(3);
        assert!(ran.err.starts_with("strand: "), "{line}: {}", ran.err);
        assert!(ran.err.lines().count() == 3, "{line}: {}", ran.err);
        assert!(!ran.out.contains("the same state\n"), "{line}: {}", ran.out);
    }
    assert!(place.path().join("new/first").is_file());
    let ran = place.line("ls v --json").failed(3);
    let error: serde_json::Value = serde_json::from_str(&ran.err).expect("one object");
    assert_eq!(error["error"]["kind"], "damaged");
    assert_eq!(place.line("status").failed_in_its_output(), 3);
    assert_eq!(place.line("verify").failed_in_its_output(), 3);
}

#[test]
fn nothing_is_replaced_from_a_damaged_store() {
    let place = damaged();
    place.file("kept", b"kept");
    let ran = place.line("export v /first kept --force --yes").failed(3);
    assert!(ran.err.contains("did not replace kept"), "{}", ran.err);
    assert_eq!(fs::read(place.path().join("kept")).expect("there"), b"kept");
}

#[test]
fn a_store_without_its_first_file_is_damaged_and_never_to_be_made_anew() {
    let place = town();
    let file = place.store().join("STORE");
    let whole = fs::read(&file).expect("there");
    let mut bad = whole.clone();
    bad[20] ^= 1;
    fs::write(&file, &bad).expect("writable");
    let ran = place.line("status").failed(3);
    assert!(!ran.err.contains("init"), "{}", ran.err);
    fs::remove_file(&file).expect("removed");
    for line in ["status", "mkdir pg /x", "verify", "doctor"] {
        let ran = place.line(line);
        assert!(!ran.err.contains("init"), "{line}: {}", ran.err);
        assert_eq!(ran.code, if line == "doctor" { 1 } else { 3 }, "{line}");
    }
    fs::write(&file, &whole).expect("writable");
    place.line("verify").well();
}

#[test]
fn a_state_file_that_does_not_load_is_useless_and_no_damage() {
    let place = town();
    let states = place.store().join("state");
    fs::write(states.join("00000000000000000005.state"), b"not a state").expect("writable");
    let ran = place.line("verify").well();
    assert!(
        ran.out.contains("verdict   ok, with a useless state file"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("next      remove state/"), "{}", ran.out);
    assert_eq!(ran.err, "");
    let json = place.line("verify --json").well().json();
    assert_eq!(json["ok"], true);
    assert_eq!(
        json["useless_state_files"].as_array().map(Vec::len),
        Some(1)
    );
}
