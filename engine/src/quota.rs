//! Quotas: what all checkpoints of one volume may own together.
//!
//! Usage is what the ledgers say, in whole blocks. It counts what checkpoints own, not what they cost otherwise; nodata checkpoints own nothing. The
//! rules are in `decide`.

use crate::block::BLOCK;
use crate::event::Event;
use crate::state::{State, Volume};
use serde::{Deserialize, Serialize};

/// The limits of one volume.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes above which no new checkpoint is taken. Below `hard`, where both are set.
    pub soft: Option<u64>,
    /// Bytes that are not exceeded, but for what is still being counted.
    pub hard: Option<u64>,
    /// The limits are enforced.
    pub on: bool,
    /// What would exceed the hard limit fails; else checkpoints give way to it.
    pub fail_writes: bool,
}

/// Which limit was reached.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// No new checkpoint is taken from here on.
    Soft,
    /// Checkpoints give way from here on, or writes fail.
    Hard,
}

impl Quota {
    /// Says whether so many blocks are more than the soft limit, where it is enforced.
    #[must_use]
    pub fn above_soft(&self, blocks: u64) -> bool {
        self.on && self.soft.is_some_and(|limit| bytes(blocks) > limit)
    }

    /// Says whether so many blocks are more than the hard limit, where it is enforced.
    #[must_use]
    pub fn above_hard(&self, blocks: u64) -> bool {
        self.on && self.hard.is_some_and(|limit| bytes(blocks) > limit)
    }
}

/// What the checkpoints of a volume own together, in bytes, by their ledgers: exact unless the volume is settling.
#[must_use]
pub fn usage(volume: &Volume) -> u64 {
    bytes(volume.images.owned())
}

fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK)
}

/// Says aloud what a quota did, to the log of the program.
pub(crate) fn warn(state: &State, events: &[Event]) {
    let name = |volume| state.volume(volume).map_or("?", |v| &*v.name);
    for event in events {
        match event {
            Event::QuotaReached {
                volume,
                limit,
                owned,
            } => {
                let (volume, owned) = (name(*volume), bytes(*owned));
                match limit {
                    Limit::Soft => tracing::warn!(
                        volume,
                        owned,
                        "the soft limit of its checkpoints is reached: no new ones until some are removed"
                    ),
                    Limit::Hard => tracing::warn!(
                        volume,
                        owned,
                        "the hard limit of its checkpoints is reached: checkpoints are given up"
                    ),
                }
            }
            Event::CheckpointDropped { checkpoint, volume } => tracing::warn!(
                volume = name(*volume),
                checkpoint = checkpoint.0,
                "a removable checkpoint was given up for the quota"
            ),
            Event::CheckpointConverted { checkpoint, .. }
                if events
                    .iter()
                    .any(|e| matches!(e, Event::QuotaReached { .. })) =>
            {
                let checkpoint = state.checkpoints.get(checkpoint).map_or("?", |c| &*c.name);
                tracing::warn!(
                    checkpoint,
                    "its images were given up for the quota: it is nodata now"
                );
            }
            _ => {}
        }
    }
}
