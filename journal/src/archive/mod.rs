//! Archives: the dense form of a sealed segment, which holds the cores of its frames and nothing else.
//!
//! `columns` has the order in which cores compress best, `file` the bytes around it, `shelf` what is read again and again,
//! `upkeep` when archives are made, when they take the place of their segments, and when they move away. An archive proves
//! itself: its cores must give the chain hash that the next segment begins behind. `docs/format.md` has every byte.

mod columns;
mod file;
mod horizon;
mod shelf;
mod upkeep;

pub use upkeep::{Archived, CopyArchive, Moved};

pub(crate) use file::path as archive_path;
pub use horizon::read as read_horizon;
pub(crate) use shelf::Shelf;

/// What is wrong with an archive.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file ends too early, or goes on too long.
    #[error("is not as long as it says")]
    Length,
    /// Something else than an archive.
    #[error("is no archive")]
    Magic,
    /// A version that is not known.
    #[error("has the unknown version {0}")]
    Version(u16),
    /// A checksum is wrong.
    #[error("has a wrong checksum")]
    Checksum,
    /// An archive of another store or of another segment.
    #[error("belongs to another place")]
    Position,
    /// Fields that contradict each other or the limits.
    #[error("contradicts itself")]
    Fields,
    /// Bytes that do not decompress to what they should.
    #[error("cannot be decompressed")]
    Compression,
    /// Columns that are no frames.
    #[error("holds no frames")]
    Columns,
    /// Its cores do not have the chain hash that they should.
    #[error("breaks the chain")]
    Chain,
}
