//! The bytes of a small journal, pinned: what `docs/format.md` says. A change here is a change of the format.
#![allow(clippy::unwrap_used)] // In a test a panic is the report.

mod common;

use std::fmt::Write;
use std::sync::Arc;

use common::*;
use strand_journal::*;

/// Rows of 16 bytes as hexadecimal digits, rows of zeros left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (i, row) in bytes.chunks(16).enumerate() {
        if row.iter().any(|&byte| byte != 0) {
            write!(text, "{:05x} ", i * 16).unwrap();
            row.iter()
                .for_each(|byte| write!(text, " {byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_bytes_of_a_journal_are_pinned() {
    let disk = FaultyDisk::new(1);
    let journal = Journal::create(Arc::new(disk.clone()), options()).unwrap();
    let mut block = [0u8; BLOCK_SIZE];
    block[..5].copy_from_slice(b"block");
    let blocks = [
        Block::from_slice(&block),
        Block::from_slice(b"x"),
        Block::from_slice(b"y"),
    ];
    let records = [
        Record {
            time: 1_000_000_007,
            bytes: b"first",
            blocks: &blocks[..2],
        },
        Record {
            time: 1_000_000_307,
            bytes: b"second",
            blocks: &[],
        },
        Record {
            time: 1_000_000_308,
            bytes: b"",
            blocks: &blocks[2..],
        },
    ];
    let placement = journal.place(&records).unwrap();
    assert_eq!(
        placement.addrs,
        [BlockAddr(18), BlockAddr(20), BlockAddr(20)]
    );
    journal.commit(placement.ticket).unwrap();
    journal.close().unwrap();
    let bytes = disk.file_bytes("journal/00000000000000000001.seg").unwrap();
    let expected = include_str!("golden/journal.hex");
    let found = dump(&bytes);
    assert!(
        found == expected,
        "the journal's bytes have changed:\n{found}"
    );
    let head = journal.head();
    assert_eq!(
        (head.number, head.epoch, head.next_addr),
        (3, 1, BlockAddr(22))
    );
}

/// The header recomputed from the page alone, without the crate's own builder.
#[test]
fn a_header_is_what_the_format_page_says() {
    let disk = FaultyDisk::new(1);
    let mut history = History::default();
    let journal = run(&disk, &[], &mut history).unwrap();
    let ticket = history.place(&journal, &[(7, 1), (9, 0), (5, 2)]).unwrap();
    history.commit(&journal, ticket).unwrap();
    let bytes = disk.file_bytes("journal/00000000000000000001.seg").unwrap();
    let (first, second) = (&bytes[..BLOCK_SIZE], &bytes[BLOCK_SIZE..2 * BLOCK_SIZE]);
    let chain = |before: &[u8], core: &[u8]| *blake3::hash(&[before, core].concat()).as_bytes();
    let genesis = blake3::hash(&[b"strandline journal".as_slice(), &STORE.0].concat());
    assert_eq!(&first[88..120], genesis.as_bytes());
    assert_eq!(second[88..120], chain(genesis.as_bytes(), &first[..152]));

    let mut core = b"STRANDF\0".to_vec();
    let fields: [&[u8]; 15] = [
        &[0, 0],
        &[0, 0],
        &1u16.to_le_bytes(),
        &3u16.to_le_bytes(),
        &STORE.0,
        &1u64.to_le_bytes(),
        &1u32.to_le_bytes(),
        &0u32.to_le_bytes(),
        &1u64.to_le_bytes(),
        &3u32.to_le_bytes(),
        &(3 + 7 + 4 + 9 + 4 + 5u32).to_le_bytes(),
        &0u64.to_le_bytes(),
        &1u64.to_le_bytes(),
        &1000u64.to_le_bytes(),
        &chain(genesis.as_bytes(), &first[..152]),
    ];
    fields
        .iter()
        .for_each(|field| core.extend_from_slice(field));
    let payload: Vec<&Block> = history
        .records
        .iter()
        .flat_map(|(_, blocks)| blocks)
        .collect();
    let leaf = |block: &Block| blake3::hash(block.bytes()).as_bytes()[..16].to_vec();
    let leaves: Vec<Vec<u8>> = payload.iter().map(|block| leaf(block)).collect();
    let level: Vec<[u8; 32]> = leaves
        .iter()
        .map(|leaf| *blake3::hash(&[&[0], leaf.as_slice()].concat()).as_bytes())
        .collect();
    let left = blake3::hash(&[&[1], level[0].as_slice(), &level[1]].concat());
    let root = blake3::hash(&[&[1], left.as_bytes().as_slice(), &level[2]].concat());
    core.extend_from_slice(root.as_bytes());
    for block in &payload {
        core.extend_from_slice(&crc32fast::hash(block.bytes()).to_le_bytes());
    }
    // Time 0, blocks, length; then 1000 ns later as a varint of two bytes.
    let heads: [&[u8]; 3] = [&[0, 1, 7], &[0xe8, 0x07, 0, 9], &[0xe8, 0x07, 2, 5]];
    for (head, (bytes, _)) in heads.iter().zip(&history.records) {
        core.extend_from_slice(head);
        core.extend_from_slice(bytes);
    }
    let mut header = core;
    leaves
        .iter()
        .for_each(|leaf| header.extend_from_slice(leaf));
    header.resize(BLOCK_SIZE - 4, 0);
    let crc = crc32fast::hash(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    assert!(header == second, "{}\n{}", dump(&header), dump(second));
}
