//! Whether a store is well: what its opening met, and what the last verification found.

use crate::output::units;
use serde_json::{Value, json};
use strand_engine::last_verify::{DataVerify, LastVerify};
use strand_engine::{Opening, Store};

/// Whether it was closed in good order when it was last written.
pub(super) fn is_clean(opening: &Opening) -> bool {
    opening.recovery.as_ref().is_none_or(|r| r.clean)
}

/// Whether a store is well, in one word or a few.
pub(crate) fn health(store: &Store) -> (bool, String) {
    let recovery = store.opening().recovery.as_ref();
    if let Some(damage) = recovery.and_then(|r| r.damage.as_ref()) {
        return (false, format!("damaged: {damage}"));
    }
    if let Some(damage) = &store.opening().damage {
        return (false, format!("damaged: {damage}"));
    }
    if Verified::of(store).found_damage() {
        let text = "it opens well, but the last verification found damage";
        return (false, text.into());
    }
    if let Some(torn) = recovery.and_then(|r| r.torn.as_ref()) {
        return (
            true,
            format!(
                "healthy; a torn tail of {} is left out (never acknowledged)",
                units::size(torn.bytes)
            ),
        );
    }
    let bad = &store.opening().bad_state_files;
    if !bad.is_empty() {
        return (
            true,
            format!(
                "healthy, but {} cannot be used",
                units::counted(bad.len() as u64, "state file")
            ),
        );
    }
    (true, "healthy".into())
}

/// What is known of the last verification.
pub(super) enum Verified {
    /// There was none.
    Never,
    /// Its record cannot be used; the next one replaces it.
    Unknown,
    /// What it found.
    Found(LastVerify),
}

impl Verified {
    /// Of this store.
    pub(super) fn of(store: &Store) -> Self {
        match store.last_verify() {
            Ok(None) => Self::Never,
            Ok(Some(found)) => Self::Found(found),
            Err(error) => {
                tracing::debug!(%error, "last-verify");
                Self::Unknown
            }
        }
    }

    fn found_damage(&self) -> bool {
        matches!(self, Self::Found(found) if !found.ok || bad_blocks(found) > 0)
    }

    /// In a line, and whether that is good news, or none.
    pub(super) fn text(&self) -> (bool, String) {
        let found = match self {
            Self::Never => return (true, "never: strand verify --data".into()),
            Self::Unknown => {
                let text = "not known: the file last-verify cannot be used; strand verify";
                return (true, text.into());
            }
            Self::Found(found) => found,
        };
        let outcome = match (self.found_damage(), bad_blocks(found)) {
            (false, _) => "ok".to_owned(),
            (true, 0) => "DAMAGED".to_owned(),
            (true, n) => format!("DAMAGED ({})", units::counted(n, "data block")),
        };
        let data = match &found.data {
            None => "without the data".to_owned(),
            Some(data) if data.time == found.time => "with the data".to_owned(),
            Some(data) => format!("the data {}", units::time(data.time)),
        };
        let text = format!("{outcome}, {}, {data}", units::time(found.time));
        (!self.found_damage(), text)
    }

    /// For programs; null where nothing is known.
    pub(super) fn json(&self) -> Value {
        let Self::Found(found) = self else {
            return Value::Null;
        };
        let data = |data: &DataVerify| {
            json!({
                "time": units::json_time(data.time), "seq": data.seq,
                "bad_blocks": data.bad.len() as u64 + data.more,
            })
        };
        json!({
            "time": units::json_time(found.time), "seq": found.seq, "ok": !self.found_damage(),
            "data": found.data.as_ref().map(data),
        })
    }
}

/// Data blocks that could not be read when the data was last looked at.
fn bad_blocks(found: &LastVerify) -> u64 {
    let count = |data: &DataVerify| data.bad.len() as u64 + data.more;
    found.data.as_ref().map_or(0, count)
}
