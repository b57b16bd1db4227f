//! The bytes of one file into the store. One thread reads and prepares (checksums on all cores), this one places, a
//! third commits: the disk, the processor and the journal work at the same time, and what waits in between is bounded.
//! A block whose content is in the volume already is not written again.

use super::Importer;
use crate::error::{Failure, Outcome, on_path};
use crate::interrupt;
use rayon::prelude::*;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use strand_engine::{BLOCK, BlockMap, Command, Ino, Store, Ticket, WriteRun};
use strand_journal::{Block, max_record_blocks};

/// Bytes read at once: one command each.
const CHUNK: u64 = 1 << 20;
/// Chunks read and prepared ahead.
const AHEAD: usize = 8;
/// Bytes placed between two commits; twice as many may be on their way.
const COMMIT_EVERY: u64 = 32 << 20;
/// A file up to this size is brought without threads.
const SMALL: u64 = CHUNK;

const ZERO: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// What a block of the source means for the volume.
enum Change {
    /// The volume has it already.
    Same,
    /// It becomes a hole.
    Hole,
    /// It is written.
    Data(Block),
}

/// A part of the source, prepared.
enum Part {
    /// Blocks from `first` on, of a part that ends at byte `end`.
    Blocks {
        first: u64,
        end: u64,
        blocks: Vec<Change>,
    },
    /// Bytes of a hole of the source where the volume has data, from and to.
    Hole { start: u64, end: u64 },
}

/// Reads the source by parts.
struct Source<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
    store: &'a Store,
    existing: BlockMap,
}

/// Brings the content of `path` into the file `ino`.
pub(super) fn bring(
    import: &mut Importer<'_>,
    ino: Ino,
    path: &Path,
    metadata: &Metadata,
) -> Outcome {
    let file = File::open(path).map_err(on_path("open", path))?;
    let inode = import.inode(ino)?;
    let (existing, size) = inode
        .file()
        .map(|f| (f.map.clone(), f.size))
        .unwrap_or_default();
    let source = Source {
        file: &file,
        path,
        length: metadata.len(),
        store: import.store,
        existing,
    };
    if source.length <= SMALL {
        let mut parts = Vec::new();
        source.parts(&mut |part| {
            parts.push(part);
            Ok(true)
        })?;
        for part in parts {
            if let Some(ticket) = place(import, ino, part)? {
                import.uncommitted += 1;
                if import.uncommitted >= super::COMMIT_EVERY {
                    import.store.commit(ticket)?;
                    import.uncommitted = 0;
                }
            }
        }
    } else {
        pipeline(import, ino, &source)?;
    }
    // A shorter source cuts, and a hole at its end leaves no other trace than the size.
    let now = import.inode(ino)?.size();
    if now != source.length && (now != size || size != source.length) {
        let done =
            import
                .store
                .truncate(import.context.actor(), import.volume, ino, source.length)?;
        import.count(&done.events);
    }
    Ok(())
}

fn pipeline(import: &mut Importer<'_>, ino: Ino, source: &Source<'_>) -> Outcome {
    let (to_place, parts) = sync_channel::<Part>(AHEAD);
    let (to_commit, tickets) = sync_channel::<Ticket>(0);
    let store = import.store;
    thread::scope(|scope| {
        let reading =
            scope.spawn(move || source.parts(&mut |part| Ok(to_place.send(part).is_ok())));
        let committing = scope.spawn(move || commit_each(store, &tickets));
        let placed = place_all(import, ino, parts, to_commit);
        // The channels are closed: both threads end.
        let read = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let committed = committing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committed.and(placed).and(read)
    })
}

fn commit_each(store: &Store, tickets: &Receiver<Ticket>) -> Outcome {
    for ticket in tickets {
        store.commit(ticket)?;
    }
    Ok(())
}

fn place_all(
    import: &mut Importer<'_>,
    ino: Ino,
    parts: Receiver<Part>,
    to_commit: SyncSender<Ticket>,
) -> Outcome {
    let mut uncommitted = 0;
    for part in parts {
        interrupt::check("importing", "a signal asked for it")?;
        if let Some(ticket) = place(import, ino, part)? {
            uncommitted += CHUNK;
            if uncommitted >= COMMIT_EVERY {
                uncommitted = 0;
                if to_commit.send(ticket).is_err() {
                    break; // the committer failed, and says why
                }
            }
        }
    }
    Ok(())
}

/// Places one part as one command; `None` where nothing changed.
fn place(import: &mut Importer<'_>, ino: Ino, part: Part) -> Outcome<Option<Ticket>> {
    let (actor, volume) = (import.context.actor(), import.volume);
    let done = match part {
        Part::Hole { start, end } => import.store.punch(actor, volume, ino, start, end - start)?,
        Part::Blocks { first, end, blocks } => {
            let bytes = end - first * BLOCK;
            import.progress.advance(bytes);
            import.totals.bytes_read += bytes;
            let same = blocks.iter().filter(|b| matches!(b, Change::Same)).count() as u64;
            import.totals.blocks_same += same;
            let longest = u64::from(max_record_blocks(
                import.store.journal().space().segment_size,
            ));
            let (runs, payload) = runs(first, blocks, longest);
            if runs.is_empty() {
                return Ok(None);
            }
            import.totals.blocks_written += payload.len() as u64;
            let command = Command::Write {
                volume,
                ino,
                runs,
                size: end,
            };
            import.store.submit_with(actor, command, &payload)?
        }
    };
    import.count(&done.events);
    Ok(Some(done.ticket))
}

/// The changed blocks as runs of at most `longest` blocks, and their payload.
fn runs(first: u64, blocks: Vec<Change>, longest: u64) -> (Vec<WriteRun>, Vec<Block>) {
    let mut runs: Vec<WriteRun> = Vec::new();
    let mut payload = Vec::new();
    for (block, change) in (first..).zip(blocks) {
        let data = match change {
            Change::Same => continue,
            Change::Hole => false,
            Change::Data(content) => {
                payload.push(content);
                true
            }
        };
        match runs.last_mut() {
            Some(run)
                if run.data == data
                    && run.block + run.count == block
                    && (!data || run.count < longest) =>
            {
                run.count += 1
            }
            _ => runs.push(WriteRun {
                block,
                count: 1,
                data,
            }),
        }
    }
    (runs, payload)
}

impl Source<'_> {
    /// Gives every part to `give`, in order, until it says `false`.
    fn parts(&self, give: &mut dyn FnMut(Part) -> Outcome<bool>) -> Outcome {
        let mut at = 0;
        while at < self.length {
            let data = self.next_data(at)?.min(self.length);
            // Whole blocks of the hole only: a block with one byte of data is a block of data.
            let hole_end = if data == self.length {
                self.length
            } else {
                data / BLOCK * BLOCK
            };
            if hole_end > at
                && self
                    .existing
                    .next_at_or_after(at / BLOCK)
                    .is_some_and(|(block, _)| block * BLOCK < hole_end)
                && !give(Part::Hole {
                    start: at,
                    end: hole_end,
                })?
            {
                return Ok(());
            }
            at = at.max(hole_end);
            if at >= self.length {
                break;
            }
            let end = self
                .next_hole(data)?
                .min(self.length)
                .next_multiple_of(BLOCK)
                .min(self.length);
            while at < end {
                let stop = (at + CHUNK).min(end);
                if !give(self.blocks(at, stop)?)? {
                    return Ok(());
                }
                at = stop;
            }
        }
        Ok(())
    }

    fn next_data(&self, at: u64) -> Outcome<u64> {
        match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(data),
            Err(Errno::NXIO) => Ok(self.length),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(at),
            Err(error) => Err(on_path("read", self.path)(error.into())),
        }
    }

    fn next_hole(&self, at: u64) -> Outcome<u64> {
        match rustix::fs::seek(self.file, SeekFrom::Hole(at)) {
            Ok(hole) => Ok(hole),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => Ok(self.length),
            Err(error) => Err(on_path("read", self.path)(error.into())),
        }
    }

    fn blocks(&self, start: u64, end: u64) -> Outcome<Part> {
        let length = end - start;
        let mut buffer = vec![0; usize::try_from(length.next_multiple_of(BLOCK)).unwrap_or(0)];
        let wanted = usize::try_from(length).unwrap_or(0);
        match self.file.read_exact_at(&mut buffer[..wanted], start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let shrank = io::Error::other("the file became shorter while it was read");
                return Err(on_path("import", self.path)(shrank));
            }
            Err(error) => return Err(on_path("read", self.path)(error)),
        }
        let first = start / BLOCK;
        let blocks: Result<Vec<Change>, Failure> = buffer
            .par_chunks_exact(BLOCK as usize)
            .enumerate()
            .with_min_len(16)
            .map(|(i, bytes)| self.change(first + i as u64, bytes))
            .collect();
        Ok(Part::Blocks {
            first,
            end,
            blocks: blocks?,
        })
    }

    fn change(&self, block: u64, bytes: &[u8]) -> Outcome<Change> {
        let there = self.existing.get(block).copied();
        if bytes == ZERO {
            return Ok(if there.is_some() {
                Change::Hole
            } else {
                Change::Same
            });
        }
        let content = Block::from_slice(bytes);
        if let Some(there) = there.filter(|t| t.crc() == content.crc()) {
            let mut present = ZERO;
            self.store
                .journal()
                .read_block(there.addr(), &mut present)
                .map_err(strand_engine::Error::from)?;
            if present == bytes {
                return Ok(Change::Same);
            }
        }
        Ok(Change::Data(content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_break_at_gaps_at_kinds_and_at_the_longest_record() {
        let data = || Change::Data(Block::from_slice(b"x"));
        let blocks = vec![
            data(),
            data(),
            data(),
            Change::Same,
            Change::Hole,
            Change::Hole,
            data(),
        ];
        let (runs, payload) = runs(10, blocks, 2);
        let runs: Vec<_> = runs.iter().map(|r| (r.block, r.count, r.data)).collect();
        assert_eq!(
            runs,
            [(10, 2, true), (12, 1, true), (14, 2, false), (16, 1, true)]
        );
        assert_eq!(payload.len(), 4);
    }
}
