//! Removing volumes and clones: what stands in the way says so and how to clear it, and what the program itself made never does.

use crate::strand::{Place, data};

#[test]
fn a_clone_that_was_reset_and_rolled_back_can_be_removed() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /f --offset 0", &data(4096, 1)).well();
    place.line("checkpoint create c --volume v").well();
    place.line("clone create test --from v@c").well();
    let start = place.line("anchor").well().out;
    let start = start.split(':').next().expect("a number").to_owned();
    place
        .feed("write test /f --offset 0", &data(4096, 2))
        .well();
    place.line("clone reset test").well();
    place
        .feed("write test /f --offset 0", &data(4096, 3))
        .well();
    place
        .line(&format!("rollback test --to seq:{start}"))
        .well();
    let shown = place.line("volume show test").well().out;
    assert!(shown.contains("checkpoints  2"), "{shown}");

    place.line("clone remove test --yes").well();
    assert!(!place.line("checkpoint list").well().out.contains("auto-"));
    place.line("undo").well();
    assert_eq!(place.line("cat test /f").well().code, 0);
    place.line("verify --data").well();
}

#[test]
fn what_stands_in_the_way_of_a_removal_is_named_and_no_retry_is_hoped_for() {
    let place = Place::with_volumes(&["a", "b"]);
    for volume in ["a", "b"] {
        place
            .feed(&format!("write {volume} /f --offset 0"), b"1")
            .well();
    }
    place
        .line("checkpoint create both --volume a --volume b")
        .well();
    place.line("checkpoint create alone --volume a").well();

    let ran = place.line("volume remove b --yes --with-checkpoints");
    let ran = ran.failed(1);
    assert!(
        ran.err.contains("next: strand checkpoint remove both"),
        "{}",
        ran.err
    );
    place.line("checkpoint remove both --yes").well();
    place.line("volume remove b --yes").well();

    let ran = place.line("volume remove a --yes").failed(1);
    assert!(
        ran.err.contains("a checkpoint keeps an image"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--with-checkpoints"), "{}", ran.err);
    place.line("checkpoint hold alone").well();
    for line in [
        "volume remove a --yes --with-checkpoints",
        "checkpoint remove alone --yes",
    ] {
        let ran = place.line(line).failed(1);
        assert!(ran.err.contains("alone is held"), "{}", ran.err);
        assert!(
            ran.err.contains("next: strand checkpoint release alone"),
            "{}",
            ran.err
        );
        let json = place.line(&format!("{line} --json")).failed(1).err;
        assert!(json.contains(r#""kind":"not-allowed""#), "{json}");
    }
    place.line("checkpoint release alone").well();
    place
        .line("volume remove a --yes --with-checkpoints")
        .well();
}

#[test]
fn a_held_image_of_a_rollback_is_kept() {
    let place = Place::with_volumes(&["v"]);
    place.feed("write v /f --offset 0", b"1").well();
    place.line("checkpoint create c --volume v").well();
    place.feed("write v /f --offset 0", b"2").well();
    let json = place.line("rollback v --to c --json").well().json();
    let auto = json["before"].as_str().expect("a name").to_owned();
    place.line("checkpoint remove c --yes").well();
    place.line(&format!("checkpoint hold {auto}")).well();
    place.line("volume remove v --yes").failed(1);
    place.line(&format!("checkpoint release {auto}")).well();
    place.line("volume remove v --yes").well();
}
