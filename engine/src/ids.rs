//! Identifiers. They come from counters in [`State`](crate::State) that nothing rewinds: an id never comes back.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/// An inode number, unique in the store over all volumes and all time (a clone shares its origin's).
    Ino(u64));
id!(/// A volume (or clone) of the store.
    VolumeId(u32));
id!(/// A checkpoint. A greater id was created later.
    CheckpointId(u32));
id!(/// An interned actor: who did it.
    ActorId(u32));

/// A journal number: the position of one event, from 1.
pub type Seq = u64;

/// Event time: nanoseconds since the Unix epoch, strictly increasing from event to event.
pub type EventTime = u64;
