//! Names, links, directories.

use super::{Ground, bytes, ground, stopped};
use strand_engine::{Event, Ino, NewBody, VolumeId};

fn created(g: &Ground, dir: Ino, name: &[u8], ino: Ino, body: NewBody) -> Event {
    Event::Created {
        volume: g.volume,
        dir,
        name: bytes(name),
        ino,
        body,
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

#[test]
fn hostile_names_and_inodes_are_stopped() {
    let g = ground();
    let (next, root) = (
        g.state.next_ino,
        g.state.volume(g.volume).unwrap().live.root,
    );
    let long = vec![b'x'; 256];
    let linked = |name: &[u8], ino| Event::Linked {
        volume: g.volume,
        dir: root,
        name: bytes(name),
        ino,
    };
    let renamed = |from: (Ino, &[u8]), to: (Ino, &[u8]), over| Event::Renamed {
        volume: g.volume,
        from_dir: from.0,
        from_name: bytes(from.1),
        to_dir: to.0,
        to_name: bytes(to.1),
        over,
    };
    let unlinked = |dir, name: &[u8], ino, keep| Event::Unlinked {
        volume: g.volume,
        dir,
        name: bytes(name),
        ino,
        keep,
    };
    stopped(
        &g,
        &[
            (
                "an inode number ahead",
                created(&g, root, b"x", Ino(next.0 + 1), NewBody::File),
            ),
            (
                "an inode number that was",
                created(&g, root, b"x", g.file, NewBody::File),
            ),
            (
                "the last inode number",
                created(&g, root, b"x", Ino(u64::MAX), NewBody::File),
            ),
            (
                "a directory that is not there",
                created(&g, Ino(999_999), b"x", next, NewBody::File),
            ),
            (
                "a file for a directory",
                created(&g, g.file, b"x", next, NewBody::File),
            ),
            ("an empty name", created(&g, root, b"", next, NewBody::File)),
            ("a dot", created(&g, root, b".", next, NewBody::File)),
            ("two dots", created(&g, root, b"..", next, NewBody::Dir)),
            ("a slash", created(&g, root, b"a/b", next, NewBody::File)),
            ("a NUL", created(&g, root, b"a\0", next, NewBody::File)),
            ("a long name", created(&g, root, &long, next, NewBody::File)),
            (
                "a name that is taken",
                created(&g, root, b"f", next, NewBody::File),
            ),
            (
                "a link to nowhere",
                created(&g, root, b"x", next, NewBody::Symlink(bytes(b""))),
            ),
            (
                "a link too long",
                created(&g, root, b"x", next, NewBody::Symlink(bytes(&[b'x'; 5000]))),
            ),
            ("a link to a directory", linked(b"x", g.dir)),
            ("a link to nothing", linked(b"x", Ino(77_777))),
            ("a link over a name", linked(b"d", g.file)),
            ("another inode's name", unlinked(root, b"f", g.dir, false)),
            (
                "a name that is not there",
                unlinked(root, b"zzz", g.file, false),
            ),
            (
                "a directory that is not empty",
                unlinked(root, b"d", g.dir, false),
            ),
            ("a kept directory", unlinked(g.dir, b"e", g.below, true)),
            (
                "a directory into itself",
                renamed((root, b"d"), (g.dir, b"x"), None),
            ),
            (
                "a directory into its child",
                renamed((root, b"d"), (g.below, b"x"), None),
            ),
            (
                "a directory over a file",
                renamed((root, b"d"), (root, b"f"), Some((g.file, false))),
            ),
            (
                "over what is not said",
                renamed((root, b"f"), (root, b"d"), None),
            ),
            (
                "over what is not there",
                renamed((root, b"f"), (root, b"x"), Some((g.dir, false))),
            ),
            (
                "onto itself",
                renamed((root, b"f"), (root, b"f"), Some((g.file, false))),
            ),
            ("to a bad name", renamed((root, b"f"), (root, b"a/b"), None)),
            (
                "a directory exchanged with its child",
                Event::Exchanged {
                    volume: g.volume,
                    a_dir: root,
                    a_name: bytes(b"d"),
                    b_dir: g.dir,
                    b_name: bytes(b"e"),
                },
            ),
            (
                "no orphan",
                Event::OrphanDropped {
                    volume: g.volume,
                    ino: g.file,
                },
            ),
            (
                "no such volume",
                Event::OrphanDropped {
                    volume: VolumeId(u32::MAX),
                    ino: g.file,
                },
            ),
        ],
    );
}
