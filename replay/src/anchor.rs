//! The anchor: what to write down elsewhere, so that later nobody can alter what came before without `verify` telling.

use serde::Serialize;
use strand_engine::{EventTime, Seq, Store};
use strand_journal::ChainHash;

/// A position and the hash that binds everything up to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// The last number that the hash covers.
    pub seq: Seq,
    /// The chain hash of the frame that ends with it.
    pub chain: ChainHash,
    /// The time of that event, in ns since the Unix epoch.
    pub time: EventTime,
}

impl Serialize for Anchor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Anchor", 3)?;
        fields.serialize_field("seq", &self.seq)?;
        fields.serialize_field("chain", &self.chain.to_string())?;
        fields.serialize_field("time", &self.time)?;
        fields.end()
    }
}

/// The anchor of the last durable frame. On a store without events the number is 0 and the hash the store's own beginning.
#[must_use]
pub fn anchor(store: &Store) -> Anchor {
    let end = store.journal().reader().end();
    Anchor {
        seq: end.number.saturating_sub(1),
        chain: end.chain,
        time: end.time,
    }
}
