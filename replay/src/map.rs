//! The block map of a checkpoint: for each range of a file, whose version it shows.

use crate::log::{Logged, cause_name, newest_first};
use serde::Serialize;
use std::sync::Arc;
use strand_engine::owner::{maps, newest_image};
use strand_engine::{
    BLOCK, BlockRef, Cause, CheckpointId, Error, Event, FileBody, Ino, Place, Range, Seq, Shift,
    State, Store, Volume, VolumeId,
};

/// A run of blocks with one answer.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct MapRange {
    /// The first block.
    pub block: u64,
    /// Number of blocks.
    pub count: u64,
    /// Whose version the checkpoint shows there.
    #[serde(flatten)]
    pub kind: MapKind,
}

/// Whose version a checkpoint shows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MapKind {
    /// The checkpoint's own: no newer image has it any more.
    Own {
        /// The event by which it passed to the checkpoint, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        copied_out: Option<CopyOut>,
        /// The crc32 of each block.
        crcs: Vec<u32>,
    },
    /// The live volume still has the same version.
    SharedWithLive,
    /// A newer checkpoint owns the version.
    Via {
        /// Its name.
        checkpoint: Arc<str>,
    },
    /// It changed since, and the checkpoint is nodata: it keeps none of it.
    Marked,
    /// Nothing is mapped: it reads as zeros.
    Hole,
}

/// How a version passed to a checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct CopyOut {
    /// The number of the event that says so.
    pub seq: Seq,
    /// Why it passed.
    #[serde(serialize_with = "cause_as_name")]
    pub cause: Cause,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn cause_as_name<S: serde::Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause_name(*cause))
}

/// What the journal says of the versions of one file that passed to one checkpoint. Built by [`CopyOuts::scan`].
#[derive(Clone, Debug, Default)]
pub struct CopyOuts {
    /// Newest first.
    ranges: Vec<(CopyOut, Range)>,
    /// Bulk movements of the volume that reached the checkpoint, newest first.
    bulk: Vec<CopyOut>,
}

impl CopyOuts {
    /// Looks through the journal, from its end back to the checkpoint.
    ///
    /// # Errors
    /// What reading the journal gives.
    pub fn scan(
        store: &Store,
        volume: VolumeId,
        checkpoint: CheckpointId,
        ino: Ino,
    ) -> Result<Self, Error> {
        let state = store.state();
        let taken = state.checkpoints.get(&checkpoint).map_or(0, |c| c.seq);
        let mut found = Self::default();
        let mut scopes = Vec::new();
        for logged in newest_first(store) {
            let Logged { seq, event, .. } = logged?;
            if seq <= taken {
                break;
            }
            match event {
                Event::CopiedOut {
                    volume: v,
                    checkpoint: c,
                    cause,
                    ino: i,
                    ranges,
                } if (v, c, i) == (volume, checkpoint, ino) => {
                    found.ranges.extend(
                        ranges
                            .into_iter()
                            .map(|range| (CopyOut { seq, cause }, range)),
                    );
                }
                Event::Settled {
                    volume: v,
                    scope,
                    shifts,
                    ..
                } if v == volume && shifts.iter().any(|s| reaches(s, checkpoint)) => {
                    scopes.push(scope);
                }
                // A scope stands before what counts it, so going back its count is met first.
                Event::CopiedOutScope { volume: v, cause }
                    if v == volume && scopes.contains(&seq) =>
                {
                    found.bulk.push(CopyOut { seq, cause });
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// How the version at `block` passed to the checkpoint; `None` where more than one bulk movement may have brought it.
    #[must_use]
    pub fn of(&self, block: u64) -> Option<CopyOut> {
        let named = self
            .ranges
            .iter()
            .find(|(_, r)| block >= r.block && block - r.block < r.count);
        match (named, self.bulk.as_slice()) {
            (Some((copy_out, _)), _) => Some(*copy_out),
            (None, [only]) => Some(*only),
            (None, _) => None,
        }
    }
}

fn reaches(shift: &Shift, checkpoint: CheckpointId) -> bool {
    match shift {
        Shift::CopiedOut { to, .. } | Shift::HandedDown { to, .. } | Shift::HandedIn { to, .. } => {
            *to == checkpoint
        }
        Shift::Released { .. } | Shift::Marked { .. } | Shift::Unmarked { .. } => false,
    }
}

/// The map of file `ino` in the image that `checkpoint` keeps of `volume`, from its first block to its last, without gaps.
/// `None` where there is no such image or no such regular file in it.
///
/// `copy_outs` adds the cause and number to the checkpoint's own blocks. Costs the mapped blocks, and for those that live does not
/// have, a look into the newer checkpoints.
#[must_use]
pub fn checkpoint_map(
    state: &State,
    volume: VolumeId,
    checkpoint: CheckpointId,
    ino: Ino,
    copy_outs: Option<&CopyOuts>,
) -> Option<Vec<MapRange>> {
    let volume = state.volume(volume)?;
    let image = volume.images.get(&checkpoint)?;
    let file = image.root.inode(ino)?.file()?;
    let live = volume.live.inode(ino).and_then(|i| i.file());
    let mut map = Vec::new();
    let mut next = 0;
    for (block, version) in &file.map {
        if block > next {
            push(&mut map, next, block - next, MapKind::Hole);
        }
        next = block + 1;
        let place = Place { ino, block };
        let kind = if is_live(volume, live, *version, place) {
            MapKind::SharedWithLive
        } else {
            match newest_image(&volume.images, &volume.spread, *version, place) {
                _ if image.nodata => MapKind::Marked,
                Some(owner) if owner != checkpoint => MapKind::Via {
                    checkpoint: name_of(state, owner),
                },
                _ => MapKind::Own {
                    copied_out: copy_outs.and_then(|c| c.of(block)),
                    crcs: vec![version.crc()],
                },
            }
        };
        push(&mut map, block, 1, kind);
    }
    let end = file.size.div_ceil(BLOCK);
    if end > next {
        push(&mut map, next, end - next, MapKind::Hole);
    }
    Some(map)
}

fn is_live(volume: &Volume, live: Option<&FileBody>, version: BlockRef, place: Place) -> bool {
    let here = live
        .and_then(|f| f.map.get(place.block))
        .is_some_and(|v| v.addr() == version.addr());
    here || maps(&volume.live, &volume.spread, version, place)
}

fn name_of(state: &State, checkpoint: CheckpointId) -> Arc<str> {
    state.checkpoints.get(&checkpoint).map_or_else(
        || format!("checkpoint {checkpoint}").into(),
        |c| c.name.clone(),
    )
}

fn push(map: &mut Vec<MapRange>, block: u64, count: u64, kind: MapKind) {
    let Some(last) = map.last_mut() else {
        map.push(MapRange { block, count, kind });
        return;
    };
    let same = match (&mut last.kind, &kind) {
        (
            MapKind::Own {
                copied_out: a,
                crcs,
            },
            MapKind::Own {
                copied_out: b,
                crcs: more,
            },
        ) if a == b => {
            crcs.extend_from_slice(more);
            true
        }
        (MapKind::Own { .. }, _) => false,
        (a, b) => *a == *b,
    };
    if same {
        last.count += count;
    } else {
        map.push(MapRange { block, count, kind });
    }
}
