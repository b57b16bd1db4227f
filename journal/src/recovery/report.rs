//! What an opening found: how far the journal goes, what was cut, what is damaged.

use std::fmt;

use crate::address::Start;
use crate::archive::archive_path;
use crate::frame::FrameError;
use crate::segments;

/// A tail that was never acknowledged, and is cut away (for reading only: passed over).
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Torn {
    /// The segment of the cut.
    pub segment: u64,
    /// The block of the cut in its segment.
    pub block: u32,
    /// The number that will be given next.
    pub number: u64,
    /// Why the frame there does not count.
    pub reason: FrameError,
    /// Bytes behind the cut that are not blank, holes between them included.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Torn {
            segment,
            block,
            number,
            reason,
            bytes,
        } = self;
        write!(
            f,
            "cut a torn tail of {bytes} bytes at segment {segment}, block {block}, number {number}: {reason}"
        )
    }
}

/// Acknowledged records that cannot be read.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Damage {
    /// The segment of the bad frame.
    pub segment: u64,
    /// Its offset in the segment, in bytes.
    pub offset: u64,
    /// The first number that cannot be read; 0 where it is not known.
    pub first_number: u64,
    /// The last number known to have been durable; `first_number - 1` where only a frame without records is bad.
    pub last_number: u64,
    /// What is wrong there.
    pub reason: FrameError,
}

impl Damage {
    /// The segment's file, in the store's directory, where what is wrong is that it is missing.
    pub fn missing_file(&self) -> Option<String> {
        (self.reason == FrameError::Missing).then(|| segments::path(self.segment))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            segment,
            offset,
            first_number,
            last_number,
            reason,
        } = self;
        if let Some(path) = self.missing_file() {
            write!(f, "the journal is damaged: the file {path} is missing")?;
        } else if let FrameError::Archive(reason) = reason {
            let path = archive_path(*segment);
            write!(f, "the journal is damaged: the archive {path} {reason}")?;
        } else {
            write!(
                f,
                "the journal is damaged at segment {segment}, offset {offset}: {reason}"
            )?;
        }
        if *first_number == 0 {
            return Ok(());
        }
        write!(f, "; numbers {first_number} to {last_number} were durable")
    }
}

/// How an opening went.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[non_exhaustive]
pub struct Recovery {
    /// The last number that survived; 0 if there is none.
    pub last: u64,
    /// The tail that was cut.
    pub torn: Option<Torn>,
    /// Damage, where the journal was opened for reading.
    pub damage: Option<Damage>,
    /// The epoch of the last frame that survived.
    pub epoch: u64,
    /// The last frame says that the store was closed in good order, and nothing lies behind it.
    pub clean: bool,
    /// Frames that survived, from the start on.
    pub frames: u64,
    /// Where the surviving journal ends.
    pub end: Start,
}
