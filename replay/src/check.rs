//! Replay: fold the journal again from its first event, and compare the digests recorded in it.

use crate::prefix::{self, Marks};
use serde::Serialize;
use std::time::Instant;
use strand_engine::digest::{DigestCache, digest};
use strand_engine::{Error, EventTime, Kind, Refusal, Seq, State, Store};

/// What a replay gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplayReport {
    /// Events folded.
    pub events: u64,
    /// The last number folded.
    pub to: Seq,
    /// Its time, in ns since the Unix epoch.
    pub time: EventTime,
    /// Wall-clock seconds that the fold took, with its digests.
    pub seconds: f64,
    /// The digest of the state reached, in hexadecimal digits.
    pub digest: String,
    /// The digests recorded on the way, compared.
    pub compared: Vec<DigestCheck>,
    /// Whether the store's own state has the same digest; `None` where the replay ended elsewhere.
    pub equals_store: Option<bool>,
}

/// One recorded digest.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DigestCheck {
    /// The position.
    pub at: Seq,
    /// What the journal says, in hexadecimal digits.
    pub recorded: String,
    /// What the fold gave.
    pub found: String,
}

impl ReplayReport {
    /// Says whether everything that was compared is equal.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.equals_store != Some(false) && self.compared.iter().all(|c| c.recorded == c.found)
    }
}

/// Folds the journal from its first event up to `to`, or its end.
///
/// # Errors
/// [`Kind::OutOfRange`] where `to` lies past the end; damage where the journal cannot be read or an event cannot be admitted.
pub fn replay_check(store: &Store, to: Option<Seq>) -> Result<ReplayReport, Error> {
    let reader = store.journal().reader();
    let end = reader.end().number.saturating_sub(1);
    let to = to.unwrap_or(end);
    if to > end {
        let refusal = Refusal::new(Kind::OutOfRange, format!("cannot replay to seq {to}"));
        return Err(refusal.why(format!("the last number is {end}")).into());
    }
    let marks = Marks::read(&reader)?;
    let begun = Instant::now();
    let mut cache = DigestCache::default();
    let mut compared = Vec::new();
    let mut compare = |state: &State| {
        if let Some(recorded) = marks.digests.get(&state.seq) {
            let found = digest(state, &mut cache);
            compared.push(DigestCheck {
                at: state.seq,
                recorded: hex(*recorded),
                found: hex(found),
            });
        }
    };
    let base = store.beginning()?;
    let first = base.0.seq;
    let folder = prefix::fold(
        &reader,
        base,
        marks.pins.clone(),
        Some(to),
        &mut |state, _| compare(state),
    )?;
    compare(&folder.state);
    if let Some(damage) = folder.damage() {
        return Err(damage.clone().into());
    }
    let state = folder.state;
    let found = digest(&state, &mut cache);
    let own = store.state();
    Ok(ReplayReport {
        events: state.seq.saturating_sub(first),
        to: state.seq,
        time: state.time,
        seconds: begun.elapsed().as_secs_f64(),
        digest: hex(found),
        compared,
        equals_store: (own.seq == state.seq)
            .then(|| digest(&own, &mut DigestCache::default()) == found),
    })
}

pub(crate) fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}
