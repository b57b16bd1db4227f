//! Paths in a volume's tree, as a shell would walk them: symbolic links on the way are followed, inside the volume.

use crate::error::{Outcome, refuse};
use crate::names::nearest;
use crate::output::units;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use strand_engine::{Body, Bytes, Fileset, Ino, Inode, Kind, MAX_FILE_NAME, Refusal};

/// Symbolic links followed on one path before it counts as a loop (the kernel's limit).
const MAX_LINKS: usize = 40;

/// Whether a symbolic link at the end of a path is followed.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(crate) enum Last {
    /// The file it names.
    Follow,
    /// The link itself.
    Keep,
}

/// The inode at a path.
///
/// # Errors
/// [`Kind::NotFound`] with the nearest name, [`Kind::NotADirectory`], [`Kind::CrossLink`] for a loop of links.
pub(crate) fn find(tree: &Fileset, path: &OsStr, last: Last) -> Outcome<(Ino, Arc<Inode>)> {
    walk(
        tree,
        tree.root,
        path.as_bytes(),
        last,
        &mut 0,
        path.as_bytes(),
    )
}

fn walk(
    tree: &Fileset,
    from: Ino,
    path: &[u8],
    last: Last,
    links: &mut usize,
    whole: &[u8],
) -> Outcome<(Ino, Arc<Inode>)> {
    let mut at = if path.first() == Some(&b'/') {
        tree.root
    } else {
        from
    };
    let mut inode = inode(tree, at, whole)?;
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|p| !p.is_empty() && *p != b".")
        .collect();
    let wants_directory = path.ends_with(b"/");
    for (i, part) in parts.iter().enumerate() {
        let Some(names) = inode.names() else {
            return not_a_directory(whole);
        };
        let dir = at;
        at = if *part == b".." {
            inode.parent
        } else {
            *names
                .get(*part)
                .ok_or_else(|| missing(names.keys(), part, whole))?
        };
        inode = self::inode(tree, at, whole)?;
        let follow = i + 1 < parts.len() || last == Last::Follow || wants_directory;
        if let (Body::Symlink(target), true) = (&inode.body, follow) {
            *links += 1;
            if *links > MAX_LINKS {
                return refuse(Refusal::new(
                    Kind::CrossLink,
                    format!("too many symbolic links on {}", units::rooted(whole)),
                ));
            }
            (at, inode) = walk(tree, dir, target, Last::Follow, links, whole)?;
        }
    }
    if wants_directory && !inode.is_dir() {
        return not_a_directory(whole);
    }
    Ok((at, inode))
}

fn inode(tree: &Fileset, ino: Ino, whole: &[u8]) -> Outcome<Arc<Inode>> {
    match tree.inode(ino) {
        Some(inode) => Ok(Arc::clone(inode)),
        None => refuse(
            Refusal::new(
                Kind::Damaged,
                format!("{} leads nowhere", units::rooted(whole)),
            )
            .next("strand verify"),
        ),
    }
}

fn missing<'a>(names: impl Iterator<Item = &'a Bytes>, part: &[u8], whole: &[u8]) -> Refusal {
    let refusal = Refusal::new(
        Kind::NotFound,
        format!("there is no {}", units::rooted(whole)),
    );
    let (Ok(part), texts) = (
        std::str::from_utf8(part),
        names.filter_map(|n| std::str::from_utf8(n).ok()),
    ) else {
        return refusal;
    };
    match nearest(part, texts) {
        Some(near) => refusal.why(format!("the nearest name in that directory is {near}")),
        None => refusal.why("that directory has no such name"),
    }
}

fn not_a_directory<T>(whole: &[u8]) -> Outcome<T> {
    refuse(Refusal::new(
        Kind::NotADirectory,
        format!("{} goes through what is no directory", units::rooted(whole)),
    ))
}

/// The directory and the last name of a path that may not exist yet.
///
/// # Errors
/// As [`find`] for the directory; [`Kind::InvalidName`] where the path ends in no name; [`Kind::NameTooLong`].
pub(crate) fn place(tree: &Fileset, path: &OsStr) -> Outcome<(Ino, Bytes)> {
    let bytes = path.as_bytes();
    let trimmed = bytes.len() - bytes.iter().rev().take_while(|b| **b == b'/').count();
    let (dir, name) = match bytes[..trimmed].iter().rposition(|b| *b == b'/') {
        Some(slash) => (&bytes[..=slash], &bytes[slash + 1..trimmed]),
        None => (&b""[..], &bytes[..trimmed]),
    };
    if name.is_empty() || name == b"." || name == b".." {
        return refuse(
            Refusal::new(
                Kind::InvalidName,
                format!("{} ends in no file name", units::rooted(bytes)),
            )
            .why("the last part of the path has to be a name"),
        );
    }
    if name.len() > MAX_FILE_NAME {
        return refuse(
            Refusal::new(
                Kind::NameTooLong,
                format!("the name has {} bytes", name.len()),
            )
            .why(format!("a file name has at most {MAX_FILE_NAME} bytes")),
        );
    }
    let (ino, inode) = find(tree, OsStr::from_bytes(dir), Last::Follow)?;
    if !inode.is_dir() {
        return not_a_directory(bytes);
    }
    Ok((ino, Bytes::from(name)))
}

/// The file at a path, links followed.
///
/// # Errors
/// As [`find`]; [`Kind::IsADirectory`], [`Kind::Unsupported`] for what has no content.
pub(crate) fn file(tree: &Fileset, path: &OsStr) -> Outcome<(Ino, Arc<Inode>)> {
    let (ino, inode) = find(tree, path, Last::Follow)?;
    match inode.body {
        Body::File(_) => Ok((ino, inode)),
        Body::Dir(_) => refuse(
            Refusal::new(
                Kind::IsADirectory,
                format!("{} is a directory", units::rooted(path.as_bytes())),
            )
            .why("a file is wanted"),
        ),
        _ => refuse(
            Refusal::new(
                Kind::Unsupported,
                format!("{} has no content", units::rooted(path.as_bytes())),
            )
            .why("it is a pipe, a socket or a device"),
        ),
    }
}

/// Files, and mapped blocks, of a tree.
pub(crate) fn totals(tree: &Fileset) -> (u64, u64) {
    (tree.inodes.len().saturating_sub(1), tree.blocks)
}
