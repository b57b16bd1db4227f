//! Sizes, counts, times and names as people read them, and as programs do.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use strand_engine::{BLOCK, EventTime};

/// `812 B`, `1.2 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, rounded, in integers: a size never shows as 1024.0 of anything.
    let mut unit = 0;
    let mut scale: u128 = 1024;
    loop {
        let tenths = (u128::from(bytes) * 10 + scale / 2) / scale;
        if tenths < 10_240 || unit + 1 == UNITS.len() {
            return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]);
        }
        unit += 1;
        scale *= 1024;
    }
}

/// The size of so many blocks.
pub(crate) fn blocks_size(blocks: u64) -> String {
    size(blocks.saturating_mul(BLOCK))
}

/// `3,412`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 block`, `3,412 blocks`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// A share, to a tenth of a percent.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// A stretch of time in seconds, `1.2 s` or `3.4 ms`.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    let us = duration.as_micros();
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// A stretch of time in ns, as one speaks of it: `3.4 s`, `12.5 min`, `26.0 h`, `30.1 days`.
pub(crate) fn span(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let tenths = |unit: u64, name: &str| {
        let tenths = u128::from(ns) * 10 / u128::from(unit);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match ns / SECOND {
        0..=120 => seconds(std::time::Duration::from_nanos(ns)),
        121..=7200 => tenths(60 * SECOND, "min"),
        7201..=172_800 => tenths(3600 * SECOND, "h"),
        _ => tenths(24 * 3600 * SECOND, "days"),
    }
}

/// Event time as a time of the calendar.
pub(crate) fn zoned(time: EventTime) -> Zoned {
    let timestamp = Timestamp::from_nanosecond(i128::from(time)).unwrap_or(Timestamp::MAX);
    timestamp.to_zoned(TimeZone::system())
}

/// `2026-11-21 10:00:02 +01:00`.
pub(crate) fn time(time: EventTime) -> String {
    zoned(time).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// `2026-11-21 10:00:02`, for tables.
pub(crate) fn short_time(time: EventTime) -> String {
    zoned(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// RFC 3339 in UTC, to the nanosecond.
pub(crate) fn json_time(time: EventTime) -> String {
    Timestamp::from_nanosecond(i128::from(time))
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// A file's time, which may lie before 1970, as people read it.
pub(crate) fn file_time(ns: i64) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S.%9f %:z")
        .to_string()
}

/// A file's time as programs read it.
pub(crate) fn json_file_time(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns))
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// The wall clock, in ns since the Unix epoch.
pub(crate) fn now() -> EventTime {
    u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// A file name for the screen: what is not printable stands as `\xNN`, so that no name can play with a terminal.
pub(crate) fn path(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                let mut buffer = [0; 4];
                escape(&mut text, c.encode_utf8(&mut buffer).as_bytes());
            } else {
                text.push(c);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// A path with its leading slash.
pub(crate) fn rooted(bytes: &[u8]) -> String {
    format!("/{}", path(bytes.strip_prefix(b"/").unwrap_or(bytes)))
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// A path for programs: text under `key`; where the bytes are not UTF-8, they stand in hex under `key_hex` too.
pub(crate) fn json_path(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(
        key.into(),
        String::from_utf8_lossy(bytes).into_owned().into(),
    );
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{key}_hex"), hex(bytes).into());
    }
}

/// An object with paths in it as text: where the bytes of one are not UTF-8, they stand in hex under `KEY_hex` too.
pub(crate) fn with_hex(mut object: Value, paths: &[(&str, &OsStr)]) -> Value {
    for (key, path) in paths {
        if path.to_str().is_none() {
            object[format!("{key}_hex")] = hex(path.as_bytes()).into();
        }
    }
    object
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads a size such as `4096`, `64MiB`, `1.5G` (powers of 1024) or `10GB` (powers of 1000), in bytes.
///
/// # Errors
/// A sentence for clap.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let bad = || format!("{text:?} is no size: write 4096, 64MiB or 1.5GiB");
    if number.is_empty() {
        return Err(bad());
    }
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("{unit:?} is no unit: use KiB, MiB, GiB or TiB")),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty()
        || fraction.len() > 9
        || fraction.contains('.')
        || (scale == 1 && number.contains('.'))
    {
        return Err(bad());
    }
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let tenth_power = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let fraction: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().map_err(|_| bad())?
    };
    let bytes = whole
        .checked_mul(u128::from(scale))
        .map(|b| b + fraction * u128::from(scale) / tenth_power);
    bytes
        .and_then(|b| u64::try_from(b).ok())
        .ok_or_else(|| format!("{text} is more than 16 EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(span(1_500_000_000), "1.5 s");
        assert_eq!(span(26 * 3_600_000_000_000), "26.0 h");
        assert_eq!(span(u64::MAX), "213503.9 days");
    }

    #[test]
    fn sizes_are_understood() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("1.5k", 1536),
            ("10GB", 10_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "x",
            "1.5",
            "-1",
            "1..5k",
            "99999999999999999999",
            "17EiB",
            "20000000T",
            "1e9",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_names_stay_on_their_line() {
        assert_eq!(path(b"a\n\x1b[2J\xff/b"), "a\\x0a\\x1b[2J\\xff/b");
        assert_eq!(path("é".as_bytes()), "é");
    }
}
