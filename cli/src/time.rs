//! Times as people write them: RFC 3339, a local date and time, a time of today, or how long ago. Pure: now and the
//! time zone come in.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use strand_engine::{EventTime, Kind, Refusal, is_duration, parse_duration};

/// The forms, for messages.
pub(crate) const FORMS: &str =
    "write 10m, 2h, 10:00, \"2026-11-21 10:00:02\" or 2026-11-21T10:00:02+01:00";

/// Says whether a text starts like a time, so that a message can speak of times and not of names.
pub(crate) fn looks_like_time(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[digits..];
    digits > 0
        && (rest.starts_with(':')
            || is_duration(text)
            || (digits == 4 && rest.starts_with('-') && text.len() >= 10)
            || (digits == 8 && rest.starts_with('T')))
}

/// Reads a time.
///
/// # Errors
/// [`Kind::Invalid`] for what is no time, [`Kind::OutOfRange`] for a local time that the clock showed twice or never,
/// and for times before 1970.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<EventTime, Refusal> {
    let text = text.trim();
    if is_duration(text) {
        let ns = parse_duration(text).map_err(|_| too_far(text))?;
        let then = now
            .timestamp()
            .as_nanosecond()
            .checked_sub(i128::from(ns))
            .ok_or_else(|| too_far(text))?;
        return u64::try_from(then).map_err(|_| too_far(text));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return from_timestamp(timestamp, text);
    }
    let civil = civil_time(text, now)
        .ok_or_else(|| Refusal::new(Kind::Invalid, format!("{text:?} is no time")).next(FORMS))?;
    local(civil, now.time_zone(), text)
}

fn civil_time(text: &str, now: &Zoned) -> Option<civil::DateTime> {
    for form in ["%H:%M", "%H:%M:%S"] {
        if let Ok(time) = civil::Time::strptime(form, text) {
            return Some(now.date().to_datetime(time));
        }
    }
    for form in ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = civil::DateTime::strptime(form, text) {
            return Some(time);
        }
    }
    text.parse::<civil::DateTime>().ok()
}

fn local(civil: civil::DateTime, zone: &TimeZone, text: &str) -> Result<EventTime, Refusal> {
    let ambiguous = zone.to_ambiguous_zoned(civil);
    if ambiguous.is_ambiguous() {
        let offset = ambiguous.offset();
        let why = match offset {
            jiff::tz::AmbiguousOffset::Fold { before, after } => {
                format!("the clock showed it twice, at {before} and at {after}")
            }
            _ => "the clock never showed it: it was put forward".to_owned(),
        };
        return Err(
            Refusal::new(Kind::OutOfRange, format!("{text:?} is ambiguous"))
                .why(why)
                .next("write it with its offset, as in 2026-10-25T02:30:00+01:00"),
        );
    }
    let zoned = ambiguous.unambiguous().map_err(|_| too_far(text))?;
    from_timestamp(zoned.timestamp(), text)
}

fn from_timestamp(timestamp: Timestamp, text: &str) -> Result<EventTime, Refusal> {
    u64::try_from(timestamp.as_nanosecond()).map_err(|_| too_far(text))
}

fn too_far(text: &str) -> Refusal {
    Refusal::new(
        Kind::OutOfRange,
        format!("{text:?} lies before every store"),
    )
    .next(FORMS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-21T10:00:00+01:00[Europe/Berlin]"
            .parse()
            .expect("a time")
    }

    fn ns(rfc: &str) -> u64 {
        u64::try_from(rfc.parse::<Timestamp>().expect("a time").as_nanosecond())
            .expect("after 1970")
    }

    #[test]
    fn every_form_of_the_contract_is_understood() {
        for (text, rfc) in [
            ("2026-11-21T09:00:02Z", "2026-11-21T09:00:02Z"),
            ("2026-11-21T10:00:02.5+01:00", "2026-11-21T09:00:02.5Z"),
            ("2026-11-20 23:30", "2026-11-20T22:30:00Z"),
            ("2026-11-20 23:30:59", "2026-11-20T22:30:59Z"),
            ("2026-07-01 12:00", "2026-07-01T10:00:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("09:15", "2026-11-21T08:15:00Z"),
            ("10m", "2026-11-21T08:50:00Z"),
            ("2h", "2026-11-21T07:00:00Z"),
            ("1d", "2026-11-20T09:00:00Z"),
        ] {
            assert_eq!(parse(text, &now()), Ok(ns(rfc)), "{text}");
            assert!(looks_like_time(text), "{text}");
        }
    }

    #[test]
    fn the_hour_that_came_twice_is_refused() {
        let refusal = parse("2026-10-25 02:30", &now()).expect_err("ambiguous");
        assert_eq!(refusal.kind, Kind::OutOfRange);
        assert!(refusal.why.expect("a reason").contains("twice"));
        let refusal = parse("2026-03-29 02:30", &now()).expect_err("skipped");
        assert!(refusal.why.expect("a reason").contains("never"));
        assert_eq!(
            parse("2026-10-25T02:30:00+01:00", &now()),
            Ok(ns("2026-10-25T01:30:00Z"))
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "noon",
            "25:00",
            "2026-13-01",
            "99999999999999999999h",
            "1000000w",
            "-5m",
            "1900-01-01",
            "10 m",
        ] {
            assert!(parse(bad, &now()).is_err(), "{bad}");
        }
        for name in ["before-upgrade", "v2", "2026", "10mm"] {
            assert!(!looks_like_time(name), "{name}");
        }
    }
}
