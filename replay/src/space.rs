//! Who owns what: every byte of the journal's files, told by what keeps it.
//!
//! Each living version counts once, for the first of these that shows it: a live volume, a checkpoint, what a clone can be reset to, and then the
//! history (the windows, and what undo could bring back). What nobody shows is kept for those who read it, or dead. The sums are the files' own sizes.

use crate::trees::versions_that_differ;
use serde::Serialize;
use strand_engine::marks::{Marks, roots_of};
use strand_engine::{
    BLOCK, Checkpoint, CheckpointId, Error, Fileset, Places, Seq, State, Store, VolumeId, owner,
};
use strand_journal::{BlockAddr, SegmentState};

/// Who owns what, in bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SpaceReport {
    /// What the journal's files take: the sum of all that follows up to `archives`.
    pub journal: u64,
    /// What live volumes show.
    pub live: u64,
    /// What checkpoints show besides.
    pub checkpoints: u64,
    /// What clones can be reset to besides.
    pub origins: u64,
    /// What only the history windows or undo still show.
    pub history: u64,
    /// What nobody can reach any more but those who read it now.
    pub readers: u64,
    /// What nobody can reach any more.
    pub dead: u64,
    /// Events, in segments whose blocks are still there.
    pub events: u64,
    /// Made ahead, and not written yet.
    pub ahead: u64,
    /// Events of segments that were given back.
    pub archives: u64,
    /// Bytes of events, archived or not, in a day of the time that they are of.
    pub events_a_day: u64,
    /// By volume, clones among them.
    pub volumes: Vec<VolumeSpace>,
    /// By checkpoint, oldest first.
    pub each_checkpoint: Vec<CheckpointSpace>,
    /// Where the oldest history window begins.
    pub window: Seq,
}

/// A volume's space, in bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct VolumeSpace {
    /// The volume.
    pub volume: VolumeId,
    /// What its files map: a block that two places share counts twice.
    pub logical: u64,
    /// The distinct blocks of that.
    pub stored: u64,
    /// What its checkpoints own.
    pub owned: u64,
}

/// A checkpoint's space, in bytes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CheckpointSpace {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What it owns.
    pub owned: u64,
    /// What nothing else shows, but for the history: what its removal gives back when the history window has passed.
    pub unique: u64,
}

/// Adds up a store's space. `read` says how many blocks are kept only for those who read them, as [`Store::kept_for_readers`] counts them. Costs a walk of all trees, the headers of the journal that is still there, and a
/// fold back to where the oldest history window begins.
///
/// # Errors
/// What reading the journal gives.
pub fn report(store: &Store, read: u64) -> Result<SpaceReport, Error> {
    let state = store.state();
    let blocks = u64::from(store.journal().blocks_per_segment());
    let mut found = SpaceReport {
        window: state.oldest_window().unwrap_or(state.boundary),
        ..SpaceReport::default()
    };
    let nothing_young = BlockAddr(strand_journal::MAX_ADDRESS);
    let marks =
        |roots: &[Fileset], young| Marks::of(roots, young, &mut || true).unwrap_or_default();
    let live: Vec<Fileset> = state.volumes.values().map(|v| v.live.clone()).collect();
    let mut shown = live.clone();
    shown.extend(state.volumes.values().flat_map(|v| {
        v.images
            .data_newest_first()
            .map(|(_, image)| image.root.clone())
    }));
    let origins = state.volumes.values().filter_map(|v| v.origin.as_ref());
    let origins: Vec<Fileset> = origins.map(|origin| origin.root.clone()).collect();
    let mut kept = shown.clone();
    kept.extend(origins.iter().cloned());
    let (base, young) = window_base(store, &state, found.window)?;
    let mut all = Vec::new();
    if let Some(base) = &base {
        roots_of(base, &mut all);
    }
    roots_of(&state, &mut all);
    let layers = [
        marks(&live, nothing_young),
        marks(&shown, nothing_young),
        marks(&kept, nothing_young),
        marks(&all, young),
    ];
    segments(store, &state.places, blocks, &layers, &mut found)?;
    found.readers = (read * BLOCK).min(found.dead);
    found.dead -= found.readers;
    let elsewhere: Vec<Fileset> = live.iter().chain(&origins).cloned().collect();
    let elsewhere = marks(&elsewhere, nothing_young);
    for volume in state.volumes.values() {
        let stored = marks(std::slice::from_ref(&volume.live), nothing_young).blocks();
        found.volumes.push(VolumeSpace {
            volume: volume.id,
            logical: volume.live.blocks * BLOCK,
            stored: stored * BLOCK,
            owned: volume.images.owned() * BLOCK,
        });
    }
    for checkpoint in state.checkpoints.values() {
        found
            .each_checkpoint
            .push(checkpoint_space(&state, checkpoint, &elsewhere));
    }
    let day = 24 * 3_600_000_000_000_u128;
    let events = u128::from(found.events + found.archives);
    // Of the time before the events that are still there, nothing is left to count.
    let before = match store.journal().reader().origin().number {
        0 | 1 => 0,
        _ => store.beginning().map_or(0, |(base, _)| base.elapsed),
    };
    let recorded = state.elapsed.saturating_sub(before).max(1);
    let a_day = events * day / u128::from(recorded);
    found.events_a_day = u64::try_from(a_day).unwrap_or(u64::MAX);
    Ok(found)
}

/// What nothing but a checkpoint shows, and the history, in bytes: what its removal gives back when the history window has passed. Costs a walk of the
/// live volumes and of what clones go back to.
#[must_use]
pub fn unique(state: &State, checkpoint: &Checkpoint) -> u64 {
    let volumes = state.volumes.values();
    let roots =
        volumes.flat_map(|v| std::iter::once(&v.live).chain(v.origin.as_ref().map(|o| &o.root)));
    let roots: Vec<Fileset> = roots.cloned().collect();
    let nothing_young = BlockAddr(strand_journal::MAX_ADDRESS);
    let elsewhere = Marks::of(&roots, nothing_young, &mut || true).unwrap_or_default();
    checkpoint_space(state, checkpoint, &elsewhere).unique
}

/// The state where the oldest window begins, and the address from which on everything is younger. No state where the windows begin now.
fn window_base(
    store: &Store,
    state: &State,
    oldest: Seq,
) -> Result<(Option<State>, BlockAddr), Error> {
    let end = BlockAddr(strand_journal::MAX_ADDRESS);
    if oldest >= state.boundary {
        return Ok((None, end));
    }
    let blocks = u64::from(store.journal().blocks_per_segment());
    let mut young = BlockAddr(0);
    for frame in store.journal().reader().frames_back() {
        let frame = frame?;
        if frame.next_number() <= oldest + 1 {
            break;
        }
        // A frame that the beginning lies in is young as a whole.
        young = BlockAddr(frame.segment * blocks + u64::from(frame.block));
    }
    let (boundary, _) = store.boundary_at_or_before(oldest)?;
    Ok((Some(store.state_at(boundary)?), young))
}

/// Adds up the segments: `layers` are the marks of what is live, of that with the checkpoints, with what clones go back to, and of everything.
fn segments(
    store: &Store,
    places: &Places,
    blocks: u64,
    layers: &[Marks; 4],
    found: &mut SpaceReport,
) -> Result<(), Error> {
    let reader = store.journal().reader();
    let end = store.journal().position();
    for segment in store.journal().segments() {
        found.journal += segment.file_bytes;
        found.archives += segment.archive_bytes;
        let written = !matches!(segment.state, SegmentState::Archived | SegmentState::Spare);
        if segment.file_bytes == 0 || !written || segment.number > end.segment {
            found.ahead += segment.file_bytes;
            continue;
        }
        let (mut headers, mut payload, mut block) = (0, 0, 0);
        let last = match segment.number == end.segment {
            true => end.block,
            false => u32::MAX,
        };
        while block < last {
            let Ok(frame) = reader.frame_at(segment.number, block) else {
                break; // behind the last frame of the segment
            };
            headers += u64::from(frame.header_blocks);
            payload += u64::from(frame.payload_blocks);
            block = frame.block + frame.header_blocks + frame.payload_blocks;
            if u64::from(block) >= blocks {
                break;
            }
        }
        let (first, behind) = (segment.number * blocks, (segment.number + 1) * blocks);
        let mut before = 0;
        let mut parts = [0; 4];
        for (part, marks) in parts.iter_mut().zip(layers) {
            let living = alive(marks, places, first, behind, payload).max(before);
            *part = (living - before) * BLOCK;
            before = living;
        }
        let dead = payload.saturating_sub(before) * BLOCK;
        let [live, checkpoints, origins, history] = parts;
        found.live += live;
        found.checkpoints += checkpoints;
        found.origins += origins;
        found.history += history;
        found.dead += dead;
        found.events += headers * BLOCK;
        let told = (headers + payload.max(before)) * BLOCK;
        found.ahead += segment.file_bytes.saturating_sub(told);
    }
    found.journal += found.archives;
    Ok(())
}

/// Living versions in a segment that holds so many blocks of payload. What is young lives.
fn alive(marks: &Marks, places: &Places, first: u64, end: u64, payload: u64) -> u64 {
    let young = marks.young().0;
    if first >= young {
        return payload;
    }
    if end <= young {
        return marks.living(places, first, end);
    }
    // What is younger lies in the rest of it, headers between.
    let old = marks.living(places, first, young);
    let rest = (end - young).min(payload.saturating_sub(old));
    old + rest
}

fn checkpoint_space(state: &State, checkpoint: &Checkpoint, elsewhere: &Marks) -> CheckpointSpace {
    let mut space = CheckpointSpace {
        checkpoint: checkpoint.id,
        owned: 0,
        unique: 0,
    };
    for volume in checkpoint.volumes.iter().filter_map(|id| state.volume(*id)) {
        let Some(image) = volume.images.get(&checkpoint.id).filter(|i| !i.nodata) else {
            continue;
        };
        space.owned += image.ledger.owned() * BLOCK;
        let newer = volume.images.next_newer_data(checkpoint.id);
        let newer = newer.unwrap_or(&volume.live);
        versions_that_differ(&image.root, newer, &mut |place, version, ours| {
            let addr = version.addr().0;
            if !ours || elsewhere.is_alive(addr) {
                return;
            }
            let others = volume.images.data_newest_first();
            let mut others = others
                .filter(|(id, _)| *id != checkpoint.id)
                .take_while(|(_, other)| version.addr() < other.born);
            if others.any(|(_, other)| owner::maps(&other.root, &volume.spread, version, place)) {
                return;
            }
            space.unique += BLOCK;
        });
    }
    space
}
