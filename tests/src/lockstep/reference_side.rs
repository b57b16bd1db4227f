//! A step on the reference.

use crate::history::Step;
use crate::random::Random;
use crate::reference::{Reference, Refused, Rename};

/// Runs a step on the reference. `first` is the number of the step's first event in the engine, which names what the program makes.
///
/// # Errors
/// The kind of refusal.
pub fn on_reference(r: &mut Reference, step: &Step, first: u64) -> Result<(), Refused> {
    let before_name = format!("auto-before-{first}");
    match step {
        Step::Create {
            volume,
            dir,
            name,
            kind,
            mode,
        } => r
            .create(*volume, *dir, name, kind.clone(), (*mode, 7, 8))
            .map(|_| ()),
        Step::Link {
            volume,
            ino,
            dir,
            name,
        } => r.link(*volume, *ino, *dir, name),
        Step::Unlink {
            volume,
            dir,
            name,
            dir_wanted,
        } => r.unlink(*volume, *dir, name, *dir_wanted),
        Step::Rename {
            volume,
            from,
            to,
            no_replace,
            exchange,
        } => {
            let rename = Rename {
                from_dir: from.0,
                from_name: from.1.clone(),
                to_dir: to.0,
                to_name: to.1.clone(),
                no_replace: *no_replace,
                exchange: *exchange,
            };
            r.rename(*volume, &rename)
        }
        Step::Write {
            volume,
            ino,
            offset,
            length,
            seed,
        } => r.write(*volume, *ino, *offset, &bytes(*seed, *length)),
        Step::Truncate { volume, ino, size } => r.truncate(*volume, *ino, *size),
        Step::Zero {
            volume,
            ino,
            offset,
            length,
            grow,
        } => r.zero(*volume, *ino, *offset, *length, *grow),
        Step::Preallocate {
            volume,
            ino,
            offset,
            length,
            keep_size,
        } => r.preallocate(*volume, *ino, *offset, *length, *keep_size),
        Step::CopyRange {
            volume,
            from,
            to,
            length,
        } => r.copy_range(*volume, *from, *to, *length).map(|_| ()),
        Step::SetAttributes {
            volume,
            ino,
            owner,
            times,
        } => r.set_attributes(*volume, *ino, *owner, *times),
        Step::SetXattr {
            volume,
            ino,
            name,
            value,
            create,
        } => r.set_xattr(*volume, *ino, name, value, *create),
        Step::RemoveXattr { volume, ino, name } => r.remove_xattr(*volume, *ino, name),
        Step::OpenHandle { volume, ino } => r.open_handle(*volume, *ino),
        Step::CloseHandle { volume, ino } => r.close_handle(*volume, *ino),
        Step::CheckpointCreate {
            name,
            volumes,
            nomount,
            removable,
            nodata,
        } => r
            .checkpoint_create(name, volumes, *nomount, *removable, *nodata)
            .map(|_| ()),
        Step::CheckpointRemove(checkpoint) => r.checkpoint_remove(*checkpoint),
        Step::CheckpointRename(checkpoint, name) => r.checkpoint_rename(*checkpoint, name),
        Step::CheckpointHold(checkpoint, held) => r.checkpoint_hold(*checkpoint, *held),
        Step::CheckpointFlag(checkpoint, removable, nomount) => {
            r.checkpoint_flag(*checkpoint, *removable, *nomount)
        }
        Step::CheckpointConvert(checkpoint) => r.checkpoint_convert(*checkpoint),
        Step::Rollback {
            volume,
            source,
            only,
        } => r.rollback(*volume, *source, *only, &before_name),
        Step::RollbackAll(checkpoint) => r.rollback_all(*checkpoint, &before_name),
        Step::RollbackFiles {
            volume,
            source,
            paths,
            attributes,
            delete_new,
        } => r.rollback_files(
            *volume,
            *source,
            paths,
            (*attributes, *delete_new),
            &before_name,
        ),
        Step::QuotaSet {
            volume,
            quota,
            below_use,
        } => r.quota_set(*volume, *quota, *below_use),
        Step::CheckpointGiveUp(checkpoint) => r.checkpoint_give_up(*checkpoint),
        Step::GiveWay => r.give_way(),
        // What of history goes the lock-step sees in the engine, and tells.
        Step::ReleaseHistory(_)
        | Step::Relocate(_)
        | Step::Reclaim { .. }
        | Step::Defrag(_)
        | Step::Lease(_)
        | Step::LeaseFor(..)
        | Step::EndLease(_)
        | Step::Pass(_)
        | Step::ClockJump(_)
        | Step::MoveWindowsOn
        | Step::FollowSchedule(_)
        | Step::MoveArchives(_)
        | Step::AuditSet(_)
        | Step::TrimArchives => Ok(()),
        Step::RetentionSet { volume, .. } => r.volume(*volume).map(|_| ()),
        Step::ScheduleSet {
            volume,
            every,
            keep,
        } => r.schedule_set(*volume, *every, keep),
        Step::CloneCreate { name, source } => r.clone_create(name, *source).map(|_| ()),
        Step::CloneReset(volume) => r.clone_reset(*volume, &before_name),
        Step::VolumeCreate(name) => r.volume_create(name, (0o755, 7, 8)).map(|_| ()),
        Step::VolumeRename(volume, name) => r.volume_rename(*volume, name),
        Step::VolumeRemove(volume, with_checkpoints) => r.volume_remove(*volume, *with_checkpoints),
        Step::Undo(volume) => r.undo(*volume, &before_name),
        Step::Redo(volume) => r.redo(*volume, &before_name),
        Step::Settle | Step::Sync | Step::StateFile => Ok(()),
        Step::Reopen { .. } => {
            r.reopened(&|ino| ino);
            Ok(())
        }
    }
}

/// The bytes of a write.
#[must_use]
pub fn bytes(seed: Option<u64>, length: u64) -> Vec<u8> {
    seed.map_or_else(
        || vec![0; length as usize],
        |seed| Random::bytes(seed, length as usize),
    )
}
