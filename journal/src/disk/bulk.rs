//! Writes past the page cache. Large ones would only push out what is read, and cost a copy by page; a small one that a flush
//! follows at once would be copied and marked only to be written from there. Direct writes want aligned memory: parts that are
//! aligned go as they are, the others by way of an aligned buffer.
//!
//! A direct write needs a flush like any other. Pages that the cache holds of the range are dropped by the kernel.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

/// Shorter writes go through the cache, unless they are one aligned part: a copy of them is cheap.
const SHORTEST: usize = 1 << 20;
/// Bytes gathered for one call.
const PIECE: usize = 2 << 20;
/// Most places in memory that one call writes from (IOV_MAX on Linux).
const MAX_SPANS: usize = 1024;
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
        let ready = match parts {
            [one] if is_aligned(one) => Some(one),
            _ => None,
        };
        let worth = len >= SHORTEST || ready.is_some();
        if !worth || !len.is_multiple_of(ALIGN) || !offset.is_multiple_of(ALIGN as u64) {
            return Ok(false);
        }
        let Some(direct) = self.direct.get_or_init(|| self.open(file)) else {
            return Ok(false);
        };
        let written = match ready {
            Some(bytes) => direct.write_all_at(bytes, offset),
            None => self.gather(direct, parts, offset),
        };
        match written {
            Ok(()) => Ok(true),
            // A file system that wants another alignment: the cache will do.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Aligned parts go as they are; what is not is gathered first. Both in as few calls as there can be.
    fn gather(&self, direct: &File, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut buffer = self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.is_empty() {
            buffer.resize(PIECE + ALIGN, 0);
        }
        let start = buffer.as_ptr().align_offset(ALIGN);
        let piece = buffer.get_mut(start..start + PIECE).ok_or(Errno::INVAL)?;
        let mut spans: Vec<Span<'_>> = Vec::with_capacity(parts.len().min(MAX_SPANS));
        let (mut filled, mut at) = (0, offset);
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let ragged = filled % ALIGN != 0;
                if !ragged && is_aligned(rest) {
                    spans.push(Span::Own(rest));
                    rest = &[];
                } else {
                    let (now, later) = rest.split_at(rest.len().min(PIECE - filled));
                    piece[filled..filled + now.len()].copy_from_slice(now);
                    match spans.last_mut() {
                        Some(Span::Gathered(range)) => range.end += now.len(),
                        _ => spans.push(Span::Gathered(filled..filled + now.len())),
                    }
                    filled += now.len();
                    rest = later;
                }
                if filled == PIECE || (spans.len() == MAX_SPANS && filled % ALIGN == 0) {
                    at += write_spans(direct, &spans, piece, at)?;
                    spans.clear();
                    filled = 0;
                }
            }
        }
        write_spans(direct, &spans, piece, at).map(drop)
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

/// What one call writes from one place in memory.
enum Span<'a> {
    /// A part as it is.
    Own(&'a [u8]),
    /// Bytes of the buffer.
    Gathered(Range<usize>),
}

fn is_aligned(part: &[u8]) -> bool {
    part.as_ptr().align_offset(ALIGN) == 0 && part.len().is_multiple_of(ALIGN)
}

/// Writes them one behind the other; gives their length.
fn write_spans(direct: &File, spans: &[Span<'_>], piece: &[u8], offset: u64) -> io::Result<u64> {
    let slices = spans.iter().map(|span| match span {
        Span::Own(part) => IoSlice::new(part),
        Span::Gathered(range) => IoSlice::new(&piece[range.clone()]),
    });
    let mut slices: Vec<IoSlice<'_>> = slices.collect();
    let (mut left, mut at) = (slices.as_mut_slice(), offset);
    while !left.is_empty() {
        match rustix::io::pwritev(direct, left, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut left, written);
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(at - offset)
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
    fn aligned_parts_lie_between_gathered_ones() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(dir.path()).unwrap();
        let mut memory = vec![0u8; 3 * PIECE];
        let start = memory.as_ptr().align_offset(ALIGN);
        for (i, byte) in memory.iter_mut().enumerate() {
            *byte = (i / 13 + i % 241) as u8;
        }
        // Aligned or not, in any order, more of them than one call takes, and more to gather than the buffer has.
        let pieces = [
            (0, 2 * ALIGN),
            (7, ALIGN),
            (ALIGN, 100),
            (2 * ALIGN, ALIGN),
            (5, ALIGN - 100),
            (3 * ALIGN, ALIGN),
            (1, PIECE + ALIGN),
            (8 * ALIGN, PIECE),
        ];
        let many = (0..MAX_SPANS + 10).map(|i| (2 * (i % 64) * ALIGN, ALIGN));
        let pieces: Vec<(usize, usize)> = pieces.into_iter().chain(many).collect();
        let aligned = &memory[start..];
        let parts: Vec<&[u8]> = pieces
            .iter()
            .map(|&(at, len)| &aligned[at..at + len])
            .collect();
        let expected = parts.concat();
        let file = disk.create("f", expected.len() as u64).unwrap();
        let parts: Vec<IoSlice<'_>> = parts.into_iter().map(IoSlice::new).collect();
        file.write_at(&parts, 0).unwrap();
        let mut found = vec![1u8; expected.len()];
        assert_eq!(file.read_at(&mut found, 0).unwrap(), found.len());
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
