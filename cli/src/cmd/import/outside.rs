//! What the source is: kinds, link targets, extended attributes, and how much there is to read.

use crate::error::{Outcome, on_path};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use strand_engine::{Bytes, MAX_XATTR_VALUE, NewBody};

/// Files looked at for the progress bar's total; a larger tree goes without one.
const MAX_COUNTED: usize = 100_000;

/// What an entry of the source becomes.
pub(super) fn body(path: &Path, metadata: &Metadata) -> Outcome<NewBody> {
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        NewBody::Dir
    } else if kind.is_symlink() {
        let target = fs::read_link(path).map_err(on_path("read", path))?;
        NewBody::Symlink(Bytes::from(target.as_os_str().as_bytes()))
    } else if kind.is_fifo() {
        NewBody::Fifo
    } else if kind.is_socket() {
        NewBody::Socket
    } else if kind.is_char_device() {
        NewBody::Char(metadata.rdev())
    } else if kind.is_block_device() {
        NewBody::Block(metadata.rdev())
    } else {
        NewBody::File
    })
}

/// The extended attributes that can be read. A file system without them has none, and those that only the system may
/// read are its own.
pub(super) fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = Vec::with_capacity(MAX_XATTR_VALUE);
    if rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list)).is_err() {
        return Vec::new();
    }
    let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
    let read = |name: &[u8]| {
        let mut value = Vec::with_capacity(MAX_XATTR_VALUE);
        rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).ok()?;
        Some((name.to_vec(), value))
    };
    names.filter_map(read).collect()
}

/// Bytes of the files in the source; 0 where nobody knows without a long look.
pub(super) fn total_bytes(path: &Path, metadata: &Metadata) -> u64 {
    if !metadata.is_dir() {
        return metadata.len();
    }
    let (mut total, mut seen) = (0u64, 0);
    let mut stack = vec![path.to_owned()];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_COUNTED {
                return 0;
            }
            match entry.metadata() {
                Ok(m) if m.is_dir() => stack.push(entry.path()),
                Ok(m) if m.is_file() => total = total.saturating_add(m.len()),
                _ => {}
            }
        }
    }
    total
}
