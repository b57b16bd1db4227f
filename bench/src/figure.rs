//! A line of the table: what was promised, what was measured.

use std::fmt::Write;

/// What a number counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// A ratio to a baseline.
    Times,
    /// Seconds.
    Seconds,
    /// Bytes of memory.
    Bytes,
    /// Events a second.
    EventsPerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// Operations or transactions a second.
    PerSecond,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Times => format!("{value:.2} x"),
            Unit::Bytes => format!("{value:.1} B"),
            Unit::EventsPerSecond => format!("{:.2} M/s", value / 1e6),
            Unit::BytesPerSecond => format!("{:.2} GB/s", value / 1e9),
            Unit::PerSecond => format!("{value:.0}/s"),
            Unit::Seconds if value.abs() < 1e-3 => format!("{:.1} µs", value * 1e6),
            Unit::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
        }
    }
}

/// What was promised.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// This, or more.
    AtLeast(f64),
    /// This, or less.
    AtMost(f64),
}

/// A figure of the table.
pub(crate) struct Figure {
    name: String,
    target: String,
    measured: String,
    baseline: String,
    /// The median keeps the promise.
    pub(crate) met: bool,
}

impl Figure {
    /// A figure from its samples; their median is held against the goal.
    pub(crate) fn new(name: impl Into<String>, goal: Goal, unit: Unit, samples: &[f64]) -> Self {
        let middle = median(samples);
        let (sign, bound, met) = match goal {
            Goal::AtLeast(bound) => ("≥", bound, middle >= bound),
            Goal::AtMost(bound) => ("≤", bound, middle <= bound),
        };
        let mut measured = unit.show(middle);
        if samples.len() > 1 {
            let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
            let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let _ = write!(measured, " ({} – {})", unit.show(low), unit.show(high));
        }
        Self {
            name: name.into(),
            target: format!("{sign} {}", unit.show(bound)),
            measured,
            baseline: String::new(),
            met,
        }
    }

    /// Says what it was compared with, or measured on.
    pub(crate) fn beside(mut self, baseline: impl Into<String>) -> Self {
        self.baseline = baseline.into();
        self
    }

    /// Something else must hold as well; what is added to the target.
    pub(crate) fn and(mut self, target: &str, holds: bool) -> Self {
        let _ = write!(self.target, "{target}");
        self.met &= holds;
        self
    }

    /// A group that could not be measured.
    pub(crate) fn failed(group: &str, failure: &dyn std::fmt::Display) -> Self {
        let reason = failure
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        Self {
            name: format!("{group}: not measured"),
            target: String::new(),
            measured: reason,
            baseline: String::new(),
            met: false,
        }
    }
}

/// The middle of the samples; 0 of none.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// All figures, aligned.
pub(crate) fn table(figures: &[Figure]) -> String {
    let head = [
        "figure",
        "target",
        "measured: median (min – max)",
        "baseline",
        "met",
    ]
    .map(String::from);
    let rows = figures.iter().map(|f| {
        let met = if f.met { "yes" } else { "NO" };
        [
            f.name.clone(),
            f.target.clone(),
            f.measured.clone(),
            f.baseline.clone(),
            met.to_owned(),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_held_against_the_goal() {
        let figure = Figure::new("a", Goal::AtMost(2.0), Unit::Times, &[1.0, 9.0, 2.0]);
        assert!(figure.met);
        assert_eq!(figure.measured, "2.00 x (1.00 x – 9.00 x)");
        assert!(!Figure::new("a", Goal::AtLeast(2.0), Unit::Times, &[1.0, 2.0]).met);
        assert!(!figure.and(", flat", false).met);
    }

    #[test]
    fn columns_are_aligned() {
        let figures = [
            Figure::new("short", Goal::AtMost(1e-3), Unit::Seconds, &[2e-6]),
            Figure::new(
                "a longer name",
                Goal::AtLeast(1e6),
                Unit::EventsPerSecond,
                &[2e6],
            ),
        ];
        let table = table(&figures);
        let at: Vec<usize> = table
            .lines()
            .skip(1)
            .filter_map(|line| line.chars().position(|c| c == '≤' || c == '≥'))
            .collect();
        assert_eq!(at, [15, 15]);
    }
}
