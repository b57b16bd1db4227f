//! What can be learnt from a journal: differences, block maps, the audit trail, versions of files, verification, anchors, replay.
//!
//! Pure data out: nothing here prints, asks or writes to a store. Every function takes an open [`strand_engine::Store`] (read-only access
//! is enough) or trees of its states.

pub mod anchor;
pub mod check;
pub mod diff;
pub mod forecast;
pub mod log;
pub mod map;
pub mod paths;
mod prefix;
pub mod space;
mod trees;
pub mod verify;
pub mod versions;
