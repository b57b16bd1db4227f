//! Ranges, sizes, attributes.

use super::{bytes, command, ground, is_stopped, stopped};
use strand_engine::{Event, Ino, MAX_FILE_BLOCKS, Range, SetAttributes};

#[test]
fn hostile_ranges_and_sizes_are_stopped() {
    let g = ground();
    let range = |block, count| Range { block, count };
    let punched = |block, count| Event::Punched {
        volume: g.volume,
        ino: g.file,
        range: range(block, count),
        size: None,
    };
    let shared = |from_block, to_block, count, size| Event::Shared {
        volume: g.volume,
        from: g.file,
        from_block,
        to: g.file,
        to_block,
        count,
        size,
    };
    let truncated = |ino, size| Event::Truncated {
        volume: g.volume,
        ino,
        size,
    };
    stopped(
        &g,
        &[
            ("an empty hole", punched(0, 0)),
            ("a hole without end", punched(0, u64::MAX)),
            ("a hole over the edge", punched(u64::MAX, 2)),
            ("a hole past the greatest file", punched(MAX_FILE_BLOCKS, 1)),
            ("a size past the greatest", truncated(g.file, u64::MAX)),
            (
                "a size just past the greatest",
                truncated(g.file, strand_engine::MAX_FILE_SIZE + 1),
            ),
            ("a directory's size", truncated(g.dir, 0)),
            ("a size of nothing", truncated(Ino(0), 0)),
            (
                "room without end",
                Event::Preallocated {
                    volume: g.volume,
                    ino: g.file,
                    size: Some(u64::MAX),
                },
            ),
            (
                "room that shrinks",
                Event::Preallocated {
                    volume: g.volume,
                    ino: g.file,
                    size: Some(1),
                },
            ),
            ("nothing shared", shared(0, 2, 0, None)),
            ("everything shared", shared(0, 2, u64::MAX, None)),
            ("too much shared", shared(0, 2, 65_537, None)),
            ("shared onto itself", shared(0, 1, 2, None)),
            (
                "shared from past the end",
                shared(3, 8, 2, Some(100 * 4096)),
            ),
            ("shared to past the end", shared(0, 8, 2, None)),
            ("shared over the edge", shared(0, u64::MAX, 2, Some(1))),
            (
                "a write without blocks",
                Event::Written {
                    volume: g.volume,
                    ino: g.file,
                    block: 0,
                    size: None,
                },
            ),
            (
                "an attribute without a name",
                Event::XattrSet {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b""),
                    value: bytes(b"v"),
                },
            ),
            (
                "an attribute too long",
                Event::XattrSet {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b"n"),
                    value: bytes(&vec![1; 60 * 1024 + 1]),
                },
            ),
            (
                "an attribute that is not there",
                Event::XattrRemoved {
                    volume: g.volume,
                    ino: g.file,
                    name: bytes(b"n"),
                },
            ),
            (
                "a mode with other bits",
                Event::AttributesSet {
                    volume: g.volume,
                    ino: g.file,
                    set: SetAttributes {
                        mode: Some(u32::MAX),
                        ..SetAttributes::default()
                    },
                },
            ),
        ],
    );
    let written = |ino, block, size| Event::Written {
        volume: g.volume,
        ino,
        block,
        size,
    };
    for (what, event) in [
        ("blocks past the end", written(g.file, 9, None)),
        ("blocks past everything", written(g.file, u64::MAX, None)),
        (
            "blocks past the greatest file",
            written(g.file, MAX_FILE_BLOCKS, Some(u64::MAX)),
        ),
        ("a write that shrinks", written(g.file, 0, Some(10))),
        ("a write into a directory", written(g.dir, 0, Some(4096))),
        ("blocks of an event that has none", punched(0, 1)),
    ] {
        is_stopped(&g, &command(&[(event, 1)]), what);
    }
}
