//! Names of checkpoints that schedules take: `auto-20261121T100000Z`, in UTC. Where a name is taken already, as after a clock was set back, `-2`,
//! `-3` and so on follow.

use crate::state::State;

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
    let seconds = wall / 1_000_000_000;
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01: years begin in March, so that the day that comes and goes is their last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468; // since 0000-03-01
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
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
        // Every day from 1970 to 2262 follows the one before.
        let mut before = civil(0);
        for day in 1..106_751 {
            let now = civil(day);
            let next = (before.0, before.1, before.2 + 1);
            let month = (before.0, before.1 + 1, 1);
            assert!(
                now == next || now == month || now == (before.0 + 1, 1, 1),
                "{now:?}"
            );
            assert!((1..=31).contains(&now.2) && (1..=12).contains(&now.1));
            before = now;
        }
        assert_eq!(before, (2262, 4, 10));
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
