//! The blocks of a bulk movement: what one scope event (of a rollback, a removal, the unlink of a big file) stands for.

use super::back::newest_first;
use super::labels::Labels;
use crate::trees::versions_that_differ;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use strand_engine::owner::{maps, newest_image};
use strand_engine::{
    BlockRef, CheckpointId, Error, Event, Ino, Kind, Pending, Place, Range, Refusal, Roots, Seq,
    Spread, State, Store, VolumeId,
};

/// Blocks of one file that changed their owner the same way.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Moved {
    /// The file.
    pub ino: Ino,
    /// Its path, or `inode N` for one that no tree names any more.
    pub path: String,
    /// Which blocks, ascending.
    pub ranges: Vec<Range>,
    /// Number of blocks.
    pub blocks: u64,
    /// The owner before: a checkpoint's name, `live` or `nobody`.
    pub from: String,
    /// The owner after.
    pub to: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Owner {
    Live,
    Checkpoint(CheckpointId),
    Nobody,
}

/// Lists the blocks that the bulk movement recorded by event `scope` moved, by path.
///
/// # Errors
/// [`Kind::NotFound`] where there is no such event or it is of another kind, and what reading the journal and folding it give.
pub fn expand(store: &Store, scope: Seq) -> Result<Vec<Moved>, Error> {
    let (volume, boundary) = find(store, scope)?;
    let state = store.state_at(boundary)?;
    let found = state.volume(volume).and_then(|v| {
        v.pending
            .iter()
            .find(|p| p.scope == scope)
            .map(|p| (p.clone(), v.spread.clone()))
    });
    let Some((pending, spread)) = found else {
        return Err(not_a_scope(
            scope,
            "its command does not leave a movement to be counted",
        ));
    };
    Ok(moved(&pending, &spread, &state, volume))
}

/// The volume of the scope event, and the end of its command.
fn find(store: &Store, scope: Seq) -> Result<(VolumeId, Seq), Error> {
    let mut boundary = None;
    for logged in newest_first(store) {
        let logged = logged?;
        if logged.last {
            boundary = Some(logged.seq);
        }
        if logged.seq > scope {
            continue;
        }
        return match (logged.event, boundary) {
            (Event::CopiedOutScope { volume, .. }, Some(boundary)) if logged.seq == scope => {
                Ok((volume, boundary))
            }
            (event, _) => Err(not_a_scope(
                scope,
                &format!("it is of the kind {}", event.kind()),
            )),
        };
    }
    Err(not_a_scope(scope, "there is no such event"))
}

fn not_a_scope(scope: Seq, why: &str) -> Error {
    let refusal = Refusal::new(Kind::NotFound, format!("cannot expand seq {scope}")).why(why);
    Error::Refused(
        refusal.next("strand log --events --kind copied-out-scope lists what can be expanded"),
    )
}

struct Collector<'a> {
    pending: &'a Pending,
    after: &'a Roots,
    spread: &'a Spread,
    /// Versions already listed, by address: one that is mapped at several places moves once.
    seen: BTreeSet<u64>,
    found: BTreeMap<(Ino, Owner, Owner), Vec<Range>>,
}

fn moved(pending: &Pending, spread: &Spread, state: &State, volume: VolumeId) -> Vec<Moved> {
    let Some(after) = &pending.after else {
        return Vec::new();
    };
    let before = &pending.before;
    let mut collector = Collector {
        pending,
        after,
        spread,
        seen: BTreeSet::new(),
        found: BTreeMap::new(),
    };
    versions_that_differ(&before.live, &after.live, &mut |place, version, _| {
        collector.take(place, version)
    });
    let converted = |id: &CheckpointId| {
        let kind = |roots: &Roots| roots.images.get(id).map(|image| image.nodata);
        kind(before) != kind(after)
    };
    for (roots, others) in [(before, after), (after, before)] {
        for (id, image) in roots.images.iter().filter(|(id, _)| {
            !others.images.contains_key(*id) || std::ptr::eq(roots, before) && converted(id)
        }) {
            let newer = roots.images.next_newer_data(*id).unwrap_or(&roots.live);
            versions_that_differ(&image.root, newer, &mut |place, version, _| {
                if maps(&image.root, spread, version, place) {
                    collector.take(place, version);
                }
            });
        }
    }
    let mut labels = Labels::new(state.clone());
    let mut rows: Vec<Moved> = Vec::with_capacity(collector.found.len());
    for ((ino, from, to), mut ranges) in collector.found {
        merge(&mut ranges);
        let blocks = ranges.iter().map(|r| r.count).sum();
        let (from, to) = (owner_name(from, &labels), owner_name(to, &labels));
        rows.push(Moved {
            ino,
            path: labels.file(volume, ino),
            ranges,
            blocks,
            from,
            to,
        });
    }
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows
}

impl Collector<'_> {
    fn take(&mut self, place: Place, version: BlockRef) {
        let was = owner(&self.pending.before, self.spread, version, place);
        let is = owner(self.after, self.spread, version, place);
        let concerns_a_checkpoint = [was, is].iter().any(|o| matches!(o, Owner::Checkpoint(_)));
        if was == is || !concerns_a_checkpoint || !self.seen.insert(version.addr().0) {
            return;
        }
        push(
            self.found.entry((place.ino, was, is)).or_default(),
            place.block,
        );
    }
}

fn push(ranges: &mut Vec<Range>, block: u64) {
    match ranges.last_mut() {
        Some(last) if last.block + last.count == block => last.count += 1,
        _ => ranges.push(Range { block, count: 1 }),
    }
}

fn merge(ranges: &mut Vec<Range>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joins = last.block + last.count == next.block;
        if joins {
            last.count += next.count;
        }
        joins
    });
}

fn owner(roots: &Roots, spread: &Spread, version: BlockRef, place: Place) -> Owner {
    if maps(&roots.live, spread, version, place) {
        return Owner::Live;
    }
    newest_image(&roots.images, spread, version, place).map_or(Owner::Nobody, Owner::Checkpoint)
}

fn owner_name(owner: Owner, labels: &Labels) -> String {
    match owner {
        Owner::Live => "live".into(),
        Owner::Checkpoint(id) => labels.checkpoint(id),
        Owner::Nobody => "nobody".into(),
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} blocks from {} to {}",
            self.path, self.blocks, self.from, self.to
        )
    }
}
