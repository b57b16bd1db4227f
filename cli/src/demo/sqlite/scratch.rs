//! A temporary file without a name: in memory, gone at close. SQLite spills sorts and statement journals into such files;
//! they say nothing about the data, so that they have no place in the audit trail.

use strand_engine::{Kind, Refusal};

/// The most bytes of one temporary file: a bound on memory. SQLite reports a full disk beyond it.
pub(crate) const MAX_SCRATCH: usize = 256 << 20;

/// A temporary file.
#[derive(Debug, Default)]
pub(crate) struct ScratchFile {
    bytes: Vec<u8>,
}

impl ScratchFile {
    /// Reads at `offset`; returns the number of bytes read, short at the end.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let count = buf.len().min(self.bytes.len() - start);
        buf[..count].copy_from_slice(&self.bytes[start..start + count]);
        count
    }

    /// Writes at `offset`; a gap reads as zeros.
    ///
    /// # Errors
    /// [`Kind::NoSpace`] past [`MAX_SCRATCH`].
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        let end = usize::try_from(offset)
            .ok()
            .and_then(|start| start.checked_add(data.len()));
        let Some(end) = end.filter(|end| *end <= MAX_SCRATCH) else {
            return Err(
                Refusal::new(Kind::NoSpace, "a temporary file cannot grow further").why(format!(
                    "it is kept in memory, and {MAX_SCRATCH} bytes are the most"
                )),
            );
        };
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[end - data.len()..end].copy_from_slice(data);
        Ok(())
    }

    /// Cuts it to `size`; longer than it is: nothing happens.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.bytes
            .truncate(usize::try_from(size).unwrap_or(usize::MAX));
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reads_as_zeros_and_the_end_is_short() {
        let mut file = ScratchFile::default();
        file.write(3, b"abc").unwrap();
        let mut buf = [9; 8];
        assert_eq!(file.read(0, &mut buf), 6);
        assert_eq!(&buf[..6], b"\0\0\0abc");
        assert_eq!(file.read(u64::MAX, &mut buf), 0);
        file.truncate(4);
        assert_eq!((file.size(), file.read(3, &mut buf)), (4, 1));
    }

    #[test]
    fn it_has_a_bound() {
        let mut file = ScratchFile::default();
        for offset in [MAX_SCRATCH as u64, u64::MAX] {
            assert_eq!(
                file.write(offset, b"x").map_err(|r| r.kind),
                Err(Kind::NoSpace)
            );
        }
        assert_eq!(file.size(), 0);
    }
}
