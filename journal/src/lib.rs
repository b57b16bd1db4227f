//! The append-only, checksummed, hash-chained journal: frames, segments, chain, group commit, disks.
//!
//! This crate knows bytes and positions, and nothing of volumes. A *record* is an opaque string of bytes with a time
//! and some 4 KiB payload blocks; it gets a *number* (1, 2, 3 …), and each payload block gets an *address* that never
//! changes. The bytes on disk are described in `docs/format.md`; what the disks may do is in [`disk`].
//!
//! What must not come in here: events, volumes, clocks, randomness.

mod address;
mod ahead;
mod archive;
mod barrier;
mod beside;
mod block;
mod blocks;
pub mod disk;
mod error;
mod fields;
mod frame;
mod journal;
mod leaves;
mod placement;
mod reader;
mod recent;
mod recovery;
mod room;
mod scan;
mod segments;
mod store_file;
mod tree;
mod varint;
mod walk;
mod writer;

pub use address::{BlockAddr, ChainHash, MAX_ADDRESS, Start, StoreId, Ticket};
pub use archive::{ArchiveError, Archived, CopyArchive, Moved, read_horizon as horizon};
pub use beside::Durable;
pub use block::{Block, Slab};
pub use disk::{CallKind, Disk, DiskFile, FaultyDisk, FileDisk, MemoryDisk, SlowDisk};
pub use error::{Error, Holder, Kind, VisitError};
pub use frame::{Crcs, Entries, Entry, Frame, FrameError};
pub use journal::{CreateOptions, Head, Journal, Placement};
pub use leaves::{LEAF_SIZE, leaf, leaves};
pub use placement::{Record, max_record_blocks, record_blocks_in};
pub use reader::{BadBlock, BadReason, FrameIter, FramesBack, Reader};
pub use recovery::{Access, Damage, OpenOptions, Recovery, Torn};
pub use room::{SegmentInfo, SegmentState, Space};
pub use store_file::{FORMAT_VERSION, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, StoreFile};

/// Bytes of a payload block, and of a header block.
pub const BLOCK_SIZE: usize = 4096;
/// Most blocks of a frame, its header blocks included (2 MiB): what one write carries, and what one read of a frame
/// may need in memory.
pub const MAX_FRAME_BLOCKS: u32 = 512;
/// Most payload blocks of one record (1 MiB): with [`MAX_RECORD_BYTES`] it makes sure that every record fits a frame.
pub const MAX_RECORD_PAYLOAD: u32 = 256;
/// Most bytes of one record, without its payload.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;
/// Most header blocks (together, 64 MiB) of the run of frames that one command may take: recovery keeps a run's
/// headers in memory until it has seen the last one.
pub const MAX_RUN_HEADER_BLOCKS: u32 = 16 * 1024;
/// The segment size unless another is asked for: 64 MiB.
pub const DEFAULT_SEGMENT_SIZE: u64 = 64 << 20;
