//! The envelope of a state file: a header, checksummed chunks, a trailer. It knows nothing of what the chunks hold.
//!
//! A chunk never exceeds [`CHUNK_BYTES`], so neither side needs more than that in memory, and a length read from a
//! file never decides how much is allocated.

use std::io::{self, IoSlice};
use std::sync::Arc;
use strand_journal::{ChainHash, DiskFile, Start, StoreId};

/// The version of the format that is written.
pub(super) const VERSION: u16 = 0;
/// Most bytes of a chunk, its length and checksum included: what is read, checked and parsed at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 256;
/// Bytes of the trailer.
pub(super) const TRAILER_BYTES: usize = 128;

const HEADER_MAGIC: [u8; 8] = *b"STRANDS\0";
const TRAILER_MAGIC: [u8; 8] = *b"STRANDT\0";
/// A chunk's length and checksum.
const CHUNK_HEAD: usize = 8;

/// What is wrong in a state file, and at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(offset: u64, what: impl Into<String>) -> Self {
        Self {
            offset,
            what: what.into(),
        }
    }
}

/// Which store and which place of its journal a state file belongs to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) store: StoreId,
    /// The last event that the state covers.
    pub(super) seq: u64,
    /// Where the journal goes on.
    pub(super) start: Start,
}

/// How many of each a file has: a second opinion on what was read.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) records: u64,
    pub(super) inodes: u64,
    pub(super) filesets: u64,
    pub(super) volumes: u64,
    pub(super) checkpoints: u64,
}

/// Bytes put one after the other into an array whose size is known; what is left is zero.
struct Fields<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Fields<N> {
    fn new() -> Self {
        Self {
            bytes: [0; N],
            at: 0,
        }
    }

    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    /// Closes the array with the checksum of all before.
    fn seal(mut self) -> [u8; N] {
        let crc = crc32fast::hash(&self.bytes[..N - 4]);
        self.bytes[N - 4..].copy_from_slice(&crc.to_le_bytes());
        self.bytes
    }
}

/// Bytes taken one after the other.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the layout is shorter than the array it is read from");
        self.0 = rest;
        *field
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// Only zeros and the checksum are left.
    fn rest_is_zero(&self) -> bool {
        self.0[..self.0.len() - 4].iter().all(|b| *b == 0)
    }
}

fn sealed(bytes: &[u8]) -> bool {
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    crc32fast::hash(body).to_le_bytes() == crc
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut to = Fields::new();
        to.put(&HEADER_MAGIC);
        to.put(&VERSION.to_le_bytes());
        to.put(&[0; 6]);
        to.put(&self.store.0);
        to.put(&self.seq.to_le_bytes());
        to.put(&self.start.number.to_le_bytes());
        to.put(&self.start.segment.to_le_bytes());
        to.put(&self.start.block.to_le_bytes());
        to.put(&self.start.previous_block.to_le_bytes());
        to.put(&self.start.chain.0);
        to.put(&self.start.time.to_le_bytes());
        to.put(&self.start.epoch.to_le_bytes());
        to.seal()
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        let mut from = Taken(bytes);
        if from.take::<8>() != HEADER_MAGIC {
            return Err(Fault::new(0, "this is not a state file"));
        }
        let version = u16::from_le_bytes(from.take());
        if version != VERSION {
            return Err(Fault::new(
                8,
                format!("the state file has format {version}, this release knows {VERSION}"),
            ));
        }
        if !sealed(bytes) {
            return Err(Fault::new(0, "the header's checksum does not match"));
        }
        let reserved: [u8; 6] = from.take();
        let header = Self {
            store: StoreId(from.take()),
            seq: from.u64(),
            start: Start {
                number: from.u64(),
                segment: from.u64(),
                block: from.u32(),
                previous_block: from.u32(),
                chain: ChainHash(from.take()),
                time: from.u64(),
                epoch: from.u64(),
            },
        };
        if reserved != [0; 6] || !from.rest_is_zero() {
            return Err(Fault::new(0, "unused bytes of the header are not zero"));
        }
        Ok(header)
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Trailer {
    chunks: u64,
    bytes: u64,
    counts: Counts,
    hash: [u8; 32],
}

impl Trailer {
    fn to_bytes(&self) -> [u8; TRAILER_BYTES] {
        let mut to = Fields::new();
        to.put(&TRAILER_MAGIC);
        to.put(&self.chunks.to_le_bytes());
        to.put(&self.bytes.to_le_bytes());
        to.put(&self.counts.records.to_le_bytes());
        to.put(&self.counts.inodes.to_le_bytes());
        to.put(&self.counts.filesets.to_le_bytes());
        to.put(&self.counts.volumes.to_le_bytes());
        to.put(&self.counts.checkpoints.to_le_bytes());
        to.put(&self.hash);
        to.seal()
    }

    fn from_bytes(bytes: &[u8; TRAILER_BYTES], at: u64) -> Result<Self, Fault> {
        let mut from = Taken(bytes);
        if from.take::<8>() != TRAILER_MAGIC || !sealed(bytes) {
            return Err(Fault::new(
                at,
                "there is no whole trailer: the file is cut short or damaged",
            ));
        }
        let trailer = Self {
            chunks: from.u64(),
            bytes: from.u64(),
            counts: Counts {
                records: from.u64(),
                inodes: from.u64(),
                filesets: from.u64(),
                volumes: from.u64(),
                checkpoints: from.u64(),
            },
            hash: from.take(),
        };
        if !from.rest_is_zero() {
            return Err(Fault::new(at, "unused bytes of the trailer are not zero"));
        }
        Ok(trailer)
    }
}

fn chunk_crc(index: u64, length: [u8; 4], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&index.to_le_bytes());
    crc.update(&length);
    crc.update(payload);
    crc.finalize()
}

/// Writes a state file from front to back.
pub(super) struct ChunkWriter<'a> {
    file: &'a dyn DiskFile,
    /// Bytes written.
    at: u64,
    /// The chunk being filled, with room for its head.
    chunk: Vec<u8>,
    chunks: u64,
    hasher: blake3::Hasher,
}

impl<'a> ChunkWriter<'a> {
    /// Writes the header.
    pub(super) fn new(file: &'a dyn DiskFile, header: Header) -> io::Result<Self> {
        let header = header.to_bytes();
        file.write_at(&[IoSlice::new(&header)], 0)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        chunk.resize(CHUNK_HEAD, 0);
        Ok(Self {
            file,
            at: HEADER_BYTES as u64,
            chunk,
            chunks: 0,
            hasher,
        })
    }

    /// Where a record of at most `most` bytes is to be appended; a record never spans chunks.
    pub(super) fn room(&mut self, most: usize) -> io::Result<&mut Vec<u8>> {
        if most > CHUNK_BYTES - CHUNK_HEAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a record of {most} bytes is too large"),
            ));
        }
        if self.chunk.len() + most > CHUNK_BYTES {
            self.flush()?;
        }
        Ok(&mut self.chunk)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.len() == CHUNK_HEAD {
            return Ok(());
        }
        let (head, payload) = self.chunk.split_at_mut(CHUNK_HEAD);
        let length = (payload.len() as u32).to_le_bytes();
        let crc = chunk_crc(self.chunks, length, payload).to_le_bytes();
        head[..4].copy_from_slice(&length);
        head[4..].copy_from_slice(&crc);
        self.hasher.update(&crc);
        self.file.write_at(&[IoSlice::new(&self.chunk)], self.at)?;
        self.at += self.chunk.len() as u64;
        self.chunks += 1;
        self.chunk.truncate(CHUNK_HEAD);
        Ok(())
    }

    /// Writes the last chunk and the trailer. Says how many bytes the file has.
    pub(super) fn finish(mut self, counts: Counts) -> io::Result<u64> {
        self.flush()?;
        let bytes = self.at + TRAILER_BYTES as u64;
        let trailer = Trailer {
            chunks: self.chunks,
            bytes,
            counts,
            hash: *self.hasher.finalize().as_bytes(),
        };
        self.file
            .write_at(&[IoSlice::new(&trailer.to_bytes())], self.at)?;
        Ok(bytes)
    }
}

/// Reads a state file from front to back, checking as it goes.
pub(super) struct ChunkReader {
    file: Arc<dyn DiskFile>,
    header: Header,
    trailer: Trailer,
    at: u64,
    chunks: u64,
    chunk: Vec<u8>,
    hasher: blake3::Hasher,
}

impl ChunkReader {
    /// Reads header and trailer.
    pub(super) fn open(file: Arc<dyn DiskFile>) -> Result<Self, Fault> {
        let length = file
            .len()
            .map_err(|error| Fault::new(0, error.to_string()))?;
        let Some(trailer_at) = length
            .checked_sub(TRAILER_BYTES as u64)
            .filter(|at| *at >= HEADER_BYTES as u64)
        else {
            return Err(Fault::new(length, "the state file is cut short"));
        };
        let mut header = [0; HEADER_BYTES];
        fill(&*file, &mut header, 0)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        let header = Header::from_bytes(&header)?;
        let mut trailer = [0; TRAILER_BYTES];
        fill(&*file, &mut trailer, trailer_at)?;
        let trailer = Trailer::from_bytes(&trailer, trailer_at)?;
        if trailer.bytes != length {
            return Err(Fault::new(
                trailer_at,
                format!(
                    "the file has {length} bytes, its trailer says {}",
                    trailer.bytes
                ),
            ));
        }
        file.advise_sequential();
        Ok(Self {
            file,
            header,
            trailer,
            at: HEADER_BYTES as u64,
            chunks: 0,
            chunk: Vec::new(),
            hasher,
        })
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    fn trailer_at(&self) -> u64 {
        self.trailer.bytes - TRAILER_BYTES as u64
    }

    /// The next chunk's payload and the offset in the file at which it begins; `None` after the last one.
    pub(super) fn next_chunk(&mut self) -> Result<Option<(u64, &[u8])>, Fault> {
        let left = self.trailer_at() - self.at;
        if left == 0 {
            return Ok(None);
        }
        let fault = |what: &str| Fault::new(self.at, what);
        if left <= CHUNK_HEAD as u64 {
            return Err(fault("a chunk is cut short"));
        }
        let mut head = [0; CHUNK_HEAD];
        fill(&*self.file, &mut head, self.at)?;
        let mut from = Taken(&head);
        let length: [u8; 4] = from.take();
        let crc: [u8; 4] = from.take();
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes == 0 || bytes > CHUNK_BYTES - CHUNK_HEAD || bytes as u64 > left - CHUNK_HEAD as u64
        {
            return Err(fault("a chunk has an impossible length"));
        }
        self.chunk.resize(bytes, 0);
        let payload_at = self.at + CHUNK_HEAD as u64;
        fill(&*self.file, &mut self.chunk, payload_at)?;
        if chunk_crc(self.chunks, length, &self.chunk).to_le_bytes() != crc {
            return Err(fault("a chunk's checksum does not match"));
        }
        self.hasher.update(&crc);
        self.chunks += 1;
        self.at = payload_at + bytes as u64;
        Ok(Some((payload_at, &self.chunk)))
    }

    /// After the last chunk: compares with the trailer what was read.
    pub(super) fn finish(&self, counts: Counts) -> Result<(), Fault> {
        let at = self.trailer_at();
        if self.chunks != self.trailer.chunks || counts != self.trailer.counts {
            return Err(Fault::new(
                at,
                "the file does not have as many parts as its trailer says",
            ));
        }
        if *self.hasher.finalize().as_bytes() != self.trailer.hash {
            return Err(Fault::new(at, "the file's hash does not match its trailer"));
        }
        Ok(())
    }
}

fn fill(file: &dyn DiskFile, buf: &mut [u8], at: u64) -> Result<(), Fault> {
    match file.read_at(buf, at) {
        Ok(got) if got == buf.len() => Ok(()),
        Ok(got) => Err(Fault::new(at + got as u64, "the state file is cut short")),
        Err(error) => Err(Fault::new(at, format!("cannot read: {error}"))),
    }
}
