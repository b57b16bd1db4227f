//! A schedule in words: `15m`, `4h:all,2d:hourly,30d:daily`.

use super::{Keep, MAX_KEEPS, Schedule};
use std::fmt;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The units, the greatest first.
const UNITS: [(&str, u64); 5] = [
    ("w", WEEK),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
];

/// Words for how much is kept of a stretch of time.
const WORDS: [(&str, u64); 5] = [
    ("all", 0),
    ("minutely", MINUTE),
    ("hourly", HOUR),
    ("daily", DAY),
    ("weekly", WEEK),
];

/// Reads a stretch of time such as `90s`, `15m`, `4h`, `30d` or `2w`, in ns.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = UNITS.iter().find(|(name, _)| *name == unit);
    let (Some((_, scale)), false) = (scale, number.is_empty()) else {
        return Err(format!(
            "{text:?} is no stretch of time: write 90s, 15m, 4h, 30d or 2w"
        ));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*scale))
        .ok_or_else(|| format!("{text} is too long"))
}

/// A stretch of time as [`parse_duration`] reads it, in its greatest whole unit; parts of a second are left out.
#[must_use]
pub fn duration(ns: u64) -> String {
    let whole = |scale: &u64| ns >= *scale && ns.is_multiple_of(*scale);
    // Days before weeks: nobody says four weeks and two days for thirty.
    let mut units = UNITS.iter().skip(1);
    let (name, scale) = units
        .find(|(_, scale)| whole(scale))
        .unwrap_or(&("s", SECOND));
    format!("{}{name}", ns / scale)
}

/// Reads what is kept: steps of `AGE:HOW`, where HOW is `all`, `minutely`, `hourly`, `daily`, `weekly`, or a stretch of time.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_keep(text: &str) -> Result<Vec<Keep>, String> {
    let steps: Vec<Keep> = text.split(',').map(parse_step).collect::<Result<_, _>>()?;
    if steps.len() > MAX_KEEPS {
        return Err(format!("more than {MAX_KEEPS} steps"));
    }
    let grows = |a: &Keep, b: &Keep| a.age < b.age && a.every <= b.every;
    if !steps.is_sorted_by(grows) || steps.iter().any(|step| step.age == 0) {
        return Err(format!(
            "{text:?} contradicts itself: ages grow from step to step, and what is kept becomes less, as in 4h:all,2d:hourly,30d:daily"
        ));
    }
    Ok(steps)
}

fn parse_step(text: &str) -> Result<Keep, String> {
    let Some((age, how)) = text.trim().split_once(':') else {
        return Err(format!("{text:?} is no AGE:HOW, as 2d:hourly is"));
    };
    let word = WORDS.iter().find(|(word, _)| *word == how);
    let every = match word {
        Some((_, every)) => *every,
        None => parse_duration(how).map_err(|_| {
            format!("{how:?} is not all, minutely, hourly, daily, weekly, or a stretch of time")
        })?,
    };
    Ok(Keep {
        age: parse_duration(age)?,
        every,
    })
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = duration(self.age);
        match WORDS.iter().find(|(_, every)| *every == self.every) {
            Some((word, _)) => write!(f, "{age}:{word}"),
            None => write!(f, "{age}:{}", duration(self.every)),
        }
    }
}

/// `every 15m, keep 4h:all,2d:hourly,30d:daily`
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {}, keep ", duration(self.every))?;
        for (i, keep) in self.keep.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            keep.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "4h:all,2d:hourly,30d:daily",
            "1m:all",
            "90m:all,1d:30m,365d:weekly",
        ] {
            let schedule = Schedule {
                every: 15 * MINUTE,
                keep: parse_keep(text).expect("a keep"),
            };
            assert!(schedule.is_sound());
            assert_eq!(schedule.to_string(), format!("every 15m, keep {text}"));
        }
        assert_eq!(parse_duration("2w"), Ok(14 * DAY));
        assert_eq!(duration(14 * DAY), "14d");
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(90 * SECOND + 1), "90s");
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        for bad in [
            "",
            "4h",
            "4h:",
            ":all",
            "4h:often",
            "0h:all",
            "2d:hourly,4h:all",
            "4h:hourly,2d:all",
            "4h:all,4h:hourly",
            "4h:all,",
            "99999999999999999999d:all",
            "-4h:all",
        ] {
            assert!(parse_keep(bad).is_err(), "{bad}");
        }
        let many = vec!["1h:all"; 17].join(",");
        assert!(parse_keep(&many).is_err());
        for bad in ["", "h", "15", "15 m", "1.5h", "-1h", "999999999999w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
