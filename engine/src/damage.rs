//! What is wrong with stored bytes, and where.

use crate::ids::{Seq, VolumeId};
use std::fmt;

/// Stored bytes that cannot be right. Says where, as far as it is known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Damage {
    /// What is wrong.
    pub what: String,
    /// The number of the event concerned.
    pub seq: Option<Seq>,
    /// The file of the store, relative to its directory.
    pub place: Option<String>,
    /// The offset in that file, in bytes.
    pub offset: Option<u64>,
    /// The volume concerned.
    pub volume: Option<VolumeId>,
    /// A fold met a rollback to this position and was not given the state there; the fold driver pins it and begins again.
    pub(crate) needs_view: Option<Seq>,
}

impl Damage {
    /// Damage with a first description.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    /// Adds the event's number.
    #[must_use]
    pub fn at(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }

    /// Adds the file and the offset.
    #[must_use]
    pub fn in_file(mut self, place: impl Into<String>, offset: u64) -> Self {
        self.place = Some(place.into());
        self.offset = Some(offset);
        self
    }

    pub(crate) fn needs(seq: Seq) -> Self {
        Self {
            needs_view: Some(seq),
            ..Self::new(format!("the view seq:{seq} is not at hand"))
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(seq) = self.seq {
            write!(f, ", at event {seq}")?;
        }
        if let Some(place) = &self.place {
            write!(f, ", in {place}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Damage {}
