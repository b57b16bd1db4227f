//! Copy-outs recomputed: for each command, the versions that left the live tree and that a checkpoint still maps must be exactly those
//! that its `CopiedOut` events name, each with the newest checkpoint that maps it and keeps its data; and what nodata checkpoints should have
//! marked must be what its `ChangeMarked` events name.
//!
//! Bulk forms name no blocks; the ledgers check those.

use super::report::{Finding, Findings};
use crate::log::touch;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strand_engine::owner::{maps, marking_image, newest_image};
use strand_engine::{
    CheckpointId, Event, Ino, Inode, Place, Placed, Range, Seq, State, Volume, VolumeId,
};

/// A version passed to a checkpoint, or marked by a nodata one: the checkpoint, the version's address.
type Passed = (CheckpointId, u64);

/// What the running command did to one volume.
struct Command {
    first: Seq,
    before: Arc<Volume>,
    /// The bulk form stands for some of it.
    bulk: bool,
    replaced: Vec<(Ino, std::ops::RangeInclusive<u64>)>,
    told: BTreeSet<Passed>,
}

impl Command {
    fn begin(first: Seq, before: Arc<Volume>) -> Self {
        Self {
            first,
            before,
            bulk: false,
            replaced: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Notes what an event says passed, as far as it was mapped; gives the number of versions.
    fn tell(&mut self, checkpoint: CheckpointId, ino: Ino, ranges: &[Range]) -> u64 {
        let Some(file) = self
            .before
            .live
            .inode(ino)
            .map(Arc::as_ref)
            .and_then(Inode::file)
        else {
            return 0;
        };
        let mut versions = 0;
        for range in ranges {
            for (_, version) in file
                .map
                .range(range.block, range.block.saturating_add(range.count - 1))
            {
                self.told.insert((checkpoint, version.addr().0));
                versions += 1;
            }
        }
        versions
    }
}

/// Recomputes the copy-outs of each command.
#[derive(Default)]
pub(crate) struct CopyOuts {
    running: BTreeMap<VolumeId, Command>,
    commands: u64,
    copied_out: u64,
}

impl CopyOuts {
    /// Commands looked at, and blocks that passed by events of their own.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.commands, self.copied_out)
    }

    /// An event, with the state before it.
    pub(crate) fn event(&mut self, state: &State, placed: &Placed<'_>) {
        let Some(id) = placed.event.volume() else {
            return;
        };
        let command = match self.running.entry(id) {
            Entry::Occupied(running) => running.into_mut(),
            Entry::Vacant(vacant) => match state.volume(id) {
                // Nothing passes from a volume without checkpoints.
                Some(volume)
                    if !volume.images.is_empty()
                        || matches!(
                            placed.event,
                            Event::CopiedOut { .. } | Event::ChangeMarked { .. }
                        ) =>
                {
                    vacant.insert(Command::begin(placed.seq, volume.clone()))
                }
                _ => return,
            },
        };
        let payload = placed.crcs.len() as u64;
        match placed.event {
            Event::CopiedOutScope { .. } | Event::RolledBack { .. } | Event::CloneReset { .. } => {
                command.bulk = true
            }
            Event::CopiedOut {
                checkpoint,
                ino,
                ranges,
                ..
            }
            | Event::ChangeMarked {
                checkpoint,
                ino,
                ranges,
                ..
            } => {
                let named: u64 = ranges.iter().fold(0, |sum, r| sum.saturating_add(r.count));
                let before = command.tell(*checkpoint, *ino, ranges);
                if matches!(placed.event, Event::CopiedOut { .. }) {
                    self.copied_out += before;
                }
                if before != named {
                    // Some of it was not mapped: address 0, which no version has, will be missed on the other side.
                    command.told.insert((*checkpoint, 0));
                }
            }
            Event::Unlinked { ino, .. }
            | Event::OrphanDropped { ino, .. }
            | Event::FileRestored { ino, .. } => {
                command.replaced.push((*ino, 0..=u64::MAX));
            }
            Event::Renamed {
                over: Some((ino, _)),
                ..
            } => command.replaced.push((*ino, 0..=u64::MAX)),
            event => {
                if let (Some(ino), Some(blocks)) = (event.file(), touch::replaced(event, payload)) {
                    command.replaced.push((ino, blocks));
                }
            }
        }
    }

    /// The state at the end of a command.
    pub(crate) fn end(&mut self, state: &State, findings: &mut Findings) {
        while let Some((id, command)) = self.running.pop_first() {
            if command.bulk || (command.replaced.is_empty() && command.told.is_empty()) {
                continue;
            }
            self.commands += 1;
            let Some(after) = state.volume(id) else {
                continue;
            };
            let expected = expected(&command, after);
            let missed = expected.difference(&command.told).next();
            let excess = command.told.difference(&expected).next();
            let Some((checkpoint, address)) = missed.or(excess) else {
                continue;
            };
            let name = state
                .checkpoints
                .get(checkpoint)
                .map_or_else(|| checkpoint.to_string(), |c| c.name.to_string());
            let nodata = after.images.get(checkpoint).is_some_and(|i| i.nodata);
            let (did, not) = if nodata {
                ("been marked by", "was not")
            } else {
                ("passed to", "did not")
            };
            let what = if missed.is_some() {
                format!(
                    "the version at address {address} left the live volume and should have {did} {name}"
                )
            } else {
                format!("the version at address {address} is said to have {did} {name}, and {not}")
            };
            let finding = Finding::damage("copied-out", what).at(command.first);
            findings.push(Finding {
                volume: Some(after.name.to_string()),
                ..finding
            });
        }
    }
}

fn expected(command: &Command, after: &Volume) -> BTreeSet<Passed> {
    let before = &*command.before;
    let mut expected = BTreeSet::new();
    let Some((_, newest)) = before.images.get_max() else {
        return expected;
    };
    for (ino, blocks) in &command.replaced {
        let Some(file) = before
            .live
            .inode(*ino)
            .map(Arc::as_ref)
            .and_then(Inode::file)
        else {
            continue;
        };
        for (block, version) in file.map.range(*blocks.start(), *blocks.end()) {
            let place = Place { ino: *ino, block };
            if version.addr() >= newest.born || maps(&after.live, &after.spread, *version, place) {
                continue;
            }
            let (images, spread) = (&before.images, &before.spread);
            let owner = newest_image(images, spread, *version, place);
            let marking = marking_image(images, spread, *version, place);
            for checkpoint in [owner, marking].into_iter().flatten() {
                expected.insert((checkpoint, version.addr().0));
            }
        }
    }
    expected
}
