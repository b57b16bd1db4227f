//! What the journal says about the wreck: which blocks passed to the checkpoint, of which files, by whom.

use std::collections::BTreeMap;
use strand_engine::{CheckpointId, Error, Event, Ino, Seq, State, Store, VolumeId};
use strand_replay::log::{actor_label, newest_first};

/// What one actor passed to a checkpoint, of one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Passed {
    /// Who, as the log writes it.
    pub(crate) actor: String,
    /// The file's path.
    pub(crate) path: String,
    /// Number of before-images, one block each.
    pub(crate) blocks: u64,
    /// Their first copy-out event.
    pub(crate) first: Seq,
    /// Their last.
    pub(crate) last: Seq,
}

/// All copy-outs to `checkpoint`, counted by actor and file, in the order of their first events.
///
/// # Errors
/// What reading the journal answers.
pub(crate) fn passed_to(
    store: &Store,
    volume: VolumeId,
    checkpoint: CheckpointId,
) -> Result<Vec<Passed>, Error> {
    let state = store.state();
    let mut found: BTreeMap<_, (u64, Seq, Seq)> = BTreeMap::new();
    for logged in newest_first(store) {
        let logged = logged?;
        let Event::CopiedOut {
            volume: v,
            checkpoint: to,
            ino,
            ranges,
            ..
        } = &logged.event
        else {
            continue;
        };
        if (*v, *to) == (volume, checkpoint) {
            let blocks: u64 = ranges.iter().map(|range| range.count).sum();
            let entry = found
                .entry((logged.actor, *ino))
                .or_insert((0, logged.seq, logged.seq));
            *entry = (
                entry.0 + blocks,
                entry.1.min(logged.seq),
                entry.2.max(logged.seq),
            );
        }
    }
    let mut passed: Vec<Passed> = found
        .into_iter()
        .map(|((actor, ino), (blocks, first, last))| Passed {
            actor: state
                .actors
                .get(&actor)
                .map_or_else(|| format!("actor {actor}"), |actor| actor_label(actor)),
            path: path_in_image(&state, volume, checkpoint, ino),
            blocks,
            first,
            last,
        })
        .collect();
    passed.sort_by_key(|row| row.first);
    Ok(passed)
}

/// The file's path in the image: what was replaced may have no name any more in the live tree.
fn path_in_image(state: &State, volume: VolumeId, checkpoint: CheckpointId, ino: Ino) -> String {
    let path = state
        .image(volume, checkpoint)
        .and_then(|image| image.root.path_of(ino));
    path.map_or_else(
        || format!("inode {ino}"),
        |path| crate::output::units::rooted(&path),
    )
}
