//! Large writes past the page cache: they would only push out what is read, and cost a copy by page. The parts are
//! gathered into an aligned buffer, because direct writes want aligned memory.
//!
//! A direct write needs a flush like any other. Pages that the cache holds of the range are dropped by the kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

/// Shorter writes go through the cache: they are read again soon, and a copy of them is cheap.
const SHORTEST: usize = 1 << 20;
/// Bytes written at once.
const PIECE: usize = 2 << 20;
/// What memory, offsets and lengths are aligned to.
const ALIGN: usize = 4096;

/// The memory that all files of a disk gather their large writes in, one at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer(Arc<Mutex<Vec<u8>>>);

#[derive(Debug)]
pub(super) struct BulkWriter {
    path: PathBuf,
    /// The file opened for direct writes, at the first use; None where that is not to be had.
    direct: OnceLock<Option<File>>,
    buffer: Buffer,
}

impl BulkWriter {
    pub(super) fn new(path: PathBuf, buffer: Buffer) -> BulkWriter {
        BulkWriter {
            path,
            direct: OnceLock::new(),
            buffer,
        }
    }

    /// Writes all parts directly, or says that they are not for this way.
    pub(super) fn write(
        &self,
        file: &File,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len < SHORTEST || !len.is_multiple_of(ALIGN) || !offset.is_multiple_of(ALIGN as u64) {
            return Ok(false);
        }
        let Some(direct) = self.direct.get_or_init(|| self.open(file)) else {
            return Ok(false);
        };
        match self.gather(direct, parts, offset) {
            Ok(()) => Ok(true),
            // A file system that wants another alignment: the cache will do.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn gather(&self, direct: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut buffer = self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.is_empty() {
            buffer.resize(PIECE + ALIGN, 0);
        }
        let start = buffer.as_ptr().align_offset(ALIGN);
        let piece = buffer.get_mut(start..start + PIECE).ok_or(Errno::INVAL)?;
        let (mut filled, mut at) = (0, offset);
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - filled));
                piece[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == PIECE {
                    direct.write_all_at(piece, at)?;
                    at += PIECE as u64;
                    filled = 0;
                }
            }
        }
        direct.write_all_at(&piece[..filled], at)
    }

    /// The same file once more, without the cache.
    fn open(&self, file: &File) -> Option<File> {
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(&self.path)
            .ok()?;
        let (one, other) = (file.metadata().ok()?, direct.metadata().ok()?);
        ((one.dev(), one.ino()) == (other.dev(), other.ino())).then_some(direct)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, FileDisk};
    use super::*;

    #[test]
    fn large_writes_are_read_back_between_small_ones() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(dir.path()).unwrap();
        let len = 2 * PIECE + 5 * ALIGN;
        let mut expected = vec![0u8; len + 2 * ALIGN];
        let file = disk.create("f", expected.len() as u64).unwrap();
        let mut put = |bytes: &[u8], offset: usize, part: usize| {
            let parts: Vec<IoSlice<'_>> = bytes.chunks(part).map(IoSlice::new).collect();
            file.write_at(&parts, offset as u64).unwrap();
            expected[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        let noise: Vec<u8> = (0..len).map(|i| (i / 7 + i % 251) as u8).collect();
        put(&[9; 8192], 0, 4096);
        put(&noise, ALIGN, 3 * ALIGN);
        put(&[8; 4096], 3 * ALIGN, 4096);
        put(&noise[..SHORTEST], 5 * ALIGN, SHORTEST);
        put(&noise[..SHORTEST + 512], 8 * ALIGN, 1000);
        file.sync_data().unwrap();
        let mut found = vec![1u8; expected.len()];
        assert_eq!(file.read_at(&mut found, 0).unwrap(), found.len());
        assert!(found == expected);
        assert_eq!(file.read_direct(&mut found, 0).unwrap(), found.len());
        assert!(found == expected);
    }

    #[test]
    fn a_path_that_names_another_file_by_now_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(dir.path()).unwrap();
        let file = disk.create("f", 2 << 20).unwrap();
        disk.remove("f").unwrap();
        disk.create("f", 2 << 20).unwrap();
        file.write_at(&[IoSlice::new(&vec![7; 2 << 20])], 0)
            .unwrap();
        assert_eq!(disk.read_small("f", 2 << 20).unwrap(), vec![0; 2 << 20]);
        let mut found = vec![0; 2 << 20];
        file.read_at(&mut found, 0).unwrap();
        assert_eq!(found, vec![7; 2 << 20]);
    }
}
