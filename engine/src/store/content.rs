//! Bytes in: writes of any offset and length become whole blocks here, because `decide` knows only those.

use super::{Done, Inner, Store};
use crate::block::{BLOCK, BlockRef, MAX_FILE_SIZE};
use crate::command::{Command, WriteRun};
use crate::error::Error;
use crate::event::{Actor, MAX_EVENT_BLOCKS};
use crate::ids::{Ino, VolumeId};
use crate::refusal::{Kind, Refusal};
use crate::state::FileBody;
use crate::views::Views;
use std::sync::Arc;
use strand_journal::{BLOCK_SIZE, Block, Slab};

const ZERO: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
/// From so many whole blocks on a write has them hashed together.
const MANY_BLOCKS: usize = 8;

/// What a partial write found where it goes: the size, and the versions of the first and last block.
type Edges = (u64, [Option<BlockRef>; 2]);

impl Store {
    /// Writes bytes at any offset; the file grows as needed. Not durable until [`Store::commit`]. A long write is several commands:
    /// the result's `first` is the first one's, the rest the last one's.
    ///
    /// # Errors
    /// As [`Store::submit`]; a refusal in the middle leaves what was written before it.
    pub fn write(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<Done, Error> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_FILE_SIZE);
        if end.is_none() {
            return Err(
                Refusal::new(Kind::TooLarge, "the write ends beyond what a file can have")
                    .why(format!("a file has at most {MAX_FILE_SIZE} bytes"))
                    .into(),
            );
        }
        let most = self.write_blocks * BLOCK;
        let mut at = offset;
        let mut rest = data;
        let mut done: Option<Done> = None;
        loop {
            let room = usize::try_from(most - at % most).unwrap_or(BLOCK_SIZE);
            let (now, later) = rest.split_at(rest.len().min(room));
            let blocks = now.len() as u64 / BLOCK + 2;
            let part = self.with_room(blocks, &mut || {
                self.write_chunk(actor, volume, ino, at, now)
            })?;
            done = Some(match done {
                Some(before) => Done {
                    first: before.first,
                    events: Vec::new(),
                    ..part
                },
                None => part,
            });
            at += now.len() as u64;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        done.ok_or_else(|| Refusal::new(Kind::Invalid, "nothing to write").into())
    }

    fn write_chunk(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<Done, Error> {
        let end = offset + data.len() as u64;
        let first = offset / BLOCK;
        let last = end.div_ceil(BLOCK).max(first + 1) - 1;
        let whole = offset.is_multiple_of(BLOCK) && end.is_multiple_of(BLOCK) && !data.is_empty();
        loop {
            // Old content of ragged edges is read without the lock; if they changed meanwhile, again.
            let edges = if whole {
                None
            } else {
                Some(self.edges(&self.lock(), volume, ino, first, last)?)
            };
            let mut blocks = Vec::with_capacity(data.len() / BLOCK_SIZE + 2);
            let mut many = many_whole(offset, data);
            for block in first..=last {
                if many.as_ref().is_some_and(|(start, _)| *start == block)
                    && let Some((_, mut run)) = many.take()
                {
                    blocks.append(&mut run);
                }
                if first + (blocks.len() as u64) <= block {
                    blocks.push(self.merged(block, offset, data, edges.as_ref(), first)?);
                }
            }
            let mut inner = self.lock();
            if let Some(seen) = &edges
                && self.edges(&inner, volume, ino, first, last)? != *seen
            {
                continue;
            }
            let size = file(&inner, volume, ino)?.size.max(end);
            let (runs, payload) = if data.is_empty() {
                (Vec::new(), Vec::new())
            } else {
                runs(&inner, volume, ino, first, blocks)
            };
            let size = if data.is_empty() {
                size.min(file(&inner, volume, ino)?.size)
            } else {
                size
            };
            let command = Command::Write {
                volume,
                ino,
                runs,
                size,
            };
            return self.execute(&mut inner, actor, command, &payload, &Views::none());
        }
    }

    fn edges(
        &self,
        inner: &Inner,
        volume: VolumeId,
        ino: Ino,
        first: u64,
        last: u64,
    ) -> Result<Edges, Error> {
        let file = file(inner, volume, ino)?;
        Ok((
            file.size,
            [file.map.get(first).copied(), file.map.get(last).copied()],
        ))
    }

    /// One block of a write: new bytes over old ones. `None` stands for zeros.
    fn merged(
        &self,
        block: u64,
        offset: u64,
        data: &[u8],
        edges: Option<&Edges>,
        first: u64,
    ) -> Result<Option<Block>, Error> {
        let start = block * BLOCK;
        let end = offset + data.len() as u64;
        if start >= offset && start + BLOCK <= end {
            let from = usize::try_from(start - offset).unwrap_or(usize::MAX);
            let bytes = &data[from..from + BLOCK_SIZE];
            return Ok((bytes != ZERO).then(|| Block::from_slice(bytes)));
        }
        let mut bytes = Box::new(ZERO);
        if let Some(version) = edges.and_then(|(_, versions)| versions[usize::from(block != first)])
        {
            self.read_version(version, &mut bytes)?;
        }
        let from = start.max(offset);
        let to = (start + BLOCK).min(end);
        if to > from {
            let (at, len) = ((from - start) as usize, (to - from) as usize);
            let source = (from - offset) as usize;
            bytes[at..at + len].copy_from_slice(&data[source..source + len]);
        }
        Ok((*bytes != ZERO).then(|| Block::new(bytes)))
    }

    /// Sets a file's size. What is cut off is gone; what is added reads as zeros.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn truncate(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        size: u64,
    ) -> Result<Done, Error> {
        self.with_room(2, &mut || self.truncate_now(actor, volume, ino, size))
    }

    fn truncate_now(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        size: u64,
    ) -> Result<Done, Error> {
        let block = size / BLOCK;
        loop {
            let edges = self.edges(&self.lock(), volume, ino, block, block)?;
            let (old, [version, _]) = edges;
            let ragged = !size.is_multiple_of(BLOCK) && size < old;
            let mut payload = Vec::new();
            if let (true, Some(version)) = (ragged, version) {
                let mut bytes = Box::new(ZERO);
                self.read_version(version, &mut bytes)?;
                bytes[(size % BLOCK) as usize..].fill(0);
                payload.push(Block::new(bytes));
            }
            let mut inner = self.lock();
            if self.edges(&inner, volume, ino, block, block)? != edges {
                continue;
            }
            let command = Command::Truncate {
                volume,
                ino,
                size,
                tail: !payload.is_empty(),
            };
            return self.execute(&mut inner, actor, command, &payload, &Views::none());
        }
    }

    /// Makes a range read as zeros and gives its blocks back; the size stays.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn punch(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        length: u64,
    ) -> Result<Done, Error> {
        let end = offset.saturating_add(length);
        self.with_room(2, &mut || {
            self.clear(actor, volume, ino, offset, end, false)
        })
    }

    /// Makes a range read as zeros; the file grows to reach over it.
    ///
    /// # Errors
    /// As [`Store::submit`]; [`Kind::TooLarge`], [`Kind::Invalid`] for an empty range.
    pub fn zero(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        length: u64,
    ) -> Result<Done, Error> {
        if length == 0 {
            return Err(Refusal::new(Kind::Invalid, "an empty range").into());
        }
        let Some(end) = offset
            .checked_add(length)
            .filter(|end| *end <= MAX_FILE_SIZE)
        else {
            return Err(
                Refusal::new(Kind::TooLarge, "the range ends beyond what a file can have").into(),
            );
        };
        self.with_room(2, &mut || self.clear(actor, volume, ino, offset, end, true))
    }

    /// One command: ragged edges rewritten, whole blocks unmapped. Planned without the lock; begun again where the size or an edge
    /// changed meanwhile.
    fn clear(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        end: u64,
        grow: bool,
    ) -> Result<Done, Error> {
        loop {
            let inner = self.lock();
            let size = file(&inner, volume, ino)?.size;
            let to = end.min(size);
            let (first, last) = (
                offset / BLOCK,
                to.max(offset.saturating_add(1)).div_ceil(BLOCK) - 1,
            );
            let edges = self.edges(&inner, volume, ino, first, last)?;
            drop(inner);
            let (mut runs, mut payload) = (Vec::new(), Vec::new());
            if offset < to {
                // Past the end of the file a block is zeros already, so its last block can go whole.
                let ragged =
                    |block: u64| block * BLOCK < offset || ((block + 1) * BLOCK > to && to < size);
                let mut edge = |block: u64| -> Result<(), Error> {
                    let Some(version) = edges.1[usize::from(block != first)] else {
                        return Ok(());
                    };
                    let mut bytes = Box::new(ZERO);
                    self.read_version(version, &mut bytes)?;
                    let from = offset.max(block * BLOCK) - block * BLOCK;
                    let until = to.min((block + 1) * BLOCK) - block * BLOCK;
                    bytes[from as usize..until as usize].fill(0);
                    let data = *bytes != ZERO;
                    payload.extend(data.then(|| Block::new(bytes)));
                    runs.push(WriteRun {
                        block,
                        count: 1,
                        data,
                    });
                    Ok(())
                };
                let (head, tail) = (ragged(first), last > first && ragged(last));
                if head {
                    edge(first)?;
                }
                if tail {
                    edge(last)?;
                }
                let whole = first + u64::from(head)..last + 1 - u64::from(tail);
                if whole.start < whole.end {
                    let count = whole.end - whole.start;
                    runs.insert(
                        usize::from(runs.first().is_some_and(|r| r.block < whole.start)),
                        WriteRun {
                            block: whole.start,
                            count,
                            data: false,
                        },
                    );
                }
            }
            let mut inner = self.lock();
            if self.edges(&inner, volume, ino, first, last)? != edges {
                continue;
            }
            let size = if grow { size.max(end) } else { size };
            let command = Command::Write {
                volume,
                ino,
                runs,
                size,
            };
            return self.execute(&mut inner, actor, command, &payload, &Views::none());
        }
    }

    /// Copies a range within a volume: whole blocks are shared, ragged edges copied. Stops at the end of the file read, and where the rest cannot be
    /// copied; gives the number of bytes copied (`copy_file_range`).
    ///
    /// # Errors
    /// Where nothing was copied: as [`Store::submit`]; [`Kind::Invalid`] for overlapping ranges of one file.
    #[allow(clippy::too_many_arguments)] // the arguments of copy_file_range
    pub fn copy_range(
        &self,
        actor: &Actor,
        volume: VolumeId,
        from: Ino,
        from_offset: u64,
        to: Ino,
        to_offset: u64,
        length: u64,
    ) -> Result<u64, Error> {
        let size = file(&self.lock(), volume, from)?.size;
        let length = length.min(size.saturating_sub(from_offset));
        if from == to
            && from_offset < to_offset.saturating_add(length)
            && to_offset < from_offset.saturating_add(length)
        {
            return Err(Refusal::new(Kind::Invalid, "the two ranges overlap").into());
        }
        if to_offset
            .checked_add(length)
            .is_none_or(|end| end > MAX_FILE_SIZE)
        {
            return Err(
                Refusal::new(Kind::TooLarge, "the copy ends beyond what a file can have").into(),
            );
        }
        let mut copied = 0;
        while copied < length {
            let (source, target) = ((from, from_offset + copied), (to, to_offset + copied));
            match self.copy_part(actor, volume, source, target, length - copied) {
                Ok(0) => break, // it was cut short meanwhile
                Ok(part) => copied += part,
                // What was copied stays; whoever asks for the rest is told why not.
                Err(_) if copied > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(copied)
    }

    /// Copies as much as one command can; gives how many bytes.
    fn copy_part(
        &self,
        actor: &Actor,
        volume: VolumeId,
        (from, source): (Ino, u64),
        (to, target): (Ino, u64),
        left: u64,
    ) -> Result<u64, Error> {
        let aligned = source.is_multiple_of(BLOCK) && target.is_multiple_of(BLOCK);
        if aligned && left >= BLOCK {
            let count = (left / BLOCK).min(MAX_EVENT_BLOCKS);
            let (from, to) = ((from, source / BLOCK), (to, target / BLOCK));
            let share = &mut || self.share_blocks(actor, volume, from, to, count);
            if self.with_room(0, share)? {
                return Ok(count * BLOCK);
            }
        }
        self.copy_bytes(actor, volume, (from, source), (to, target), left)
    }

    /// Copies bytes up to the next block's edge of both files, or 256 blocks; gives how many.
    fn copy_bytes(
        &self,
        actor: &Actor,
        volume: VolumeId,
        (from, source): (Ino, u64),
        (to, target): (Ino, u64),
        left: u64,
    ) -> Result<u64, Error> {
        let together = source % BLOCK == target % BLOCK && !source.is_multiple_of(BLOCK);
        let most = if together {
            BLOCK - source % BLOCK
        } else {
            256 * BLOCK
        };
        let mut bytes = vec![0; usize::try_from(left.min(most)).unwrap_or(BLOCK_SIZE)];
        let tree = self
            .state()
            .volume(volume)
            .map(|v| v.live.clone())
            .unwrap_or_default();
        let got = self.read(&tree, from, source, &mut bytes)?;
        drop(tree);
        if got > 0 {
            self.write(actor, volume, to, target, &bytes[..got])?;
        }
        Ok(got as u64)
    }

    /// Shares blocks; false where they are shared at too many places already.
    fn share_blocks(
        &self,
        actor: &Actor,
        volume: VolumeId,
        from: (Ino, u64),
        to: (Ino, u64),
        count: u64,
    ) -> Result<bool, Error> {
        let mut inner = self.lock();
        let size = file(&inner, volume, to.0)?.size.max((to.1 + count) * BLOCK);
        let command = Command::Share {
            volume,
            from: from.0,
            from_block: from.1,
            to: to.0,
            to_block: to.1,
            count,
            size,
        };
        match self.execute(&mut inner, actor, command, &[], &Views::none()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The whole blocks of a long write, from the first one on: hashed side by side, in memory that the journal writes from. `None` stands for
/// zeros.
fn many_whole(offset: u64, data: &[u8]) -> Option<(u64, Vec<Option<Block>>)> {
    let head = usize::try_from(offset.next_multiple_of(BLOCK) - offset).ok()?;
    let (blocks, _) = data.get(head..)?.as_chunks::<BLOCK_SIZE>();
    if blocks.len() < MANY_BLOCKS {
        return None;
    }
    let slab = Arc::new(Slab::copy_of(blocks.as_flattened()));
    let filled: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i] != ZERO).collect();
    let mut content = vec![None; blocks.len()];
    for (&index, block) in filled.iter().zip(Block::of_slab(&slab, &filled)) {
        content[index] = Some(block);
    }
    Some((offset.div_ceil(BLOCK), content))
}

/// The runs of a write: data with its payload, zeros where something is mapped. Zeros over a hole are nothing at all.
fn runs(
    inner: &Inner,
    volume: VolumeId,
    ino: Ino,
    first: u64,
    blocks: Vec<Option<Block>>,
) -> (Vec<WriteRun>, Vec<Block>) {
    let mut runs: Vec<WriteRun> = Vec::new();
    let mut payload = Vec::with_capacity(blocks.len());
    for (block, content) in (first..).zip(blocks) {
        let data = content.is_some();
        if !data && !file(inner, volume, ino).is_ok_and(|f| f.map.contains(block)) {
            continue;
        }
        payload.extend(content);
        match runs.last_mut() {
            Some(run) if run.data == data && run.block + run.count == block => run.count += 1,
            _ => runs.push(WriteRun {
                block,
                count: 1,
                data,
            }),
        }
    }
    (runs, payload)
}

fn file(inner: &Inner, volume: VolumeId, ino: Ino) -> Result<&FileBody, Error> {
    let volume = inner
        .state
        .volume(volume)
        .ok_or_else(|| Refusal::new(Kind::NotFound, "the volume is not there"))?;
    let inode = volume
        .live
        .inode(ino)
        .ok_or_else(|| Refusal::new(Kind::NotFound, "the file is not there"))?;
    match inode.file() {
        Some(file) => Ok(file),
        None if inode.is_dir() => Err(Refusal::new(Kind::IsADirectory, "it is a directory").into()),
        None => Err(Refusal::new(Kind::Invalid, "it is not a regular file").into()),
    }
}
