//! The file of an archive: a head with a table of chunks, then the chunks. Each chunk holds the frames that follow one another
//! in up to [`CHUNK`] bytes of cores, and can be read by itself: memory is bounded, whatever a segment's size.

use super::ArchiveError as Reason;
use super::columns::{self, Behind};
use crate::address::ChainHash;
use crate::disk::DiskFile;
use crate::error::Error;
use crate::fields::{array, u32_at, u64_at};
use crate::frame::{Frame, Layout, core};
use crate::segments::DIR;
use std::io::Write;

pub(super) const MAGIC: [u8; 8] = *b"STRANDAR";
const VERSION: u16 = 0;
/// A chunk takes no further frame that would make its cores longer.
const CHUNK: usize = 1 << 20;
/// Most bytes of a chunk's cores, and of its columns: one frame alone may have more than [`CHUNK`], and never so many.
const MAX_CORES: u32 = 2 << 20;
/// Most bytes of a compressed chunk: zstd never adds more.
const MAX_PACKED: u32 = MAX_CORES + (64 << 10);
/// Most chunks: two that stand side by side have more than [`CHUNK`] bytes, and a segment has at most 1 GiB.
const MAX_CHUNKS: usize = 4096;
const HEAD: usize = 144;
const ENTRY: usize = 64;
const CRC: usize = 4;
/// How hard zstd tries.
const LEVEL: i32 = 12;
/// A column this long gets a block, and so a code, of its own.
const BLOCK_OF_ITS_OWN: usize = 1 << 10;

/// The path of a segment's archive.
pub(crate) fn path(segment: u64) -> String {
    format!("{DIR}/{segment:020}.arc")
}

/// What an archive says of itself.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Head {
    pub(super) segment: u64,
    /// Number of the first record, or of the next one where there is none.
    pub(super) first: u64,
    /// Records.
    pub(super) count: u64,
    /// The block behind the last frame.
    pub(super) end: u32,
    pub(super) chain_before: ChainHash,
    pub(super) chain_after: ChainHash,
    /// Bytes of the file.
    pub(super) len: u64,
    pub(super) chunks: Vec<Chunk>,
}

/// Where a chunk lies, and what it begins with.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) struct Chunk {
    /// Block of the first frame.
    pub(super) block: u32,
    frames: u32,
    /// Number of the first record.
    number: u64,
    chain_before: ChainHash,
    /// Bytes of the cores, of the columns, and of the compressed columns.
    cores: u32,
    raw: u32,
    packed: u32,
    crc: u32,
    offset: u64,
}

fn hash_at(bytes: &[u8], at: usize) -> ChainHash {
    ChainHash(array(bytes, at))
}

impl Head {
    /// Reads and checks head and table.
    pub(super) fn read(
        file: &dyn DiskFile,
        layout: &Layout,
        segment: u64,
    ) -> Result<Result<Head, Reason>, Error> {
        let io = |error| Error::io("read", &path(segment), error);
        let mut bytes = vec![0; HEAD];
        if file.read_at(&mut bytes, 0).map_err(io)? < HEAD {
            return Ok(Err(Reason::Length));
        }
        let chunks = match check_front(&bytes) {
            Ok(chunks) => chunks,
            Err(reason) => return Ok(Err(reason)),
        };
        let table = chunks * ENTRY + CRC;
        bytes.resize(HEAD + table, 0);
        if file.read_at(&mut bytes[HEAD..], HEAD as u64).map_err(io)? < table {
            return Ok(Err(Reason::Length));
        }
        let len = file.len().map_err(io)?;
        Ok(Head::decode(&bytes, layout, segment, len))
    }

    fn decode(bytes: &[u8], layout: &Layout, segment: u64, len: u64) -> Result<Head, Reason> {
        let crc_at = bytes.len() - CRC;
        if crc32fast::hash(&bytes[..crc_at]) != u32_at(bytes, crc_at) {
            return Err(Reason::Checksum);
        }
        if bytes[16..32] != layout.store.0 || u64_at(bytes, 32) != segment {
            return Err(Reason::Position);
        }
        let mut chunks = Vec::with_capacity((crc_at - HEAD) / ENTRY);
        let mut offset = bytes.len() as u64;
        for entry in bytes[HEAD..crc_at].chunks_exact(ENTRY) {
            let chunk = Chunk {
                block: u32_at(entry, 0),
                frames: u32_at(entry, 4),
                number: u64_at(entry, 8),
                chain_before: hash_at(entry, 16),
                cores: u32_at(entry, 48),
                raw: u32_at(entry, 52),
                packed: u32_at(entry, 56),
                crc: u32_at(entry, 60),
                offset,
            };
            offset += u64::from(chunk.packed);
            chunks.push(chunk);
        }
        let head = Head {
            segment,
            first: u64_at(bytes, 40),
            count: u64_at(bytes, 48),
            end: u32_at(bytes, 60),
            chain_before: hash_at(bytes, 64),
            chain_after: hash_at(bytes, 96),
            len: u64_at(bytes, 136),
            chunks,
        };
        head.check(layout, u32_at(bytes, 56), u64_at(bytes, 128))?;
        if head.len != len || offset != len {
            return Err(Reason::Length);
        }
        Ok(head)
    }

    fn check(&self, layout: &Layout, frames: u32, cores: u64) -> Result<(), Reason> {
        let starts = self.chunks.first().is_some_and(|first| {
            (first.block, first.number, first.chain_before) == (0, self.first, self.chain_before)
        });
        let sums = (
            self.chunks.iter().map(|c| u64::from(c.frames)).sum(),
            self.chunks.iter().map(|c| u64::from(c.cores)).sum(),
        );
        let each = self.chunks.iter().all(|chunk| {
            // Not below: a product of two u32 fits.
            let least = u64::from(chunk.frames) * core::FIXED as u64;
            chunk.frames > 0
                && least <= u64::from(chunk.cores)
                && chunk.cores <= MAX_CORES
                && chunk.raw <= MAX_CORES
                && chunk.packed <= MAX_PACKED
        });
        let ascending = self
            .chunks
            .is_sorted_by(|a, b| a.block < b.block && a.number <= b.number);
        let last = self.chunks.last();
        let ends = last.is_some_and(|last| last.block < self.end) && self.end <= layout.blocks();
        let numbers = last
            .zip(self.first.checked_add(self.count))
            .is_some_and(|(last, next)| last.number <= next);
        let whole = starts && sums == (u64::from(frames), cores) && each;
        if whole && ascending && ends && numbers {
            Ok(())
        } else {
            Err(Reason::Fields)
        }
    }

    fn encode(&self, layout: &Layout) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        let sum = |field: fn(&Chunk) -> u32| {
            let values = self.chunks.iter().map(|chunk| u64::from(field(chunk)));
            values.sum::<u64>()
        };
        // A segment's frames and chunks are far below 2^32.
        let (frames, chunks) = (sum(|c| c.frames) as u32, self.chunks.len() as u32);
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &chunks.to_le_bytes());
        put(16, &layout.store.0);
        put(32, &self.segment.to_le_bytes());
        put(40, &self.first.to_le_bytes());
        put(48, &self.count.to_le_bytes());
        put(56, &frames.to_le_bytes());
        put(60, &self.end.to_le_bytes());
        put(64, &self.chain_before.0);
        put(96, &self.chain_after.0);
        put(128, &sum(|c| c.cores).to_le_bytes());
        put(136, &self.len.to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.block.to_le_bytes());
            bytes.extend_from_slice(&chunk.frames.to_le_bytes());
            bytes.extend_from_slice(&chunk.number.to_le_bytes());
            bytes.extend_from_slice(&chunk.chain_before.0);
            for field in [chunk.cores, chunk.raw, chunk.packed, chunk.crc] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The chunk that a frame at `block` would be in.
    pub(super) fn chunk_of(&self, block: u32) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.block <= block)
            .saturating_sub(1)
    }

    /// Reads, decompresses and puts together one chunk, and checks it against what the next begins with.
    pub(super) fn frames(
        &self,
        file: &dyn DiskFile,
        layout: &Layout,
        index: usize,
    ) -> Result<Result<Vec<Frame>, Reason>, Error> {
        let Some(chunk) = self.chunks.get(index) else {
            return Ok(Err(Reason::Fields));
        };
        let mut packed = vec![0; chunk.packed as usize];
        let got = file
            .read_at(&mut packed, chunk.offset)
            .map_err(|error| Error::io("read", &path(self.segment), error))?;
        if got < packed.len() {
            return Ok(Err(Reason::Length));
        }
        Ok(self.unpack(chunk, index, &packed, layout))
    }

    fn unpack(
        &self,
        chunk: &Chunk,
        index: usize,
        packed: &[u8],
        layout: &Layout,
    ) -> Result<Vec<Frame>, Reason> {
        if crc32fast::hash(packed) != chunk.crc {
            return Err(Reason::Checksum);
        }
        // In one piece, into a buffer of the length announced: no window is needed beside it.
        let raw =
            zstd::bulk::decompress(packed, chunk.raw as usize).map_err(|_| Reason::Compression)?;
        if raw.len() != chunk.raw as usize {
            return Err(Reason::Compression);
        }
        let behind = Behind {
            block: chunk.block,
            number: chunk.number,
            chain: chunk.chain_before,
        };
        let (frames, cores) = (chunk.frames as usize, chunk.cores as usize);
        let (frames, chain) = columns::join(&raw, layout, self.segment, behind, frames, cores)?;
        let end = frames.last().map_or(0, Frame::end_block);
        let next = frames.last().map_or(0, Frame::next_number);
        let expected = match self.chunks.get(index + 1) {
            Some(next) => (next.chain_before, next.block, next.number),
            None => (self.chain_after, self.end, self.first + self.count),
        };
        if (chain, end, next) != expected {
            return Err(Reason::Chain);
        }
        Ok(frames)
    }
}

/// Magic and version; gives the number of chunks.
fn check_front(bytes: &[u8]) -> Result<usize, Reason> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Reason::Magic);
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        return Err(Reason::Version(version));
    }
    let chunks = u32_at(bytes, 12) as usize;
    if !(1..=MAX_CHUNKS).contains(&chunks) || bytes[10..12] != [0; 2] {
        return Err(Reason::Fields);
    }
    Ok(chunks)
}

/// Makes an archive of a segment's frames, which are given one after the other.
#[derive(Debug, Default)]
pub(super) struct Builder {
    open: Vec<Frame>,
    open_cores: usize,
    chunks: Vec<Chunk>,
    packed: Vec<u8>,
    count: u64,
    last: Option<(u32, ChainHash)>,
}

impl Builder {
    /// The next frame.
    pub(super) fn push(&mut self, frame: Frame) -> Result<(), Error> {
        let len = frame.core().len();
        if !self.open.is_empty() && self.open_cores + len > CHUNK {
            self.close()?;
        }
        self.open_cores += len;
        self.count += u64::from(frame.count);
        self.last = Some((frame.end_block(), frame.chain));
        self.open.push(frame);
        Ok(())
    }

    /// What a Builder is given are frames that follow one another: anything else is a defect here.
    fn close(&mut self) -> Result<(), Error> {
        let frames = std::mem::take(&mut self.open);
        let cores = std::mem::take(&mut self.open_cores);
        let Some(first) = frames.first() else {
            return Ok(());
        };
        let columns = columns::split(&frames)
            .ok_or_else(|| Error::Misuse("frames that do not follow one another".into()))?;
        let packed = compress(&columns)
            .map_err(|error| Error::io("compress", &path(first.segment), error))?;
        let small = |len: usize| {
            u32::try_from(len).map_err(|_| Error::Misuse("a chunk beyond all limits".into()))
        };
        self.chunks.push(Chunk {
            block: first.block,
            frames: small(frames.len())?,
            number: first.first,
            chain_before: first.previous,
            cores: small(cores)?,
            raw: small(columns.bytes.len())?,
            packed: small(packed.len())?,
            crc: crc32fast::hash(&packed),
            offset: 0,
        });
        self.packed.extend_from_slice(&packed);
        Ok(())
    }

    /// The bytes of the file, and how many records it holds.
    pub(super) fn finish(mut self, layout: &Layout, segment: u64) -> Result<(Vec<u8>, u64), Error> {
        self.close()?;
        let (Some(first), Some((end, chain_after))) = (self.chunks.first(), self.last) else {
            return Err(Error::Misuse(format!("segment {segment} holds no frames")));
        };
        let head = HEAD + self.chunks.len() * ENTRY + CRC;
        let head = Head {
            segment,
            first: first.number,
            count: self.count,
            end,
            chain_before: first.chain_before,
            chain_after,
            len: (head + self.packed.len()) as u64,
            chunks: self.chunks,
        };
        let mut bytes = head.encode(layout);
        bytes.extend_from_slice(&self.packed);
        Ok((bytes, self.count))
    }
}

/// One zstd frame, in which long columns stand in blocks of their own.
fn compress(columns: &columns::Columns) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    // The chunk's table has a checksum and both lengths.
    encoder.include_checksum(false)?;
    encoder.include_contentsize(false)?;
    encoder.set_pledged_src_size(Some(columns.bytes.len() as u64))?;
    let mut at = 0;
    for &end in &columns.ends {
        if end - at >= BLOCK_OF_ITS_OWN {
            encoder.write_all(&columns.bytes[at..end])?;
            encoder.flush()?;
            at = end;
        }
    }
    encoder.write_all(&columns.bytes[at..])?;
    encoder.finish()
}
