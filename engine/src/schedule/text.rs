//! A schedule in words: `15m`, `4h:all,2d:hourly,30d:daily`.

use super::{Keep, MAX_KEEPS, Schedule};
use crate::duration::{DAY, HOUR, MINUTE, WEEK, duration, parse_duration};
use std::fmt;

/// Words for how much is kept of a stretch of time.
const WORDS: [(&str, u64); 5] = [
    ("all", 0),
    ("minutely", MINUTE),
    ("hourly", HOUR),
    ("daily", DAY),
    ("weekly", WEEK),
];

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
    }
}
