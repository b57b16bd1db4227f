//! The file `last-verify`: when the store was last verified, and which versions could not be read then. No part of the truth: it
//! may be missing, old or garbage, and is then as if nothing were known. `docs/format.md` gives its bytes.

use crate::damage::Damage;
use crate::error::Error;
use crate::ids::{EventTime, Ino, Seq};
use serde::{Deserialize, Serialize};
use std::io;
use strand_journal::{BlockAddr, Disk, Error as JournalError, StoreId};

/// Its path in the store's directory.
pub const LAST_VERIFY: &str = "last-verify";
/// The most bad versions that it lists; more are counted.
pub const MAX_BAD: usize = 4096;

const MAGIC: [u8; 8] = *b"STRANDLV";
const VERSION: u16 = 0;
/// Magic, version and store id.
const HEAD: usize = 26;
const CRC: usize = 4;
/// More than the longest file: a bad version takes 60 bytes at most.
const MAX_BYTES: u64 = 256 * 1024;

/// What a verification found.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct LastVerify {
    /// When it ended, in ns since the Unix epoch.
    pub time: EventTime,
    /// The last number that it looked at.
    pub seq: Seq,
    /// It found no damage.
    pub ok: bool,
    /// The last one that read the data blocks as well: this one, or one before.
    pub data: Option<DataVerify>,
}

/// What a verification found in the data blocks.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct DataVerify {
    /// When it ended, in ns since the Unix epoch.
    pub time: EventTime,
    /// The last number that it looked at.
    pub seq: Seq,
    /// What it could not read, in journal order; at most [`MAX_BAD`].
    pub bad: Vec<BadVersion>,
    /// How many more there were.
    pub more: u64,
}

/// A version of a file's block whose bytes are wrong.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BadVersion {
    /// Its birth address.
    pub addr: u64,
    /// The segment that holds it.
    pub segment: u64,
    /// Its offset in that segment, in bytes.
    pub offset: u64,
    /// The file that it was written to.
    pub ino: Ino,
    /// The block of that file.
    pub block: u64,
}

impl BadVersion {
    /// Its birth address.
    #[must_use]
    pub fn addr(&self) -> BlockAddr {
        BlockAddr(self.addr)
    }
}

impl LastVerify {
    /// Reads it. `None` where the store was never verified.
    ///
    /// # Errors
    /// [`Error::Damage`] where the file is garbage or another store's; [`Error::Journal`] where it cannot be read.
    pub fn load(disk: &dyn Disk, store: StoreId) -> Result<Option<LastVerify>, Error> {
        let bytes = match disk.read_small(LAST_VERIFY, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(garbage("it is too long"));
            }
            Err(error) => return Err(failed("read", error)),
        };
        LastVerify::decode(&bytes, store).map(Some)
    }

    /// Replaces it.
    ///
    /// # Errors
    /// [`Error::Journal`]: the one before is still there.
    pub fn save(&self, disk: &dyn Disk, store: StoreId) -> Result<(), Error> {
        let bytes = self.encode(store)?;
        disk.write_small(LAST_VERIFY, &bytes)
            .map_err(|error| failed("write", error))
    }

    fn encode(&self, store: StoreId) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&store.0);
        let mut bytes = postcard::to_extend(self, bytes).map_err(|e| garbage(&e.to_string()))?;
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn decode(bytes: &[u8], store: StoreId) -> Result<LastVerify, Error> {
        let (body, crc) = bytes
            .split_last_chunk::<CRC>()
            .filter(|(body, _)| body.len() > HEAD)
            .ok_or_else(|| garbage("it is too short"))?;
        if !body.starts_with(&MAGIC) || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(garbage("its checksum is wrong"));
        }
        if body[8..10] != VERSION.to_le_bytes() || body[10..HEAD] != store.0 {
            return Err(garbage("it is of another version or of another store"));
        }
        match postcard::take_from_bytes::<LastVerify>(&body[HEAD..]) {
            Ok((found, [])) if found.data.as_ref().is_none_or(|d| d.bad.len() <= MAX_BAD) => {
                Ok(found)
            }
            _ => Err(garbage("its fields make no sense")),
        }
    }
}

fn failed(action: &'static str, source: io::Error) -> Error {
    Error::Journal(JournalError::Io {
        action,
        path: LAST_VERIFY.to_owned(),
        source,
    })
}

fn garbage(why: &str) -> Error {
    let what = format!("the record of the last verification cannot be used: {why}");
    Error::Damage(Damage::new(what).in_file(LAST_VERIFY, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strand_journal::MemoryDisk;

    const STORE: StoreId = StoreId([7; 16]);

    fn sample(bad: usize) -> LastVerify {
        let bad = (0..bad as u64).map(|n| BadVersion {
            addr: u64::MAX - n,
            segment: u64::MAX,
            offset: u64::MAX,
            ino: Ino(u64::MAX),
            block: u64::MAX,
        });
        LastVerify {
            time: 5,
            seq: 9,
            ok: false,
            data: Some(DataVerify {
                time: 4,
                seq: 8,
                bad: bad.collect(),
                more: 3,
            }),
        }
    }

    #[test]
    fn it_reads_as_it_was_written_even_the_longest() {
        let disk = MemoryDisk::new();
        assert_eq!(LastVerify::load(&disk, STORE).unwrap(), None);
        for record in [LastVerify::default(), sample(1), sample(MAX_BAD)] {
            record.save(&disk, STORE).unwrap();
            assert_eq!(LastVerify::load(&disk, STORE).unwrap(), Some(record));
        }
    }

    #[test]
    fn no_flipped_bit_no_cut_and_no_other_store_passes() {
        let whole = sample(2).encode(STORE).unwrap();
        assert!(LastVerify::decode(&whole, STORE).is_ok());
        for end in 0..whole.len() {
            assert!(LastVerify::decode(&whole[..end], STORE).is_err(), "{end}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(LastVerify::decode(&bad, STORE).is_err(), "{bit}");
        }
        assert!(LastVerify::decode(&whole, StoreId([8; 16])).is_err());
        let long = sample(MAX_BAD + 1).encode(STORE).unwrap();
        assert!(LastVerify::decode(&long, STORE).is_err());
    }
}
