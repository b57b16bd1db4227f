//! What stands once: volumes, checkpoints, changes, counters.

use super::{Decoder, Wrong, named};
use crate::event::Bytes;
use crate::ids::{ActorId, CheckpointId, Ino, VolumeId};
use crate::queue::Queue;
use crate::quota::Quota;
use crate::space::Retention;
use crate::state::{Change, Checkpoint, Origin, Volume, What};
use crate::statefile::record::{
    ChangeRecord, CheckpointRecord, CountersRecord, VolumeRecord, WhatRecord,
};
use crate::statefile::whole::check_state;
use std::mem;
use std::sync::Arc;

impl Decoder {
    pub(super) fn volume(&mut self, record: &VolumeRecord<'_>) -> Result<(), Wrong> {
        let id = VolumeId(record.id);
        let origin = match record.origin {
            Some((source, tree)) => Some(Origin {
                source,
                root: named(&self.trees, tree)?,
            }),
            None => None,
        };
        let volume = Volume {
            id,
            name: record.name.into(),
            created: record.created,
            created_time: record.created_time,
            origin,
            live: named(&self.trees, record.live)?,
            images: named(&self.images, record.images)?.into(),
            removed_images: named(&self.images, record.removed_images)?,
            spread: self.spreads.root(record.spread.into())?,
            pending: mem::take(&mut self.pending),
            generation: record.generation,
            changed: record.changed,
            quota: Quota::default(),
            retention: Retention::default(),
            history: record.created,
            schedule: None,
            returned: Queue::new(),
        };
        self.counts.volumes += 1;
        if record.removed {
            return once(
                self.state.removed_volumes.insert(id, Arc::new(volume)),
                "a volume stands there twice",
            );
        }
        once(
            self.state.volume_names.insert(volume.name.clone(), id),
            "two volumes have one name",
        )?;
        once(
            self.state.volumes.insert(id, Arc::new(volume)),
            "a volume stands there twice",
        )
    }

    pub(super) fn quota(&mut self, id: u32, removed: bool, quota: Quota) -> Result<(), Wrong> {
        self.volume_again(id, removed)?.quota = quota;
        Ok(())
    }

    pub(super) fn checkpoint(&mut self, record: &CheckpointRecord<'_>) -> Result<(), Wrong> {
        let id = CheckpointId(record.id);
        let checkpoint = Arc::new(Checkpoint {
            id,
            name: record.name.into(),
            seq: record.seq,
            time: record.time,
            elapsed: 0, // a record of its own says it
            actor: ActorId(record.actor),
            volumes: record.volumes.iter().copied().map(VolumeId).collect(),
            removable: record.removable,
            nomount: record.nomount,
            held: record.held,
            note: record.note.into(),
        });
        self.counts.checkpoints += 1;
        if record.removed {
            return once(
                self.state.removed_checkpoints.insert(id, checkpoint),
                "a checkpoint stands there twice",
            );
        }
        once(
            self.state
                .checkpoint_names
                .insert(checkpoint.name.clone(), id),
            "two checkpoints have one name",
        )?;
        once(
            self.state.checkpoints.insert(id, checkpoint),
            "a checkpoint stands there twice",
        )
    }

    pub(super) fn counters(&mut self, record: &CountersRecord) -> Result<(), Wrong> {
        if !self.pending.is_empty() || !self.orphans.is_empty() {
            return Err("parts of a volume or a tree are left over".into());
        }
        let state = &mut self.state;
        state.seq = record.seq;
        state.time = record.time;
        state.boundary = record.boundary;
        state.next_ino = Ino(record.next_ino);
        state.boundary_ino = Ino(record.boundary_ino);
        state.next_volume = VolumeId(record.next_volume);
        state.next_checkpoint = CheckpointId(record.next_checkpoint);
        state.next_actor = ActorId(record.next_actor);
        state.digest = record.digest;
        state.created = record.created;
        self.done = true;
        let greatest = self
            .trees
            .iter()
            .filter_map(|tree| tree.inodes.last())
            .map(|(ino, _)| ino)
            .max();
        check_state(state, greatest.unwrap_or(0))
    }
}

pub(super) fn once<T>(before: Option<T>, twice: &'static str) -> Result<(), Wrong> {
    if before.is_some() {
        Err(twice.into())
    } else {
        Ok(())
    }
}

pub(super) fn change(record: ChangeRecord<'_>) -> Change {
    let what = match record.what {
        WhatRecord::RolledBack { before } => What::RolledBack {
            before: CheckpointId(before),
        },
        WhatRecord::Reset { before } => What::Reset {
            before: CheckpointId(before),
        },
        WhatRecord::FilesRolledBack {
            before,
            source,
            paths,
            attributes,
            delete_new,
            created,
        } => What::FilesRolledBack {
            before: CheckpointId(before),
            source,
            paths: paths.into_iter().map(Bytes::from).collect(),
            attributes,
            delete_new,
            created,
        },
        WhatRecord::VolumeRenamed { volume, from, to } => What::VolumeRenamed {
            volume: VolumeId(volume),
            from: from.into(),
            to: to.into(),
        },
        WhatRecord::CheckpointRenamed {
            checkpoint,
            from,
            to,
        } => What::CheckpointRenamed {
            checkpoint: CheckpointId(checkpoint),
            from: from.into(),
            to: to.into(),
        },
        WhatRecord::VolumeRemoved { volume } => What::VolumeRemoved {
            volume: VolumeId(volume),
        },
        WhatRecord::CheckpointRemoved { checkpoint } => What::CheckpointRemoved {
            checkpoint: CheckpointId(checkpoint),
        },
    };
    Change {
        seq: record.seq,
        time: record.time,
        volumes: record.volumes.into_iter().map(VolumeId).collect(),
        what,
        undone: record.undone.map(|before| before.map(CheckpointId)),
    }
}
