//! The state as records: what is shared through [`Shared`], the rest once.

use super::record::{
    ChangeRecord, CheckpointRecord, CountersRecord, ImageRecord, PART_BYTES, Record, RootsRecord,
    VolumeRecord, WhatRecord,
};
use super::shared::Shared;
use crate::event::Source;
use crate::ids::{CheckpointId, VolumeId};
use crate::quota::Quota;
use crate::state::{Change, Checkpoint, Image, Roots, State, Volume, What};
use imbl::OrdMap;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A list of images, and the nodata ones among them with what they mark.
#[derive(Eq, PartialEq)]
struct Listed {
    images: Vec<ImageRecord>,
    nodata: Vec<(u32, u64)>,
}

/// About how many images fit one record.
const IMAGES_IN_PART: usize = PART_BYTES / 32;

/// About how many pairs of addresses fit one record.
const PAIRS_IN_PART: usize = PART_BYTES / 12;

/// Writes a state.
pub(super) struct Encoder<'d> {
    shared: Shared<'d>,
    /// The tree of each image, and of each live volume, so that clones begin near their origin.
    image_trees: BTreeMap<(VolumeId, CheckpointId), u64>,
    live_trees: BTreeMap<VolumeId, u64>,
    image_lists: u64,
    /// The newest list of images, with those that are nodata, and its number.
    last_images: Option<(u64, Listed)>,
}

impl<'d> Encoder<'d> {
    pub(super) fn new(shared: Shared<'d>) -> Self {
        Self {
            shared,
            image_trees: BTreeMap::new(),
            live_trees: BTreeMap::new(),
            image_lists: 0,
            last_images: None,
        }
    }

    /// Writes everything, and the end of the file. Says how many bytes it has.
    pub(super) fn state(mut self, state: &State) -> io::Result<u64> {
        for (id, who) in &state.actors {
            self.shared.record(&Record::Actor {
                id: id.0,
                who: Cow::Borrowed(who),
            })?;
        }
        // By number, so that an origin stands before its clones.
        let ids: BTreeSet<VolumeId> = state
            .volumes
            .keys()
            .chain(state.removed_volumes.keys())
            .copied()
            .collect();
        for id in ids {
            if let Some(volume) = state.volumes.get(&id) {
                self.volume(volume, false)?;
            }
            if let Some(volume) = state.removed_volumes.get(&id) {
                self.volume(volume, true)?;
            }
        }
        for checkpoint in state.checkpoints.values() {
            self.checkpoint(checkpoint, false)?;
        }
        for checkpoint in state.removed_checkpoints.values() {
            self.checkpoint(checkpoint, true)?;
        }
        for change in &state.changes {
            self.shared.record(&Record::Change(change_record(change)))?;
        }
        self.space(state)?;
        self.shared.record(&Record::Counters(CountersRecord {
            seq: state.seq,
            time: state.time,
            boundary: state.boundary,
            next_ino: state.next_ino.0,
            boundary_ino: state.boundary_ino.0,
            next_volume: state.next_volume.0,
            next_checkpoint: state.next_checkpoint.0,
            next_actor: state.next_actor.0,
            digest: state.digest,
            created: state.created,
        }))?;
        self.shared.finish()
    }

    fn volume(&mut self, volume: &Volume, removed: bool) -> io::Result<()> {
        let mut near = None;
        let mut origin = None;
        if let Some(from) = &volume.origin {
            near = match from.source {
                Source::Checkpoint(volume, checkpoint) => {
                    self.image_trees.get(&(volume, checkpoint))
                }
                Source::Live(volume) | Source::Position(volume, _) => self.live_trees.get(&volume),
            }
            .copied();
            near = Some(self.shared.fileset(&from.root, near)?);
            origin = near.map(|tree| (from.source, tree));
        }
        // Oldest first, each beside the one before, the live tree beside the newest: what differs is what changed between.
        let all: BTreeMap<CheckpointId, &Image> = volume
            .images
            .iter()
            .chain(&volume.removed_images)
            .map(|(id, image)| (*id, image))
            .collect();
        for (id, image) in all {
            let tree = self.shared.fileset(&image.root, near)?;
            self.image_trees.insert((volume.id, id), tree);
            near = Some(tree);
        }
        let live = self.shared.fileset(&volume.live, near)?;
        self.live_trees.insert(volume.id, live);
        let images = self.images(volume.id, &volume.images, live)?;
        let removed_images = self.images(volume.id, &volume.removed_images, live)?;
        for pending in &volume.pending {
            let before = self.roots(volume.id, &pending.before, live)?;
            let after = pending
                .after
                .as_ref()
                .map(|after| self.roots(volume.id, after, live))
                .transpose()?;
            self.shared.record(&Record::Pending {
                scope: pending.scope,
                cause: pending.cause,
                before,
                after,
            })?;
        }
        let spread = self.shared.spread(&volume.spread)?;
        self.shared.counts.volumes += 1;
        self.shared.record(&Record::Volume(VolumeRecord {
            removed,
            id: volume.id.0,
            name: &volume.name,
            created: volume.created,
            created_time: volume.created_time,
            origin,
            live,
            images,
            removed_images,
            spread,
            generation: volume.generation,
            changed: volume.changed,
        }))?;
        if volume.quota != Quota::default() {
            self.shared.record(&Record::Quota {
                volume: volume.id.0,
                removed,
                quota: volume.quota,
            })?;
        }
        for returned in &volume.returned {
            let fileset = self.shared.fileset(&returned.root, Some(live))?;
            self.shared.record(&Record::Returned {
                volume: volume.id.0,
                removed,
                at: returned.at,
                position: returned.position,
                fileset,
            })?;
        }
        if !volume.has_window() {
            return Ok(());
        }
        self.shared.record(&Record::Window {
            volume: volume.id.0,
            removed,
            retention: volume.retention,
            history: volume.history,
            schedule: volume.schedule.clone(),
        })
    }

    /// Where versions lie, and how much time has passed.
    fn space(&mut self, state: &State) -> io::Result<()> {
        let checkpoints = state.checkpoints.values();
        let mut taken = checkpoints
            .chain(state.removed_checkpoints.values())
            .map(|c| (c.id.0, c.elapsed));
        loop {
            let checkpoints: Vec<(u32, u64)> = taken.by_ref().take(PAIRS_IN_PART).collect();
            if checkpoints.is_empty() {
                break;
            }
            self.shared.record(&Record::Taken { checkpoints })?;
        }
        let mut moved = state.places.moved.iter().map(|(birth, at)| (birth, *at));
        loop {
            let versions: Vec<(u64, u64)> = moved.by_ref().take(PAIRS_IN_PART).collect();
            if versions.is_empty() {
                break;
            }
            self.shared.record(&Record::Moved { versions })?;
        }
        let mut reclaimed = state.places.reclaimed.iter().map(|(a, b)| (*a, *b));
        loop {
            let ranges: Vec<(u64, u64)> = reclaimed.by_ref().take(PAIRS_IN_PART).collect();
            if ranges.is_empty() {
                break;
            }
            self.shared.record(&Record::Reclaimed { ranges })?;
        }
        self.shared.record(&Record::Ages {
            elapsed: state.elapsed,
            horizon: state.horizon,
            audit: state.audit,
        })
    }

    fn roots(&mut self, volume: VolumeId, roots: &Roots, live: u64) -> io::Result<RootsRecord> {
        let near = roots
            .images
            .keys()
            .next_back()
            .and_then(|id| self.image_trees.get(&(volume, *id)))
            .copied();
        let tree = self.shared.fileset(&roots.live, near.or(Some(live)))?;
        Ok(RootsRecord {
            live: tree,
            images: self.images(volume, &roots.images, live)?,
        })
    }

    /// A list of images, as changes to the list before it where that is the shorter way.
    fn images(
        &mut self,
        volume: VolumeId,
        images: &OrdMap<CheckpointId, Image>,
        live: u64,
    ) -> io::Result<u64> {
        let mut list = Vec::with_capacity(images.len());
        let mut nodata = Vec::new();
        for (id, image) in images {
            if image.nodata {
                nodata.push((id.0, image.marks));
            }
            let near = self.image_trees.get(&(volume, *id)).copied().or(Some(live));
            list.push(ImageRecord {
                checkpoint: id.0,
                fileset: self.shared.fileset(&image.root, near)?,
                born: image.born.0,
                copied_out: image.ledger.copied_out,
                handed_in: image.ledger.handed_in,
                handed_down: image.ledger.handed_down,
                released: image.ledger.released,
            });
        }
        let list = Listed {
            images: list,
            nodata,
        };
        let (mut base, mut removed, mut set) = (None, Vec::new(), list.images.clone());
        if let Some((id, last)) = &self.last_images {
            if *last == list {
                return Ok(*id);
            }
            let (gone, changed) = changes(&last.images, &list.images);
            if gone.len() + changed.len() < list.images.len() {
                (base, removed, set) = (Some(*id), gone, changed);
            }
        }
        for part in list.nodata.chunks(IMAGES_IN_PART * 2) {
            let images = part.to_vec();
            self.shared.record(&Record::Nodata { images })?;
        }
        for part in removed.chunks(IMAGES_IN_PART * 4) {
            let removed = part.to_vec();
            self.shared.record(&Record::Images {
                base: base.take(),
                removed,
                set: Vec::new(),
                more: true,
            })?;
        }
        let mut left = &set[..];
        loop {
            let (part, rest) = left.split_at(left.len().min(IMAGES_IN_PART));
            let (base, more) = (base.take(), !rest.is_empty());
            self.shared.record(&Record::Images {
                base,
                removed: Vec::new(),
                set: part.to_vec(),
                more,
            })?;
            left = rest;
            if !more {
                return Ok(self.listed(list));
            }
        }
    }

    /// Gives a list just written its number.
    fn listed(&mut self, list: Listed) -> u64 {
        self.last_images = Some((self.image_lists, list));
        self.image_lists += 1;
        self.image_lists - 1
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint, removed: bool) -> io::Result<()> {
        self.shared.counts.checkpoints += 1;
        self.shared
            .record(&Record::Checkpoint(checkpoint_record(checkpoint, removed)))
    }
}

/// What leads from one list of images, ascending, to another: the ids that go, the records that come or change.
fn changes(before: &[ImageRecord], after: &[ImageRecord]) -> (Vec<u32>, Vec<ImageRecord>) {
    let old: BTreeMap<u32, &ImageRecord> = before
        .iter()
        .map(|image| (image.checkpoint, image))
        .collect();
    let new: BTreeSet<u32> = after.iter().map(|image| image.checkpoint).collect();
    let gone = before
        .iter()
        .map(|image| image.checkpoint)
        .filter(|id| !new.contains(id))
        .collect();
    let changed = after
        .iter()
        .filter(|image| old.get(&image.checkpoint) != Some(image))
        .copied()
        .collect();
    (gone, changed)
}

pub(crate) fn checkpoint_record(checkpoint: &Checkpoint, removed: bool) -> CheckpointRecord<'_> {
    CheckpointRecord {
        removed,
        id: checkpoint.id.0,
        name: &checkpoint.name,
        seq: checkpoint.seq,
        time: checkpoint.time,
        actor: checkpoint.actor.0,
        volumes: checkpoint.volumes.iter().map(|id| id.0).collect(),
        removable: checkpoint.removable,
        nomount: checkpoint.nomount,
        held: checkpoint.held,
        note: &checkpoint.note,
    }
}

pub(crate) fn change_record(change: &Change) -> ChangeRecord<'_> {
    let what = match &change.what {
        What::RolledBack { before } => WhatRecord::RolledBack { before: before.0 },
        What::Reset { before } => WhatRecord::Reset { before: before.0 },
        What::FilesRolledBack {
            before,
            source,
            paths,
            attributes,
            delete_new,
            created,
        } => WhatRecord::FilesRolledBack {
            before: before.0,
            source: *source,
            paths: paths.iter().map(|path| &**path).collect(),
            attributes: *attributes,
            delete_new: *delete_new,
            created: created.clone(),
        },
        What::VolumeRenamed { volume, from, to } => WhatRecord::VolumeRenamed {
            volume: volume.0,
            from,
            to,
        },
        What::CheckpointRenamed {
            checkpoint,
            from,
            to,
        } => WhatRecord::CheckpointRenamed {
            checkpoint: checkpoint.0,
            from,
            to,
        },
        What::VolumeRemoved { volume } => WhatRecord::VolumeRemoved { volume: volume.0 },
        What::CheckpointRemoved { checkpoint } => WhatRecord::CheckpointRemoved {
            checkpoint: checkpoint.0,
        },
    };
    ChangeRecord {
        seq: change.seq,
        time: change.time,
        volumes: change.volumes.iter().map(|id| id.0).collect(),
        what,
        undone: change.undone.map(|before| before.map(|id| id.0)),
    }
}
