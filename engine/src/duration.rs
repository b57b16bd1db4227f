//! Stretches of time as people write them: `15m`, `30d`.

const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLISECOND;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const WEEK: u64 = 7 * DAY;

/// The units.
const UNITS: [(&str, u64); 7] = [
    ("w", WEEK),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("min", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
];

/// Those that are written, the greatest first. Days, not weeks: nobody says four weeks and two days for thirty.
const WRITTEN: [(&str, u64); 4] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];

/// The number of a stretch of time, and its unit in ns; `None` for what is none.
fn parts(text: &str) -> Option<(&str, u64)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    (!number.is_empty()).then_some((number, *scale))
}

/// Says whether a text is a number with a unit of time.
#[must_use]
pub fn is_duration(text: &str) -> bool {
    parts(text).is_some()
}

/// Reads a stretch of time such as `500ms`, `90s`, `15m` (or `15min`), `4h`, `30d` or `2w`, in ns.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let Some((number, scale)) = parts(text) else {
        return Err(format!(
            "{text:?} is no stretch of time: write 90s, 15m, 4h, 30d or 2w"
        ));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(scale))
        .ok_or_else(|| format!("{text} is too long"))
}

/// A stretch of time as [`parse_duration`] reads it, in its greatest whole unit; parts of a second are left out.
#[must_use]
pub fn duration(ns: u64) -> String {
    let whole = |scale: &u64| ns >= *scale && ns.is_multiple_of(*scale);
    let (name, scale) = WRITTEN
        .iter()
        .find(|(_, scale)| whole(scale))
        .unwrap_or(&("s", SECOND));
    format!("{}{name}", ns / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ns) in [
            ("0s", 0),
            ("500ms", SECOND / 2),
            ("90s", 90 * SECOND),
            ("15m", 15 * MINUTE),
            ("15min", 15 * MINUTE),
            ("4h", 4 * HOUR),
            ("30d", 30 * DAY),
            ("2w", 14 * DAY),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
            assert!(is_duration(text), "{text}");
        }
        assert_eq!(duration(14 * DAY), "14d");
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(90 * SECOND + 1), "90s");
    }

    #[test]
    fn what_is_no_stretch_of_time_is_told() {
        for bad in ["", "h", "15", "15 m", "1.5h", "-1h", "5y", "5mm"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
            assert!(!is_duration(bad), "{bad}");
        }
        for long in ["999999999999w", "99999999999999999999s"] {
            assert_eq!(parse_duration(long), Err(format!("{long} is too long")));
            assert!(is_duration(long), "{long}");
        }
    }
}
