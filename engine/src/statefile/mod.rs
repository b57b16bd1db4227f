//! State files: the whole state as of one position, so that opening a store need not fold its journal from the start.
//!
//! `state/NNN.state` holds the state after event NNN and the place where the journal goes on. Whatever the state
//! shares with itself (the nodes of maps, inodes, names, trees) stands there once, and is shared again when it is
//! loaded. A state file is derived and never trusted: one that is not right in every part is [`Damage`], and the
//! caller takes the one before, or folds from the start. `docs/format.md` gives the bytes.

mod chunk;
#[cfg(test)]
mod crash_tests;
mod decode;
mod encode;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod history;
mod record;
mod shared;
#[cfg(test)]
mod tests;
mod tree;
mod whole;

use crate::damage::Damage;
use crate::ids::Seq;
use crate::state::State;
use chunk::{ChunkReader, ChunkWriter, Fault, Header};
use decode::Decoder;
use encode::Encoder;
pub(crate) use encode::{change_record, checkpoint_record};
use shared::Shared;
use std::io;
use strand_journal::{Disk, Error, Start, StoreId};

/// The directory of state files, in the store's.
pub const STATE_DIR: &str = "state";
/// What the names of whole state files end in.
const WHOLE: &str = ".state";
/// What the names of unfinished ones end in.
const UNFINISHED: &str = ".tmp";

/// A state file that was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Its name in [`STATE_DIR`].
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Writes the state file of `state`, durably and all or nothing. `start` is where the journal goes
/// on after the state's last event, which must be flushed. An older file of the same position is replaced.
///
/// Memory: about 50 bytes for each node of the state's maps, while it runs.
///
/// # Errors
/// The disk's; nothing is left behind then, or an unfinished file at most. [`Error::Misuse`] where `start` is not the state's.
pub fn write(
    disk: &dyn Disk,
    state: &State,
    start: &Start,
    store: StoreId,
) -> Result<Written, Error> {
    if start.number != state.seq + 1 {
        return Err(Error::Misuse(format!(
            "the state covers event {}, the journal would go on at {}",
            state.seq, start.number
        )));
    }
    let name = name(state.seq);
    let whole = format!("{STATE_DIR}/{name}");
    let unfinished = format!("{STATE_DIR}/{:020}{UNFINISHED}", state.seq);
    let bytes = fill(
        disk,
        &unfinished,
        state,
        Header {
            store,
            seq: state.seq,
            start: *start,
        },
    )
    .map_err(|source| {
        // A full disk needs the room more than a file that nobody will read.
        let _ = disk.remove(&unfinished);
        failed("write", &unfinished, source)
    })?;
    disk.rename(&unfinished, &whole)
        .map_err(|source| failed("rename", &unfinished, source))?;
    disk.sync_dir(STATE_DIR)
        .map_err(|source| failed("flush", STATE_DIR, source))?;
    tracing::debug!(seq = state.seq, bytes, "state file written");
    Ok(Written { name, bytes })
}

/// The name of the state file that covers everything up to an event.
#[must_use]
pub fn name(seq: Seq) -> String {
    format!("{seq:020}{WHOLE}")
}

/// The size of the state file at a position, in bytes; 0 where it cannot be told.
pub(crate) fn size(disk: &dyn Disk, seq: Seq) -> u64 {
    disk.open_read(&format!("{STATE_DIR}/{seq:020}{WHOLE}"))
        .and_then(|file| file.len())
        .unwrap_or(0)
}

fn fill(disk: &dyn Disk, path: &str, state: &State, header: Header) -> io::Result<u64> {
    disk.create_dir(STATE_DIR)?;
    disk.sync_dir("")?;
    remove_if_there(disk, path)?;
    let file = disk.create(path, 0)?;
    let bytes = Encoder::new(Shared::new(ChunkWriter::new(&*file, header)?)).state(state)?;
    file.sync_data()?;
    Ok(bytes)
}

fn remove_if_there(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &str, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Removes state files that turned out to belong to no position of the journal, as far as that goes.
pub(crate) fn forget(disk: &dyn Disk, covering: &[Seq]) {
    for seq in covering {
        let path = format!("{STATE_DIR}/{seq:020}{WHOLE}");
        if let Err(error) = disk.remove(&path) {
            tracing::warn!(%error, file = %path, "a useless state file stays");
        }
    }
}

/// The state files there are, with the last event that each covers, oldest first. None where there is no directory.
///
/// # Errors
/// The disk's.
pub fn list(disk: &dyn Disk) -> Result<Vec<(Seq, String)>, Error> {
    let names = match disk.list(STATE_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| failed("list", STATE_DIR, source))?,
    };
    let mut files: Vec<(Seq, String)> = names
        .into_iter()
        .filter_map(|name| Some((position(&name)?, name)))
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// What the state files take, each, in bytes, as far as that can be told.
#[must_use]
pub fn sizes(disk: &dyn Disk) -> Vec<u64> {
    let files = list(disk).unwrap_or_default();
    files.iter().map(|(seq, _)| size(disk, *seq)).collect()
}

/// The position in the name of a state file; `None` where the name is not one.
fn position(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(WHOLE)?;
    let seq = digits.parse().ok()?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(seq)
}

/// Loads a state file that [`list`] named, and checks all of it. Gives the state and where the journal goes on.
/// Memory is bounded by the size of the file.
///
/// # Errors
/// [`Damage`] with the file and the offset.
pub fn load(disk: &dyn Disk, name: &str, store: StoreId) -> Result<(State, Start), Damage> {
    let path = format!("{STATE_DIR}/{name}");
    read(disk, &path, name, store)
        .map_err(|fault| Damage::new(fault.what).in_file(path, fault.offset))
}

fn read(disk: &dyn Disk, path: &str, name: &str, store: StoreId) -> Result<(State, Start), Fault> {
    let file = disk
        .open_read(path)
        .map_err(|error| Fault::new(0, format!("cannot open: {error}")))?;
    let mut chunks = ChunkReader::open(file)?;
    let header = chunks.header();
    if header.store != store {
        return Err(Fault::new(
            0,
            format!("the state file belongs to the store {}", header.store),
        ));
    }
    if Some(header.seq) != position(name) || header.seq.checked_add(1) != Some(header.start.number)
    {
        return Err(Fault::new(
            0,
            "the state file's name and its positions do not agree",
        ));
    }
    let mut decoder = Decoder::new();
    let mut at = chunk::HEADER_BYTES as u64;
    while let Some((offset, chunk)) = chunks.next_chunk()? {
        decoder
            .chunk(chunk)
            .map_err(|(record, wrong)| Fault::new(offset + record, wrong.0))?;
        at = offset + chunk.len() as u64;
    }
    let (state, counts) = decoder.finish().map_err(|wrong| Fault::new(at, wrong.0))?;
    chunks.finish(counts)?;
    if state.seq != header.seq {
        return Err(Fault::new(
            at,
            "the state is not at the position that the header says",
        ));
    }
    Ok((state, header.start))
}

/// Removes all but the newest `keep` state files, the newest at or before each position of `needed`, and what unfinished ones an interrupted
/// writer left. Call it where no other writer is at work.
///
/// # Errors
/// The disk's.
pub fn prune(disk: &dyn Disk, keep: usize, needed: &[Seq]) -> Result<(), Error> {
    let files = list(disk)?;
    let old = files.len().saturating_sub(keep);
    let stays: Vec<Seq> = needed
        .iter()
        .filter_map(|at| files.iter().rev().find(|(seq, _)| seq <= at))
        .map(|(seq, _)| *seq)
        .collect();
    let mut doomed: Vec<String> = files
        .into_iter()
        .take(old)
        .filter(|(seq, _)| !stays.contains(seq))
        .map(|(_, name)| name)
        .collect();
    if let Ok(names) = disk.list(STATE_DIR) {
        doomed.extend(names.into_iter().filter(|name| name.ends_with(UNFINISHED)));
    }
    for name in &doomed {
        let path = format!("{STATE_DIR}/{name}");
        remove_if_there(disk, &path).map_err(|source| failed("remove", &path, source))?;
    }
    if !doomed.is_empty() {
        disk.sync_dir(STATE_DIR)
            .map_err(|source| failed("flush", STATE_DIR, source))?;
    }
    Ok(())
}
