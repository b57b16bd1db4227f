//! What a store says it has room for, it takes; and a full one says so.

use crate::strand::{Place, data};

#[test]
fn the_room_that_status_shows_is_what_can_be_written() {
    let place = Place::empty();
    place
        .line("init store --segment-size 256KiB --capacity 4MiB")
        .well();
    place.line("volume create v").well();
    let free = || {
        let status = place.line("status --json").well().json();
        let info = place.line("info --json").well().json();
        assert_eq!(status["free_bytes"], info["free_bytes"]);
        assert_eq!(status["full"], status["free_bytes"] == 0);
        status["free_bytes"].as_u64().expect("a number")
    };
    let room = free();
    assert!(room > 1 << 20 && room < 4 << 20, "{room}");
    // All of it but a tenth goes in, in one file.
    let bytes = usize::try_from(room / 10 * 9).expect("small");
    place
        .feed("write v /most --offset 0", &data(bytes, 1))
        .well();
    assert!(free() < room / 5, "{} of {room}", free());
    let mut full = false;
    for n in 0..2000 {
        let ran = place.feed(&format!("write v /{n} --offset 0"), &data(8192, n));
        if ran.code != 0 {
            assert!(ran.err.contains("the store is full"), "{}", ran.err);
            full = true;
            break;
        }
    }
    assert!(full);
    let left = free();
    assert!(left < 64 << 10, "{left} bytes are said to be free");
    // Down to the last block.
    while place.feed("write v /x --offset 0", b"x").code == 0 {}
    assert_eq!(free(), 0);
    for line in ["status", "info"] {
        let ran = place.line(line).well();
        assert!(
            ran.out.contains("full: what is left is kept for removals"),
            "{}",
            ran.out
        );
    }
    place.line("rm v /most").well();
}
