//! Names of checkpoints that schedules take: `auto-20261121T100000Z`, in UTC. Where a name is taken already, as after a clock was set back, `-2`,
//! `-3` and so on follow.

use crate::state::State;
use jiff::Timestamp;

const PREFIX: &str = "auto-";

/// Says whether a name is one that a schedule gives.
#[must_use]
pub fn is_scheduled_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let bytes = rest.as_bytes();
    let stamped = bytes.len() >= 16
        && bytes[..16].iter().enumerate().all(|(i, b)| match i {
            8 => *b == b'T',
            15 => *b == b'Z',
            _ => b.is_ascii_digit(),
        });
    stamped
        && match &bytes[16..] {
            [] => true,
            [b'-', number @ ..] => {
                (1..=20).contains(&number.len()) && number.iter().all(u8::is_ascii_digit)
            }
            _ => false,
        }
}

/// The name of a checkpoint that a schedule takes when the wall clock shows `wall`, in ns since the Unix epoch.
#[must_use]
pub fn scheduled_name(state: &State, wall: u64) -> String {
    let stamped = format!("{PREFIX}{}", stamp(wall));
    let is_free = |name: &str| !state.checkpoint_names.contains_key(name);
    if is_free(&stamped) {
        return stamped;
    }
    (2_u64..)
        .map(|n| format!("{stamped}-{n}"))
        .find(|name| is_free(name))
        .unwrap_or(stamped)
}

/// `20261121T100000Z`
fn stamp(wall: u64) -> String {
    let time = Timestamp::from_nanosecond(wall.into());
    let time = time.expect("64 bits of nanoseconds end in 2554, timestamps in 9999");
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_the_calendar() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_255_200, "20261121T100000Z"),
            (4_107_542_399, "21000228T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(stamp(seconds * 1_000_000_000), text);
            assert!(is_scheduled_name(&format!("auto-{text}")));
        }
        assert_eq!(stamp(u64::MAX), "25540721T233433Z");
    }

    #[test]
    fn only_names_of_schedules_are_theirs() {
        assert!(is_scheduled_name("auto-20261121T100000Z-2"));
        for other in [
            "auto-before-12",
            "auto-20261121T100000Z-",
            "auto-20261121T100000Z-x",
            "auto-20261121T100000",
            "20261121T100000Z",
            "auto-20261121T100000Zz",
            "auto-",
        ] {
            assert!(!is_scheduled_name(other), "{other}");
        }
    }
}
