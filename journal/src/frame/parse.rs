//! Reading a header that may be anything: every length, count and offset is checked before it is used.

use super::core::{self, FIXED, Layout, TRAILER, flags};
use crate::address::{BlockAddr, ChainHash, Start};
use crate::archive::ArchiveError;
use crate::block::is_blank;
use crate::fields::{array, u16_at, u32_at, u64_at};
use crate::{BLOCK_SIZE, MAX_FRAME_BLOCKS, MAX_RECORD_BYTES, MAX_RECORD_PAYLOAD, tree, varint};

/// Why bytes are no frame, or not the one expected.
#[derive(Copy, Clone, Eq, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The file ends before.
    #[error("the file ends here")]
    Short,
    /// The segment's file is not there.
    #[error("the segment is missing")]
    Missing,
    /// All bytes are zero: nothing was written here.
    #[error("nothing was written here")]
    Blank,
    /// No frame's magic.
    #[error("no frame begins here")]
    Magic,
    /// A header version that is not known.
    #[error("unknown frame version {0}")]
    Version(u16),
    /// Lengths that contradict each other or the limits.
    #[error("impossible lengths")]
    Lengths,
    /// The header's crc32 is wrong.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A header of another store.
    #[error("a frame of another store")]
    Store,
    /// A header that belongs to another place.
    #[error("a frame of another place")]
    Position,
    /// Unknown flags, or flags that contradict the contents.
    #[error("impossible flags")]
    Flags,
    /// Unused bytes that are not zero.
    #[error("unused bytes are not zero")]
    NotZero,
    /// Records that cannot be read.
    #[error("impossible records")]
    Records,
    /// Not the number expected.
    #[error("another number than expected")]
    Number,
    /// Times that run back.
    #[error("time runs back")]
    Time,
    /// The chain hash of the frame before is another.
    #[error("the chain is broken")]
    Chain,
    /// The frame before begins elsewhere.
    #[error("the frame before begins elsewhere")]
    Previous,
    /// Not the open-epoch expected.
    #[error("another epoch than expected")]
    Epoch,
    /// A payload block's crc32 is wrong.
    #[error("a payload block's checksum is wrong")]
    Payload,
    /// The last frame of a run is missing.
    #[error("the rest of the command is missing")]
    RunUnfinished,
    /// A run beyond its limit.
    #[error("a command without end")]
    RunTooLong,
    /// The archive that stands in for the segment's file is no good.
    #[error("its archive {0}")]
    Archive(ArchiveError),
}

/// A frame's header, checked. The payload is not here.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// The segment it lies in, from 1.
    pub segment: u64,
    /// Its first block in the segment.
    pub block: u32,
    /// First block of the frame before in this segment; `u32::MAX` if it is the first.
    pub previous_block: u32,
    /// Header blocks, at least 1.
    pub header_blocks: u32,
    /// Payload blocks, may be 0.
    pub payload_blocks: u32,
    /// Number of the first record, or of the next one where the frame has none.
    pub first: u64,
    /// Records; 0 in the frames that begin an epoch or close a store.
    pub count: u32,
    /// The open-epoch.
    pub epoch: u64,
    /// Everything up to this number was durable when the frame was built.
    pub flushed: u64,
    /// The command goes on in the next frame.
    pub more: bool,
    /// The store was closed in good order here.
    pub close: bool,
    /// First frame of its epoch.
    pub epoch_first: bool,
    /// Time of the first record, or the last known one; ns since the Unix epoch.
    pub time: u64,
    /// Time of the last record, or the last known one.
    pub last_time: u64,
    /// Chain hash of the frame before.
    pub previous: ChainHash,
    /// Chain hash of this frame.
    pub chain: ChainHash,
    /// Root of the hash tree over the payload blocks; zeros if there are none.
    pub root: [u8; 32],
    /// It was read from an archive: its core is here, its leaves and its payload are gone.
    pub archived: bool,
    layout: Layout,
    records_len: usize,
    /// The header blocks; of an archived frame, the core alone.
    header: Vec<u8>,
}

/// Whether a block begins with a frame's magic.
pub(crate) fn looks_like_frame(block: &[u8]) -> bool {
    block.starts_with(&core::MAGIC)
}

/// Header and payload blocks that the first block of a header at `block` announces, if they are possible there.
pub(crate) fn shape(
    first_block: &[u8],
    block: u32,
    layout: &Layout,
) -> Result<(u32, u32), FrameError> {
    if first_block.len() < FIXED {
        return Err(FrameError::Short);
    }
    if !looks_like_frame(first_block) {
        let blank = is_blank(first_block);
        return Err(if blank {
            FrameError::Blank
        } else {
            FrameError::Magic
        });
    }
    let version = u16_at(first_block, core::AT_VERSION);
    if version != core::VERSION {
        return Err(FrameError::Version(version));
    }
    let header = u32::from(u16_at(first_block, core::AT_HEADER_BLOCKS));
    let payload = u32::from(u16_at(first_block, core::AT_PAYLOAD_BLOCKS));
    let total = header + payload;
    let room = layout.blocks().saturating_sub(block);
    if header == 0 || total > MAX_FRAME_BLOCKS || total > room {
        return Err(FrameError::Lengths);
    }
    Ok((header, payload))
}

/// Whether a core is one of this store and this place; gives the length of its records.
fn check_place(
    core: &[u8],
    segment: u64,
    block: u32,
    layout: &Layout,
) -> Result<usize, FrameError> {
    if core[core::AT_STORE..core::AT_STORE + 16] != layout.store.0 {
        return Err(FrameError::Store);
    }
    if u64_at(core, core::AT_SEGMENT) != segment || u32_at(core, core::AT_BLOCK) != block {
        return Err(FrameError::Position);
    }
    Ok(u32_at(core, core::AT_RECORDS_LEN) as usize)
}

impl Frame {
    /// Checks a whole header that was read at `segment`, `block`. `header` has exactly the header blocks that [`shape`]
    /// found.
    pub(crate) fn parse(
        header: Vec<u8>,
        segment: u64,
        block: u32,
        layout: &Layout,
    ) -> Result<Frame, FrameError> {
        let (header_blocks, payload_blocks) = shape(&header, block, layout)?;
        if header.len() != header_blocks as usize * BLOCK_SIZE {
            return Err(FrameError::Lengths);
        }
        let crc_at = header.len() - TRAILER;
        if crc32fast::hash(&header[..crc_at]) != u32_at(&header, crc_at) {
            return Err(FrameError::Checksum);
        }
        let records_len = check_place(&header, segment, block, layout)?;
        let core_len = FIXED + 4 * payload_blocks as usize + records_len;
        let leaves_end = core_len + 16 * payload_blocks as usize;
        if leaves_end > crc_at {
            return Err(FrameError::Lengths);
        }
        if !is_blank(&header[leaves_end..crc_at]) {
            return Err(FrameError::NotZero);
        }
        Frame::read(header, core_len, layout)
    }

    /// Checks a core that stood at `segment`, `block` once.
    pub(crate) fn from_core(
        core: Vec<u8>,
        segment: u64,
        block: u32,
        layout: &Layout,
    ) -> Result<Frame, FrameError> {
        let (header_blocks, payload_blocks) = shape(&core, block, layout)?;
        let records_len = check_place(&core, segment, block, layout)?;
        let core_len = FIXED + 4 * payload_blocks as usize + records_len;
        let room = core::header_fits(header_blocks, payload_blocks, records_len);
        if core.len() != core_len || !room {
            return Err(FrameError::Lengths);
        }
        let frame = Frame::read(core, core_len, layout)?;
        Ok(Frame {
            archived: true,
            ..frame
        })
    }

    /// Reads the fields of a core, whose lengths are right, from the front of `header`.
    fn read(header: Vec<u8>, core_len: usize, layout: &Layout) -> Result<Frame, FrameError> {
        let bits = u16_at(&header, core::AT_FLAGS);
        let previous = ChainHash(array(&header, core::AT_PREVIOUS));
        let payload_blocks = u32::from(u16_at(&header, core::AT_PAYLOAD_BLOCKS));
        let mut frame = Frame {
            segment: u64_at(&header, core::AT_SEGMENT),
            block: u32_at(&header, core::AT_BLOCK),
            previous_block: u32_at(&header, core::AT_PREVIOUS_BLOCK),
            header_blocks: u32::from(u16_at(&header, core::AT_HEADER_BLOCKS)),
            payload_blocks,
            first: u64_at(&header, core::AT_FIRST),
            count: u32_at(&header, core::AT_COUNT),
            epoch: u64_at(&header, core::AT_EPOCH),
            flushed: u64_at(&header, core::AT_FLUSHED),
            more: bits & flags::MORE != 0,
            close: bits & flags::CLOSE != 0,
            epoch_first: bits & flags::EPOCH != 0,
            time: u64_at(&header, core::AT_TIME),
            last_time: 0,
            previous,
            chain: previous.next(&header[..core_len]),
            root: array(&header, core::AT_ROOT),
            archived: false,
            layout: *layout,
            records_len: core_len - FIXED - 4 * payload_blocks as usize,
            header,
        };
        frame.check_fields(bits)?;
        frame.last_time = frame.check_records()?;
        Ok(frame)
    }

    fn check_fields(&self, bits: u16) -> Result<(), FrameError> {
        let empty = self.count == 0;
        let impossible = bits & !flags::ALL != 0
            || (self.more && empty)
            || (self.close && (!empty || self.epoch_first))
            || (empty && (self.payload_blocks != 0 || self.records_len != 0));
        if impossible {
            return Err(FrameError::Flags);
        }
        if self.first == 0
            || self.flushed >= self.first
            || self.first.checked_add(u64::from(self.count)).is_none()
        {
            return Err(FrameError::Number);
        }
        let root_blank = self.root == [0; 32];
        let previous_ok = self.previous_block < self.block || self.previous_block == core::NO_BLOCK;
        if root_blank != (self.payload_blocks == 0) || !previous_ok {
            return Err(FrameError::Lengths);
        }
        Ok(())
    }

    /// Reads all records once and gives the time of the last.
    fn check_records(&self) -> Result<u64, FrameError> {
        let mut last = self.time;
        let mut entries = self.entries();
        for entry in entries.by_ref() {
            last = entry?.time;
        }
        let all = entries.number == self.next_number()
            && entries.rest.is_empty()
            && entries.payload == self.payload_blocks;
        if all {
            Ok(last)
        } else {
            Err(FrameError::Records)
        }
    }

    /// The records, in order.
    pub fn entries(&self) -> Entries<'_> {
        let records = FIXED + 4 * self.payload_blocks as usize;
        Entries {
            frame: self,
            rest: &self.header[records..records + self.records_len],
            number: self.first,
            time: self.time,
            payload: 0,
            failed: false,
        }
    }

    /// The place right behind it.
    pub fn behind(&self) -> Start {
        Start {
            number: self.next_number(),
            segment: self.segment,
            block: self.end_block(),
            previous_block: self.block,
            chain: self.chain,
            time: self.last_time,
            epoch: self.epoch,
        }
    }

    /// The number after the last record.
    pub fn next_number(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// The last number, or the one before `first` where there are no records.
    pub fn last(&self) -> u64 {
        self.next_number() - 1
    }

    /// The block behind the frame.
    pub fn end_block(&self) -> u32 {
        self.block + self.header_blocks + self.payload_blocks
    }

    /// Address of the first payload block, or of where it would be.
    pub fn payload_addr(&self) -> BlockAddr {
        self.layout
            .addr(self.segment, self.block + self.header_blocks)
    }

    /// The crc32 of each payload block.
    pub fn crcs(&self) -> Crcs<'_> {
        Crcs(self.crc_bytes())
    }

    /// Those, as they stand in the core.
    pub(crate) fn crc_bytes(&self) -> &[u8] {
        &self.header[FIXED..FIXED + 4 * self.payload_blocks as usize]
    }

    /// The flag bits.
    pub(crate) fn flags(&self) -> u16 {
        u16_at(&self.header, core::AT_FLAGS)
    }

    /// The leaves of the hash tree: 16 bytes for each payload block; none where the frame is archived.
    pub fn leaves(&self) -> &[u8] {
        if self.archived {
            return &[];
        }
        let start = FIXED + 4 * self.payload_blocks as usize + self.records_len;
        &self.header[start..start + 16 * self.payload_blocks as usize]
    }

    /// The core: what the chain binds.
    pub fn core(&self) -> &[u8] {
        &self.header[..FIXED + 4 * self.payload_blocks as usize + self.records_len]
    }

    /// All header blocks as they lie on disk; of an archived frame, the core.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Whether the leaves have the root that the core names. Of an archived frame there are none, and nothing speaks against it.
    pub fn root_matches(&self) -> bool {
        self.archived || tree::root(self.leaves()) == self.root
    }
}

/// One record of a frame.
#[derive(Copy, Clone, Debug)]
pub struct Entry<'a> {
    /// Its number.
    pub number: u64,
    /// Its time, in ns since the Unix epoch.
    pub time: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Address of its first payload block, or of where it would be.
    pub first: BlockAddr,
    /// The crc32 of each of its payload blocks.
    pub crcs: Crcs<'a>,
}

/// The crc32s of a run of payload blocks, in place.
#[derive(Copy, Clone, Debug)]
pub struct Crcs<'a>(&'a [u8]);

impl<'a> Crcs<'a> {
    /// Over little-endian bytes, 4 for each; a rest of less than 4 is left out.
    pub fn from_le_bytes(bytes: &'a [u8]) -> Crcs<'a> {
        Crcs(bytes)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<u32> {
        self.0
            .get(i.checked_mul(4)?..)?
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)
    }

    /// All, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.chunks_exact(4).map(|crc| u32_at(crc, 0))
    }
}

/// The records of a frame, in order. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    frame: &'a Frame,
    rest: &'a [u8],
    number: u64,
    time: u64,
    payload: u32,
    failed: bool,
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Result<Entry<'a>, FrameError> {
        let mut rest = self.rest;
        let mut number = || varint::take(&mut rest).ok_or(FrameError::Records);
        let (delta, blocks, len) = (number()?, number()?, number()?);
        let first_record = self.number == self.frame.first;
        if first_record != (delta == 0) {
            return Err(FrameError::Time);
        }
        let time = self.time.checked_add(delta).ok_or(FrameError::Time)?;
        let left = self.frame.payload_blocks - self.payload;
        if blocks > u64::from(left.min(MAX_RECORD_PAYLOAD)) || len > MAX_RECORD_BYTES as u64 {
            return Err(FrameError::Records);
        }
        // Both are small now.
        let (blocks, len) = (blocks as u32, len as usize);
        let bytes = rest.get(..len).ok_or(FrameError::Records)?;
        let crcs = FIXED + 4 * self.payload as usize;
        let entry = Entry {
            number: self.number,
            time,
            bytes,
            first: self.frame.payload_addr().plus(u64::from(self.payload)),
            crcs: Crcs(&self.frame.header[crcs..crcs + 4 * blocks as usize]),
        };
        self.rest = &rest[len..];
        self.number += 1;
        self.time = time;
        self.payload += blocks;
        Ok(entry)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.number == self.frame.next_number() {
            return None;
        }
        let entry = self.read();
        self.failed = entry.is_err();
        Some(entry)
    }
}
