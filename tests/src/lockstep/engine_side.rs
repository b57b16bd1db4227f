//! A step on the engine.

use super::Lockstep;
use super::reference_side::bytes;
use crate::history::Step;
use crate::reference::{Ino as OurIno, Kind, Source as OurSource};
use strand_engine::{
    CheckpointId, Command, Done, Error, Ino, NewBody, SetAttributes, Source, VolumeId,
};

/// What the engine made of a step: the number of its first event, where it has one.
pub(super) type Ran = Result<Option<u64>, Error>;

impl Lockstep {
    fn ino(&self, ours: OurIno) -> Ino {
        Ino(self.inos.theirs(ours).unwrap_or(ours))
    }

    fn command(&self, command: Command) -> Result<Done, Error> {
        self.store().submit(&self.actor, command)
    }

    /// Runs a step on the engine. Reopening and state files are the caller's.
    pub(super) fn on_engine(&self, step: &Step) -> Ran {
        let first = |done: Result<Done, Error>| done.map(|d| Some(d.first));
        let none = |done: Result<(), Error>| done.map(|()| None);
        let store = self.store();
        match step {
            Step::Create { .. } | Step::Link { .. } | Step::Unlink { .. } | Step::Rename { .. } => first(self.command(self.names(step))),
            Step::Write { volume, ino, offset, length, seed } => {
                first(store.write(&self.actor, VolumeId(*volume), self.ino(*ino), *offset, &bytes(*seed, *length)))
            }
            Step::Truncate { volume, ino, size } => {
                first(store.truncate(&self.actor, VolumeId(*volume), self.ino(*ino), *size))
            }
            Step::Zero { volume, ino, offset, length, grow } => {
                let (volume, ino) = (VolumeId(*volume), self.ino(*ino));
                first(if *grow {
                    store.zero(&self.actor, volume, ino, *offset, *length)
                } else {
                    store.punch(&self.actor, volume, ino, *offset, *length)
                })
            }
            Step::CopyRange { volume, from, to, length } => {
                let (from_ino, to_ino) = (self.ino(from.0), self.ino(to.0));
                store.copy_range(&self.actor, VolumeId(*volume), from_ino, from.1, to_ino, to.1, *length).map(|_| None)
            }
            Step::Preallocate { .. } | Step::SetAttributes { .. } | Step::SetXattr { .. } | Step::RemoveXattr { .. } => {
                first(self.command(self.of_inode(step)))
            }
            Step::OpenHandle { volume, ino } => none(store.open_handle(VolumeId(*volume), self.ino(*ino))),
            Step::CloseHandle { volume, ino } => store.close_handle(&self.actor, VolumeId(*volume), self.ino(*ino)).map(|_| None),
            Step::Settle => store.settle().map(|_| None),
            Step::Sync => none(store.sync()),
            Step::StateFile => store.write_state_file().map(|_| None),
            Step::Reopen { .. } => Ok(None),
            _ => first(self.command(administrative(step))),
        }
    }

    fn names(&self, step: &Step) -> Command {
        match step {
            Step::Create { volume, dir, name, kind, mode } => Command::Create {
                volume: VolumeId(*volume),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
                body: body(kind),
                mode: *mode,
                uid: 7,
                gid: 8,
            },
            Step::Link { volume, ino, dir, name } => Command::Link {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
            },
            Step::Unlink { volume, dir, name, dir_wanted } => Command::Unlink {
                volume: VolumeId(*volume),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
                dir_wanted: *dir_wanted,
            },
            Step::Rename { volume, from, to, no_replace, exchange } => Command::Rename {
                volume: VolumeId(*volume),
                from_dir: self.ino(from.0),
                from_name: from.1.as_slice().into(),
                to_dir: self.ino(to.0),
                to_name: to.1.as_slice().into(),
                no_replace: *no_replace,
                exchange: *exchange,
            },
            other => unreachable!("{other:?} is no step about names"),
        }
    }

    fn of_inode(&self, step: &Step) -> Command {
        match step {
            Step::Preallocate { volume, ino, offset, length, keep_size } => Command::Preallocate {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                offset: *offset,
                length: *length,
                keep_size: *keep_size,
            },
            Step::SetAttributes { volume, ino, owner, times } => Command::SetAttributes {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                set: SetAttributes { mode: owner.0, uid: owner.1, gid: owner.2, atime: times.0, mtime: times.1 },
            },
            Step::SetXattr { volume, ino, name, value, create } => Command::SetXattr {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                name: name.as_slice().into(),
                value: value.as_slice().into(),
                create: *create,
            },
            Step::RemoveXattr { volume, ino, name } => {
                Command::RemoveXattr { volume: VolumeId(*volume), ino: self.ino(*ino), name: name.as_slice().into() }
            }
            other => unreachable!("{other:?} is no step about an inode"),
        }
    }
}

fn body(kind: &Kind) -> NewBody {
    match kind {
        Kind::File { .. } => NewBody::File,
        Kind::Dir { .. } => NewBody::Dir,
        Kind::Symlink(target) => NewBody::Symlink(target.as_slice().into()),
        Kind::Fifo => NewBody::Fifo,
        Kind::Socket => NewBody::Socket,
        Kind::Char(device) => NewBody::Char(*device),
        Kind::BlockDevice(device) => NewBody::Block(*device),
    }
}

/// The engine's word for a source.
#[must_use]
pub fn source(ours: OurSource) -> Source {
    match ours {
        OurSource::Live(volume) => Source::Live(VolumeId(volume)),
        OurSource::Checkpoint(volume, checkpoint) => Source::Checkpoint(VolumeId(volume), CheckpointId(checkpoint)),
        OurSource::Position(volume, position) => Source::Position(VolumeId(volume), position),
    }
}

fn administrative(step: &Step) -> Command {
    match step {
        Step::CheckpointCreate { name, volumes, nomount, removable } => Command::CheckpointCreate {
            name: Some(name.clone()),
            volumes: volumes.iter().map(|v| VolumeId(*v)).collect(),
            nomount: *nomount,
            removable: *removable,
            note: "a note".into(),
        },
        Step::CheckpointRemove(c) => Command::CheckpointRemove { checkpoint: CheckpointId(*c) },
        Step::CheckpointRename(c, name) => Command::CheckpointRename { checkpoint: CheckpointId(*c), name: name.clone() },
        Step::CheckpointHold(c, held) => Command::CheckpointHold { checkpoint: CheckpointId(*c), held: *held },
        Step::CheckpointFlag(c, removable, nomount) => {
            Command::CheckpointFlag { checkpoint: CheckpointId(*c), removable: *removable, nomount: *nomount }
        }
        Step::Rollback { volume, source: from, only } => {
            Command::Rollback { volume: VolumeId(*volume), source: source(*from), only: *only }
        }
        Step::RollbackAll(c) => Command::RollbackAll { checkpoint: CheckpointId(*c) },
        Step::RollbackFiles { volume, source: from, paths, attributes, delete_new } => Command::RollbackFiles {
            volume: VolumeId(*volume),
            source: source(*from),
            paths: paths.iter().map(|p| p.as_slice().into()).collect(),
            attributes: *attributes,
            delete_new: *delete_new,
        },
        Step::CloneCreate { name, source: from } => Command::CloneCreate { name: name.clone(), source: source(*from) },
        Step::CloneReset(volume) => Command::CloneReset { volume: VolumeId(*volume) },
        Step::VolumeCreate(name) => Command::VolumeCreate { name: name.clone(), mode: 0o755, uid: 7, gid: 8 },
        Step::VolumeRename(volume, name) => Command::VolumeRename { volume: VolumeId(*volume), name: name.clone() },
        Step::VolumeRemove(volume, with) => Command::VolumeRemove { volume: VolumeId(*volume), with_checkpoints: *with },
        Step::Undo(volume) => Command::Undo { volume: volume.map(VolumeId) },
        Step::Redo(volume) => Command::Redo { volume: volume.map(VolumeId) },
        other => unreachable!("{other:?} is not administrative"),
    }
}
