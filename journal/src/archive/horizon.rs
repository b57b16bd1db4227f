//! The horizon: where the events begin that the store still has, once older archives have moved away.

use std::io;

use crate::address::{ChainHash, MAX_ADDRESS, Start, StoreId};
use crate::disk::Disk;
use crate::error::Error;
use crate::fields::{array, u16_at, u32_at, u64_at};

const PATH: &str = "journal/HORIZON";
const MAGIC: [u8; 8] = *b"STRANDHZ";
const VERSION: u16 = 0;
const CRC_AT: usize = 100;
const LEN: usize = CRC_AT + 4;
/// No store has so many events; sums with it stay far from overflowing.
const MAX_NUMBER: u64 = 1 << 62;
/// The last segment of a store with the smallest ones, of 16 blocks.
const MAX_SEGMENT: u64 = MAX_ADDRESS / 16;

/// The horizon of a store, if it has one.
///
/// # Errors
/// [`Error::Horizon`] where the file is not as it was written; [`Error::Io`].
pub fn read(disk: &dyn Disk, store: StoreId) -> Result<Option<Start>, Error> {
    let bad = |reason: &'static str| Error::Horizon { reason };
    let bytes = match disk.read_small(PATH, LEN as u64) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(bad("it is too long"));
        }
        Err(error) => return Err(Error::io("read", PATH, error)),
    };
    decode(&bytes, store).map(Some).map_err(bad)
}

/// Replaces it, durably.
pub(super) fn write(disk: &dyn Disk, store: StoreId, place: &Start) -> Result<(), Error> {
    disk.write_small(PATH, &encode(store, place))
        .map_err(|error| crate::segments::no_space("write", PATH, 1, error))
}

fn encode(store: StoreId, place: &Start) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&store.0);
    bytes.extend_from_slice(&place.number.to_le_bytes());
    bytes.extend_from_slice(&place.segment.to_le_bytes());
    bytes.extend_from_slice(&place.block.to_le_bytes());
    bytes.extend_from_slice(&place.previous_block.to_le_bytes());
    bytes.extend_from_slice(&place.chain.0);
    bytes.extend_from_slice(&place.time.to_le_bytes());
    bytes.extend_from_slice(&place.epoch.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], store: StoreId) -> Result<Start, &'static str> {
    if bytes.len() != LEN || !bytes.starts_with(&MAGIC) {
        return Err("it is not one of ours");
    }
    if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
        return Err("its checksum is wrong");
    }
    if u16_at(bytes, 8) != VERSION {
        return Err("its version is not known");
    }
    if array::<16>(bytes, 12) != store.0 {
        return Err("it belongs to another store");
    }
    if bytes[10..12] != [0; 2] {
        return Err("unused bytes are not zero");
    }
    let place = Start {
        number: u64_at(bytes, 28),
        segment: u64_at(bytes, 36),
        block: u32_at(bytes, 44),
        previous_block: u32_at(bytes, 48),
        chain: ChainHash(array(bytes, 52)),
        time: u64_at(bytes, 84),
        epoch: u64_at(bytes, 92),
    };
    // Sealed by the checksum, and no place all the same: nothing may count on from it.
    let behind_a_frame = place.previous_block < place.block;
    let bounded = place.number <= MAX_NUMBER && place.segment <= MAX_SEGMENT;
    if place.number == 0 || place.segment == 0 || !behind_a_frame || !bounded {
        return Err("it names no place");
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_reads_as_it_was_written_and_no_bit_may_change() {
        let store = StoreId([7; 16]);
        let place = Start {
            number: 1 << 40,
            segment: 9,
            block: 15,
            previous_block: 3,
            chain: ChainHash([5; 32]),
            time: 77,
            epoch: 2,
        };
        let bytes = encode(store, &place);
        assert_eq!(decode(&bytes, store), Ok(place));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                decode(&bad, store).unwrap_err();
            }
            decode(&bytes[..at], store).unwrap_err();
        }
        decode(&bytes, StoreId([8; 16])).unwrap_err();
    }

    #[test]
    fn what_is_no_place_is_refused_whatever_its_checksum() {
        let store = StoreId([7; 16]);
        let good = Start {
            number: 1,
            segment: 1,
            block: 1,
            previous_block: 0,
            chain: ChainHash([5; 32]),
            time: 77,
            epoch: 2,
        };
        assert_eq!(decode(&encode(store, &good), store), Ok(good));
        for bad in [
            Start { number: 0, ..good },
            Start {
                number: u64::MAX,
                ..good
            },
            Start { segment: 0, ..good },
            Start {
                segment: u64::MAX,
                ..good
            },
            Start { block: 0, ..good },
            Start {
                previous_block: u32::MAX,
                ..good
            },
        ] {
            decode(&encode(store, &bad), store).unwrap_err();
        }
    }
}
