//! The turns of phrase of the demo: money, messages, ledgers; and the same for programs.

use crate::demo::bank::Integrity;
use crate::output::units::{count, zoned};
use serde_json::{Value, json};
use std::time::Duration;
use strand_engine::Ledger;
use strand_replay::log;

/// `1 entry`, `20,000 entries`.
pub(super) fn entries(number: u64) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { "entry" } else { "entries" }
    )
}

/// Cents as money, `200,123,456.78`.
pub(super) fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!(
        "{sign}{}.{:02}",
        count(cents.unsigned_abs() / 100),
        cents.unsigned_abs() % 100
    )
}

/// Milliseconds, for programs.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// A message of SQLite's, cut to a line.
pub(super) fn shortened(text: &str) -> String {
    clipped(text, 60)
}

fn clipped(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        text.to_owned()
    } else {
        text.chars().take(columns - 1).chain(['…']).collect()
    }
}

/// `10:00:03 sqlite3[812] wrote 24 blocks …`.
pub(super) fn audit_line(row: &log::Row) -> String {
    format!("{} {}", zoned(row.last_time).strftime("%H:%M:%S"), row.text)
}

/// The double entry of a checkpoint, in blocks.
pub(super) fn ledger_line(ledger: Ledger) -> String {
    let Ledger {
        copied_out,
        handed_in,
        handed_down,
        released,
    } = ledger;
    format!(
        "ledger: {} out + {} in − {} down − {} released = {} owned",
        count(copied_out),
        count(handed_in),
        count(handed_down),
        count(released),
        count(ledger.owned())
    )
}

/// The same, for programs.
pub(super) fn ledger_facts(ledger: Ledger) -> Value {
    json!({
        "copied_out": ledger.copied_out,
        "handed_in": ledger.handed_in,
        "handed_down": ledger.handed_down,
        "released": ledger.released,
        "owned": ledger.owned(),
    })
}

/// What SQLite says of its file, for programs.
pub(super) fn integrity_facts(integrity: &Integrity) -> Value {
    json!({"ok": integrity.ok, "problems": integrity.problems, "first": integrity.first})
}

/// Two objects in one.
pub(super) fn merged(first: impl Into<Value>, second: Value) -> Value {
    match (first.into(), second) {
        (Value::Object(mut all), Value::Object(more)) => {
            all.extend(more);
            Value::Object(all)
        }
        (first, _) => first,
    }
}
