//! A segment's later life: archived once it is sealed, given back once its blocks are dead or moved, its archive moved away
//! when nobody wants its events here any more. Nothing here holds a lock that a writer waits for while the disk works.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::file::{Builder, path};
use super::{ArchiveError, horizon};
use crate::BLOCK_SIZE;
use crate::address::{ChainHash, Start};
use crate::disk::{DiskFile, temporary_of};
use crate::error::Error;
use crate::frame::FrameError;
use crate::journal::Journal;
use crate::recovery::Damage;
use crate::segments::no_space;
use crate::walk::read_frame;

/// What an archive holds.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Archived {
    /// Bytes of the archive.
    pub bytes: u64,
    /// Records in it.
    pub events: u64,
}

/// An archive on its way.
enum Begun {
    /// It was there already, or need not be.
    There(Archived),
    /// It is written, and neither flushed nor named.
    Written(Archived, Arc<dyn DiskFile>),
}

/// Archives that moved away.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct Moved {
    /// How many.
    pub archives: u64,
    /// Bytes of them together.
    pub bytes: u64,
}

/// Takes the name and the bytes of an archive that is about to be removed, and keeps them.
pub type CopyArchive<'a> = dyn FnMut(&str, &[u8]) -> io::Result<()> + 'a;

impl Journal {
    fn upkeep(&self) -> Result<MutexGuard<'_, ()>, Error> {
        self.writable(&self.core.state())?;
        Ok(self.upkeep.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the archive of a sealed segment, durably: the cores of all its frames, proven by the chain. Where a good one is
    /// there already, it stays. A segment before the horizon needs none: its events have moved away.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a segment that is not sealed; [`Error::Damaged`] where its frames cannot be read;
    /// [`Error::NoSpace`], [`Error::Io`]: nothing was changed. [`Error::ReadOnly`], [`Error::Poisoned`].
    pub fn archive(&self, segment: u64) -> Result<Archived, Error> {
        let archived = self.archive_all(&[segment])?.pop();
        archived.unwrap_or(Ok(Archived::default()))
    }

    /// As [`Journal::archive`], for several segments, with one flush of the directory for all. What stands in the way of one segment
    /// is told of it alone, in the order of the segments.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Poisoned`]; [`Error::Io`] where the directory cannot be flushed: archives may be there, and
    /// none of them is durable.
    pub fn archive_all(&self, segments: &[u64]) -> Result<Vec<Result<Archived, Error>>, Error> {
        let _alone = self.upkeep()?;
        // All are written before the first is flushed: that flush then takes what the file system has to say of all of them.
        let begun: Vec<_> = segments.iter().map(|&s| self.begin_archive(s)).collect();
        let mut named = false;
        let mut archived = Vec::with_capacity(segments.len());
        for (&segment, begun) in segments.iter().zip(begun) {
            archived.push(match begun {
                Ok(Begun::There(archived)) => Ok((archived, false)),
                Ok(Begun::Written(archived, file)) => {
                    let path = path(segment);
                    let done = file.sync_data();
                    drop(file);
                    let done = done.and_then(|()| self.disk().rename(&temporary_of(&path), &path));
                    named |= done.is_ok();
                    match done {
                        Ok(()) => Ok((archived, true)),
                        Err(error) => Err(self.no_archive(&path, error)),
                    }
                }
                Err(error) => Err(error),
            });
        }
        let own = &self.core.segments;
        if named {
            own.sync_segments()?;
        }
        let known = segments.iter().zip(archived).map(|(&segment, archived)| {
            archived.map(|(archived, new)| {
                if new {
                    own.shelf.added(segment, archived.bytes);
                }
                archived
            })
        });
        Ok(known.collect())
    }

    /// Writes an archive under a name that does not count yet, where there is no good one.
    fn begin_archive(&self, segment: u64) -> Result<Begun, Error> {
        if self.is_before_horizon(segment) {
            return Ok(Begun::There(Archived::default()));
        }
        let after = self.chain_after(segment)?;
        let segments = &self.core.segments;
        // One that is there and not known may have a name that is not durable: its flush failed.
        if segments.shelf.has(segment)
            && let Ok(archived) = self.check_archive(segment, after)?
        {
            return Ok(Begun::There(archived));
        }
        if !segments.in_file(segment) {
            return Err(Error::Gone { segment });
        }
        let (bytes, events) = self.build_archive(segment, after)?;
        let path = path(segment);
        let file = self.disk().prepare_small(&path, &bytes);
        let file = file.map_err(|error| self.no_archive(&path, error))?;
        let archived = Archived {
            bytes: bytes.len() as u64,
            events,
        };
        Ok(Begun::Written(archived, file))
    }

    /// An archive cannot be written: what is left of it would be overwritten by the next try, and a full disk wants it back now.
    fn no_archive(&self, path: &str, error: io::Error) -> Error {
        match self.disk().remove(&temporary_of(path)) {
            Err(second) if second.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%second, "cannot remove the unfinished {path}");
            }
            _ => {}
        }
        no_space("write", path, 1, error)
    }

    /// The bytes of a segment's archive, and how many records it holds.
    fn build_archive(&self, segment: u64, after: ChainHash) -> Result<(Vec<u8>, u64), Error> {
        let layout = &self.core.layout;
        let mut builder = Builder::default();
        let (mut block, mut chain) = (0, None);
        while chain != Some(after) {
            let frame = read_frame(&self.core.segments, layout, segment, block, false)?;
            let frame = frame.and_then(|frame| match chain {
                Some(before) if frame.previous != before => Err(FrameError::Chain),
                _ => Ok(frame),
            });
            let frame = frame.map_err(|reason| damaged(segment, block, reason))?;
            (block, chain) = (frame.end_block(), Some(frame.chain));
            builder.push(frame)?;
        }
        builder.finish(layout, segment)
    }

    fn is_before_horizon(&self, segment: u64) -> bool {
        segment > 0 && segment < self.core.segments.beginning().segment
    }

    /// Gives the space of an archived segment back: reads its archive once more, and if it proves itself, removes the file.
    /// Whoever has the file open reads on; others get [`Error::Gone`]. Gives the bytes freed, 0 where it was done before.
    ///
    /// # Errors
    /// [`Error::Misuse`] for a segment that is not sealed, or has no archive; [`Error::Damaged`] where the archive is not good:
    /// the segment stays. [`Error::ReadOnly`], [`Error::Poisoned`], [`Error::Io`].
    pub fn release(&self, segment: u64) -> Result<u64, Error> {
        Ok(self.release_all(&[segment])?.iter().sum())
    }

    /// As [`Journal::release`], for several segments, with one flush of the directory for all. Gives the bytes that each one freed.
    ///
    /// # Errors
    /// As for [`Journal::release`]: those before the one that failed are gone, it and those behind it stay.
    pub fn release_all(&self, segments: &[u64]) -> Result<Vec<u64>, Error> {
        let _alone = self.upkeep()?;
        let freed: Result<Vec<u64>, Error> =
            segments.iter().map(|&s| self.remove_file_of(s)).collect();
        // Also where none was there: a crash may have come between the removal and its flush.
        let flushed = self.core.segments.sync_segments();
        let freed = freed?;
        flushed?;
        Ok(freed)
    }

    fn remove_file_of(&self, segment: u64) -> Result<u64, Error> {
        let segments = &self.core.segments;
        if !self.is_before_horizon(segment) {
            let after = self.chain_after(segment)?;
            if !segments.shelf.has(segment) {
                return Err(Error::Misuse(format!("segment {segment} has no archive")));
            }
            self.check_archive(segment, after)?
                .map_err(|reason| damaged(segment, 0, FrameError::Archive(reason)))?;
        }
        if !segments.in_file(segment) {
            return Ok(0);
        }
        segments.give_back(segment)?;
        Ok(self.core.layout.segment_size)
    }

    /// The chain hash behind a segment's last frame, as the first frame of the next segment names it.
    fn chain_after(&self, segment: u64) -> Result<ChainHash, Error> {
        let end = self.core.state().flushed_end;
        if segment == 0 || segment >= end.segment {
            return Err(Error::Misuse(format!("segment {segment} is not sealed")));
        }
        let next = read_frame(
            &self.core.segments,
            &self.core.layout,
            segment + 1,
            0,
            false,
        )?;
        Ok(next
            .map_err(|reason| damaged(segment + 1, 0, reason))?
            .previous)
    }

    /// Reads a whole archive, and compares the chain hash behind it.
    fn check_archive(
        &self,
        segment: u64,
        after: ChainHash,
    ) -> Result<Result<Archived, ArchiveError>, Error> {
        let open = match self.core.segments.shelf.fresh(segment)? {
            Some(Ok(open)) => open,
            Some(Err(reason)) => return Ok(Err(reason)),
            None => return Ok(Err(ArchiveError::Length)),
        };
        if open.head.chain_after != after {
            return Ok(Err(ArchiveError::Chain));
        }
        let archived = Archived {
            bytes: open.head.len,
            events: open.head.count,
        };
        let checked = open.check(&self.core.layout)?;
        Ok(checked.map(|()| archived))
    }

    /// Gives `copy` the name and the bytes of the archives of all segments between the store's horizon and the one that `place` names, also of
    /// segments whose file is still there. However long a copy takes, nothing here waits for it but the caller. Nobody else may move archives meanwhile.
    ///
    /// # Errors
    /// [`Error::BadStart`] as [`Journal::move_archives_before`]; [`Error::Damaged`] where an archive is not good; [`Error::Io`] also where
    /// `copy` fails. [`Error::NoSpace`], [`Error::ReadOnly`], [`Error::Poisoned`].
    pub fn copy_archives_before(
        &self,
        place: &Start,
        copy: &mut CopyArchive<'_>,
    ) -> Result<(), Error> {
        self.is_behind_horizon(place)?;
        // What lies before the old horizon was copied then.
        for segment in self.reader().origin().segment..place.segment {
            self.copy_archive(segment, copy)?;
        }
        Ok(())
    }

    /// Moves the archives of all segments before the one that `place` names out of the store. First `copy`, if there is one, gets
    /// them, as [`Journal::copy_archives_before`] does; then the store's horizon is set to `place`,
    /// durably; then the archives are removed. From then on [`Reader::origin`](crate::Reader::origin) is `place`, and an opening
    /// without a start begins there: the caller keeps a base state for it. Segment files stay, for the blocks in them.
    ///
    /// # Errors
    /// [`Error::BadStart`] where `place` is not a durable place of this journal, or lies before the horizon;
    /// [`Error::Damaged`] where an archive to be copied is not good; [`Error::Io`] also where `copy` fails: nothing was removed.
    /// [`Error::NoSpace`], [`Error::ReadOnly`], [`Error::Poisoned`].
    pub fn move_archives_before(
        &self,
        place: &Start,
        copy: Option<&mut CopyArchive<'_>>,
    ) -> Result<Moved, Error> {
        if let Some(copy) = copy {
            self.copy_archives_before(place, copy)?;
        }
        let _alone = self.upkeep()?;
        self.is_behind_horizon(place)?;
        let segments = &self.core.segments;
        let before = segments.beginning();
        if *place != before {
            horizon::write(&**self.disk(), self.core.layout.store, place)?;
            segments.set_beginning(*place);
        }
        // Whatever lies before the old horizon was put there by somebody else, who may have no other copy.
        let doomed = segments.shelf.numbers().into_iter();
        let doomed = doomed.filter(|number| (before.segment..place.segment).contains(number));
        self.remove_archives(doomed)
    }

    /// Ends a movement that a crash, or a failing disk, left unfinished: removes the archives before the horizon whose events begin at `first` or
    /// later, where the store began before that movement. Others there stay, whoever put them there.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::ReadOnly`], [`Error::Poisoned`].
    pub fn end_movement(&self, first: u64) -> Result<Moved, Error> {
        let _alone = self.upkeep()?;
        let segments = &self.core.segments;
        let mut doomed = Vec::new();
        for segment in segments.shelf.numbers() {
            if segment >= segments.beginning().segment {
                break;
            }
            match segments.shelf.fresh(segment)? {
                Some(Ok(open)) if open.head.first >= first => doomed.push(segment),
                Some(Err(reason)) => {
                    tracing::warn!(
                        "the archive of segment {segment}, before the horizon, {reason}; it stays"
                    );
                }
                _ => {}
            }
        }
        self.remove_archives(doomed.into_iter())
    }

    fn remove_archives(&self, doomed: impl Iterator<Item = u64>) -> Result<Moved, Error> {
        let segments = &self.core.segments;
        let mut moved = Moved::default();
        for segment in doomed {
            let path = path(segment);
            let bytes = segments.shelf.size(segment);
            // Not read from here any more, whether or not the removal succeeds.
            segments.shelf.removed(segment);
            match self.disk().remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, error));
                }
                _ => {}
            }
            moved.archives += 1;
            moved.bytes += bytes;
        }
        segments.sync_segments()?;
        Ok(moved)
    }

    fn is_behind_horizon(&self, place: &Start) -> Result<(), Error> {
        let reader = self.reader();
        if !reader.holds(place)? {
            return Err(Error::BadStart {
                segment: place.segment,
                block: place.block,
                reason: "it is no durable place behind the horizon".into(),
            });
        }
        Ok(())
    }

    fn copy_archive(&self, segment: u64, copy: &mut CopyArchive<'_>) -> Result<(), Error> {
        self.archive(segment)?;
        let path = path(segment);
        // A checked archive is not larger than its segment.
        let limit = self.core.layout.segment_size.saturating_mul(2);
        let bytes = self
            .disk()
            .read_small(&path, limit)
            .map_err(|error| Error::io("read", &path, error))?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        copy(name, &bytes).map_err(|error| Error::io("copy", &path, error))
    }
}

fn damaged(segment: u64, block: u32, reason: FrameError) -> Error {
    Error::Damaged(Damage {
        segment,
        offset: u64::from(block) * BLOCK_SIZE as u64,
        first_number: 0,
        last_number: 0,
        reason,
    })
}
