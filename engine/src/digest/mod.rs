//! The state digest: one number that two states share if they hold the same, however they came to it.
//!
//! It is a wrapping sum over entries, so that neither the order nor the shape of a tree matters and a change costs
//! what it changed: the old entry is taken out, the new one put in. It tells mistakes and damage, not forgery: against
//! an adversary there is the journal's chain. What an entry is made of is in `docs/format.md`, "State digest".

mod sums;
#[cfg(test)]
mod tests;

use crate::event::{Actor, Source};
use crate::ids::{ActorId, CheckpointId, Seq, VolumeId};
use crate::quota::Quota;
use crate::state::{Checkpoint, Fileset, Image, Roots, State, Volume};
use crate::statefile::{change_record, checkpoint_record};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::BTreeMap;
use std::sync::Arc;
use sums::{Entries, Kind, SpreadSum, TreeSum, nearest};

/// What the last digest of a store knew, so that the next one costs what has changed since. It keeps the roots of that
/// state alive. Any state may be asked of any cache; only the time it takes depends on how near they are.
#[derive(Default)]
pub struct DigestCache {
    volumes: BTreeMap<VolumeId, VolumeSums>,
    actors: OrdMap<ActorId, Arc<Actor>>,
    actors_sum: u128,
    entries: u64,
}

impl DigestCache {
    /// How many entries the last digest looked at: 0 work is 0 entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

/// The sums of one volume's trees.
#[derive(Default)]
struct VolumeSums {
    live: Option<TreeSum>,
    origin: Option<TreeSum>,
    /// Removed ones as well.
    images: BTreeMap<CheckpointId, TreeSum>,
    /// By scope; before, then after.
    pending: BTreeMap<(Seq, bool), TreeSum>,
    spread: SpreadSum,
}

/// The digest of a state: of everything that its events determine, but for the digest last recorded.
pub fn digest(state: &State, cache: &mut DigestCache) -> u128 {
    let mut pass = Pass {
        old: std::mem::take(&mut cache.volumes),
        new: BTreeMap::new(),
        entries: Entries::default(),
    };
    let mut sum = counters(state, &mut pass.entries);
    sum = sum.wrapping_add(actors(state, cache, &mut pass.entries));
    let mut volumes: Vec<(&Arc<Volume>, bool)> = state
        .volumes
        .values()
        .map(|volume| (volume, false))
        .collect();
    volumes.extend(state.removed_volumes.values().map(|volume| (volume, true)));
    // By number, so that an origin is known before its clones.
    volumes.sort_by_key(|(volume, removed)| (volume.id, *removed));
    for (volume, removed) in volumes {
        sum = sum.wrapping_add(pass.volume(volume, removed));
    }
    for (name, id) in &state.volume_names {
        sum = sum.wrapping_add(pass.entries.small(Kind::VolumeName, &(&**name, id)));
    }
    for (name, id) in &state.checkpoint_names {
        sum = sum.wrapping_add(pass.entries.small(Kind::CheckpointName, &(&**name, id)));
    }
    let mut checkpoint = |checkpoint: &Arc<Checkpoint>, removed| {
        sum = sum.wrapping_add(
            pass.entries
                .small(Kind::Checkpoint, &checkpoint_record(checkpoint, removed)),
        );
    };
    state
        .checkpoints
        .values()
        .for_each(|there| checkpoint(there, false));
    state
        .removed_checkpoints
        .values()
        .for_each(|gone| checkpoint(gone, true));
    // Where versions lie is no content: a copy elsewhere is the same version.
    let ages = (state.horizon, state.audit);
    if ages != (0, None) {
        sum = sum.wrapping_add(pass.entries.small(Kind::Ages, &ages));
    }
    for change in &state.changes {
        sum = sum.wrapping_add(pass.entries.small(Kind::Change, &change_record(change)));
    }
    cache.volumes = pass.new;
    cache.entries = pass.entries.counted();
    sum
}

fn counters(state: &State, entries: &mut Entries) -> u128 {
    let counters = (
        (state.seq, state.time, state.boundary, state.created),
        (
            state.next_ino,
            state.boundary_ino,
            state.next_volume,
            state.next_checkpoint,
            state.next_actor,
        ),
    );
    entries.small(Kind::Counters, &counters)
}

fn actors(state: &State, cache: &mut DigestCache, entries: &mut Entries) -> u128 {
    let mut sum = cache.actors_sum;
    for change in cache.actors.diff(&state.actors) {
        let (gone, come) = match change {
            DiffItem::Add(id, who) => (None, Some((id, who))),
            DiffItem::Update { old, new } => (Some(old), Some(new)),
            DiffItem::Remove(id, who) => (Some((id, who)), None),
        };
        let mut entry =
            |(id, who): (&ActorId, &Arc<Actor>)| entries.small(Kind::Actor, &(id, &**who));
        sum = sum
            .wrapping_sub(gone.map_or(0, &mut entry))
            .wrapping_add(come.map_or(0, &mut entry));
    }
    cache.actors = state.actors.clone();
    cache.actors_sum = sum;
    sum
}

/// One digest being taken: what the last one knew, and what the next one will.
struct Pass {
    old: BTreeMap<VolumeId, VolumeSums>,
    new: BTreeMap<VolumeId, VolumeSums>,
    entries: Entries,
}

impl Pass {
    fn volume(&mut self, volume: &Volume, removed: bool) -> u128 {
        let old = self.old.remove(&volume.id).unwrap_or_default();
        let mut new = VolumeSums::default();
        if let Some(origin) = &volume.origin {
            let near = old
                .origin
                .as_ref()
                .or_else(|| source_tree(&self.new, origin.source));
            new.origin = Some(TreeSum::of(&origin.root, near, &mut self.entries));
        }
        let mut sum = 0u128;
        let all = volume
            .images
            .iter()
            .map(|(id, image)| (*id, (image, false)));
        let all: BTreeMap<CheckpointId, (&Image, bool)> = all
            .chain(
                volume
                    .removed_images
                    .iter()
                    .map(|(id, image)| (*id, (image, true))),
            )
            .collect();
        for (id, (image, removed)) in all {
            let beside = new.images.values().next_back().or(new.origin.as_ref());
            let near = nearest(
                [old.images.get(&id), old.live.as_ref(), beside],
                &image.root,
            );
            let tree = TreeSum::of(&image.root, near, &mut self.entries);
            let tree_digest = tree.digest(&mut self.entries);
            sum = sum.wrapping_add(self.image(volume.id, id, image, removed, tree_digest));
            new.images.insert(id, tree);
        }
        let newest = new.images.values().next_back();
        let near = nearest(
            [old.live.as_ref(), newest, new.origin.as_ref()]
                .into_iter()
                .chain(every(&new)),
            &volume.live,
        );
        new.live = Some(TreeSum::of(&volume.live, near, &mut self.entries));
        for pending in &volume.pending {
            let before = self.roots(
                volume.id,
                (pending.scope, false),
                &pending.before,
                &old,
                &mut new,
            );
            let after = pending
                .after
                .as_ref()
                .map(|after| self.roots(volume.id, (pending.scope, true), after, &old, &mut new));
            let entry = (volume.id, pending.scope, pending.cause, before, after);
            sum = sum.wrapping_add(self.entries.small(Kind::Pending, &entry));
        }
        let spread = match volume.origin.as_ref().map(|origin| origin.source.volume()) {
            Some(from) if old.spread.is_empty() => self.new.get(&from).map(|sums| &sums.spread),
            _ => None,
        };
        new.spread = SpreadSum::of(
            &volume.spread,
            spread.unwrap_or(&old.spread),
            &mut self.entries,
        );
        sum = sum.wrapping_add(self.head(volume, removed, &new));
        self.new.insert(volume.id, new);
        sum
    }

    fn head(&mut self, volume: &Volume, removed: bool, sums: &VolumeSums) -> u128 {
        let entries = &mut self.entries;
        let live = sums.live.as_ref().map(|live| live.digest(entries));
        let origin_tree = sums.origin.as_ref().map(|tree| tree.digest(entries));
        let source = volume.origin.as_ref().map(|origin| origin.source);
        let trees = (live, source, origin_tree, sums.spread.sum());
        let times = (
            volume.created,
            volume.created_time,
            volume.generation,
            volume.changed,
        );
        let entry = entries.small(
            Kind::Volume,
            &(removed, volume.id, &*volume.name, times, trees),
        );
        let mut sum = entry;
        if volume.quota != Quota::default() {
            let quota = (removed, volume.id, volume.quota);
            sum = sum.wrapping_add(entries.small(Kind::Quota, &quota));
        }
        if volume.has_window() {
            let set = (volume.retention, volume.history, &volume.schedule);
            sum = sum.wrapping_add(entries.small(Kind::Window, &(removed, volume.id, set)));
        }
        sum
    }

    fn image(
        &mut self,
        volume: VolumeId,
        id: CheckpointId,
        image: &Image,
        removed: bool,
        tree: u128,
    ) -> u128 {
        let ledger = &image.ledger;
        let ledger = (
            ledger.copied_out,
            ledger.handed_in,
            ledger.handed_down,
            ledger.released,
        );
        let entry = self.entries.small(
            Kind::Image,
            &(removed, volume, id, image.born.0, ledger, tree),
        );
        if !image.nodata {
            return entry;
        }
        let nodata = (removed, volume, id, image.marks);
        entry.wrapping_add(self.entries.small(Kind::Nodata, &nodata))
    }

    /// The digests of a live tree and of a list of images.
    fn roots(
        &mut self,
        volume: VolumeId,
        key: (Seq, bool),
        roots: &Roots,
        old: &VolumeSums,
        new: &mut VolumeSums,
    ) -> (u128, u128) {
        let near = nearest(
            [old.pending.get(&key), new.live.as_ref()]
                .into_iter()
                .chain(every(new)),
            &roots.live,
        );
        let live = TreeSum::of(&roots.live, near, &mut self.entries);
        let mut images = 0u128;
        for (id, image) in &roots.images {
            let near = nearest([new.images.get(id), Some(&live)], &image.root);
            let tree = TreeSum::of(&image.root, near, &mut self.entries).digest(&mut self.entries);
            images = images.wrapping_add(self.image(volume, *id, image, false, tree));
        }
        let digests = (live.digest(&mut self.entries), images);
        new.pending.insert(key, live);
        digests
    }
}

/// The tree that a clone came from, or one near it.
fn source_tree(known: &BTreeMap<VolumeId, VolumeSums>, source: Source) -> Option<&TreeSum> {
    let sums = known.get(&source.volume())?;
    match source {
        Source::Checkpoint(_, id) => sums.images.get(&id).or(sums.live.as_ref()),
        Source::Live(_) | Source::Position(..) => sums.live.as_ref(),
    }
}

/// All images of a volume, for one that may be the very tree.
fn every(sums: &VolumeSums) -> impl Iterator<Item = Option<&TreeSum>> {
    sums.images.values().rev().map(Some)
}

/// The digest of one tree by itself, for tests and for comparing views.
#[must_use]
pub fn tree_digest(tree: &Fileset) -> u128 {
    let mut entries = Entries::default();
    TreeSum::of(tree, None, &mut entries).digest(&mut entries)
}
