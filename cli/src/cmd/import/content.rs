//! The bytes of one file into the store. Some threads read and prepare parts of it side by side, this one places them in
//! order, another commits: the disk, the processor and the journal work at the same time, and what waits in between is
//! bounded. A block whose content is in the volume already is not written again.

use super::Importer;
use super::source::{CHUNK, Change, Extent, Part, Slabs, Source, chunks};
use crate::context::Opened;
use crate::error::{Outcome, on_path};
use crate::interrupt;
use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use strand_engine::{BLOCK, Command, Ino, Ticket, WriteRun};
use strand_journal::{Block, max_record_blocks};

/// Parts that each reading thread prepares ahead.
const AHEAD: usize = 4;
/// The most reading threads.
const MOST_READERS: usize = 4;
/// Bytes placed between two commits; twice as many may be on their way.
const COMMIT_EVERY: u64 = 32 << 20;

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
    let extents = source.extents()?;
    // Threads are not worth their start for a small file.
    if source.length <= CHUNK {
        for chunk in chunks(&extents) {
            let part = source.part(chunk, &mut Slabs::default())?;
            if let Some(ticket) = place(import, ino, part)? {
                import.uncommitted += 1;
                if import.uncommitted >= super::COMMIT_EVERY {
                    import.store.commit(ticket)?;
                    import.uncommitted = 0;
                }
            }
        }
    } else {
        pipeline(import, ino, &source, &extents)?;
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

fn pipeline(
    import: &mut Importer<'_>,
    ino: Ino,
    source: &Source<'_>,
    extents: &[Extent],
) -> Outcome {
    let readers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_READERS);
    let (to_commit, tickets) = sync_channel::<Ticket>(0);
    let store = import.store;
    thread::scope(|scope| {
        // With n readers, each takes every nth chunk; asked in turn, they give the chunks in order.
        let parts: Vec<_> = (0..readers)
            .map(|reader| {
                let (give, parts) = sync_channel::<Outcome<Part>>(AHEAD);
                scope.spawn(move || {
                    let mut slabs = Slabs::default();
                    for chunk in chunks(extents).skip(reader).step_by(readers) {
                        let part = source.part(chunk, &mut slabs);
                        let failed = part.is_err();
                        if give.send(part).is_err() || failed {
                            break;
                        }
                    }
                });
                parts
            })
            .collect();
        let committing = scope.spawn(move || commit_each(store, &tickets));
        let placed = place_all(import, ino, parts, to_commit);
        // The channels are closed: every thread ends.
        let committed = committing
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committed.and(placed)
    })
}

fn commit_each(store: &Opened, tickets: &Receiver<Ticket>) -> Outcome {
    for ticket in tickets {
        store.commit(ticket)?;
    }
    Ok(())
}

fn place_all(
    import: &mut Importer<'_>,
    ino: Ino,
    readers: Vec<Receiver<Outcome<Part>>>,
    to_commit: SyncSender<Ticket>,
) -> Outcome {
    let mut uncommitted = 0;
    for reader in readers.iter().cycle() {
        let Ok(part) = reader.recv() else { break };
        interrupt::check("importing", "a signal asked for it")?;
        if let Some(ticket) = place(import, ino, part?)? {
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
            let written = payload.len() as u64;
            let command = Command::Write {
                volume,
                ino,
                runs,
                size: end,
            };
            let done = import.store.submit_with(actor, command, &payload)?;
            import.totals.blocks_written += written;
            done
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
