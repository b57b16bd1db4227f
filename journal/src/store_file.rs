//! The file `STORE`: one block that says what lies here and how it is cut. Written once, last of all, by creation.
//!
//! ```text
//! 0 magic "STRANDST" | 8 version u16 | 10 zeros | 16 store id | 32 segment_size u64 | 40 capacity u64 (0: what the disk
//! has) | 48 created u64 (ns since the Unix epoch) | 56 zeros | 4092 crc32 of all before
//! ```

use std::io;

use crate::address::StoreId;
use crate::disk::Disk;
use crate::error::Error;
use crate::fields::{array, u16_at, u32_at, u64_at};
use crate::{BLOCK_SIZE, MAX_RECORD_BYTES};

/// The format's version that this release reads and writes.
pub const FORMAT_VERSION: u16 = 1;
/// Smallest segment: 64 KiB, 16 blocks.
pub const MIN_SEGMENT_SIZE: u64 = 64 << 10;
/// Largest segment: 1 GiB.
pub const MAX_SEGMENT_SIZE: u64 = 1 << 30;

pub(crate) const PATH: &str = "STORE";
const MAGIC: [u8; 8] = *b"STRANDST";
const CRC_AT: usize = BLOCK_SIZE - 4;

/// What the file `STORE` says.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct StoreFile {
    /// The store's id.
    pub store: StoreId,
    /// Bytes of a segment: a power of two from [`MIN_SEGMENT_SIZE`] to [`MAX_SEGMENT_SIZE`].
    pub segment_size: u64,
    /// Bytes that the segments may take together; None: what the disk has.
    pub capacity: Option<u64>,
    /// When the store was made, in ns since the Unix epoch.
    pub created: u64,
}

impl StoreFile {
    /// Reads the file, without a lock: it never changes.
    ///
    /// # Errors
    /// [`Error::NotAStore`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn read(disk: &dyn Disk) -> Result<StoreFile, Error> {
        let not = |reason: &str| Error::NotAStore {
            reason: reason.to_owned(),
        };
        let bytes = match disk.read_small(PATH, MAX_RECORD_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(not("the file STORE is missing"));
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(not("the file STORE is too long"));
            }
            Err(error) => return Err(Error::io("read", PATH, error)),
        };
        StoreFile::decode(&bytes)
    }

    /// Checks the bytes of the file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<StoreFile, Error> {
        let not = |reason: &str| Error::NotAStore {
            reason: reason.to_owned(),
        };
        if bytes.len() < 16 || !bytes.starts_with(&MAGIC) {
            return Err(not("the file STORE is not one of ours"));
        }
        let version = u16_at(bytes, 8);
        if version > FORMAT_VERSION
            && bytes.len() >= BLOCK_SIZE
            && crc_of(bytes) == stored_crc(bytes)
        {
            return Err(Error::NewerFormat {
                found: version,
                known: FORMAT_VERSION,
            });
        }
        if bytes.len() != BLOCK_SIZE || crc_of(bytes) != stored_crc(bytes) {
            return Err(not("the file STORE is damaged"));
        }
        if version == 0 {
            return Err(not(
                "it has the early format 0, which carried no promise: export it with the program that made it",
            ));
        }
        let blank = |range: std::ops::Range<usize>| bytes[range].iter().all(|&byte| byte == 0);
        let file = StoreFile {
            store: StoreId(array(bytes, 16)),
            segment_size: u64_at(bytes, 32),
            capacity: Some(u64_at(bytes, 40)).filter(|&bytes| bytes != 0),
            created: u64_at(bytes, 48),
        };
        if !blank(10..16) || !blank(56..CRC_AT) || check_segment_size(file.segment_size).is_err() {
            return Err(not("the file STORE contradicts itself"));
        }
        Ok(file)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; BLOCK_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.0);
        bytes[32..40].copy_from_slice(&self.segment_size.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.capacity.unwrap_or(0).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.created.to_le_bytes());
        let crc = crc_of(&bytes);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn crc_of(bytes: &[u8]) -> u32 {
    crc32fast::hash(&bytes[..CRC_AT])
}

fn stored_crc(bytes: &[u8]) -> u32 {
    u32_at(bytes, CRC_AT)
}

/// Refuses sizes that are no power of two or out of bounds.
pub(crate) fn check_segment_size(size: u64) -> Result<(), Error> {
    if size.is_power_of_two() && (MIN_SEGMENT_SIZE..=MAX_SEGMENT_SIZE).contains(&size) {
        return Ok(());
    }
    Err(Error::Misuse(format!(
        "a segment size is a power of two from {MIN_SEGMENT_SIZE} to {MAX_SEGMENT_SIZE} bytes, not {size}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn sample() -> StoreFile {
        StoreFile {
            store: StoreId([3; 16]),
            segment_size: 64 << 20,
            capacity: Some(1 << 30),
            created: 5,
        }
    }

    #[test]
    fn the_file_reads_as_it_was_written_and_no_bit_may_change() {
        let bytes = sample().encode();
        assert_eq!(StoreFile::decode(&bytes).unwrap(), sample());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(
                    StoreFile::decode(&bad).unwrap_err().kind(),
                    Kind::NotAStore,
                    "{at}"
                );
            }
            StoreFile::decode(&bytes[..at]).unwrap_err();
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = sample().encode();
        bytes[8] = 7;
        let crc = crc_of(&bytes);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            StoreFile::decode(&bytes),
            Err(Error::NewerFormat {
                found: 7,
                known: FORMAT_VERSION
            })
        ));
    }

    #[test]
    fn odd_segment_sizes_are_refused() {
        for size in [0, 1, 4096, 65537, 3 << 20, 2 << 30, u64::MAX] {
            check_segment_size(size).unwrap_err();
        }
    }
}
