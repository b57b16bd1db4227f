//! A step on the engine.

use super::Pairs;
use super::life;
use super::reference_side::bytes;
use crate::history::Step;
use crate::random::Random;
use crate::reference::{Ino as OurIno, Kind, Source as OurSource};
use strand_engine::owner::living_brute;
use strand_engine::{
    Actor, CheckpointId, Command, Done, Error, GiveUp, Ino, ManualClock, NewBody, Quota,
    ReclaimOptions, Seq, SetAttributes, Source, Store, VolumeId,
};
use strand_journal::{BLOCK_SIZE, Block, BlockAddr};

/// What a step did to the engine.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Ran {
    /// The number of its first event, where it has one.
    pub first: Option<Seq>,
    /// Everything up to this number was acknowledged as durable.
    pub acknowledged: Option<Seq>,
}

impl From<Done> for Ran {
    fn from(done: Done) -> Self {
        Self {
            first: Some(done.first),
            acknowledged: None,
        }
    }
}

/// An open store, and what the reference's inode numbers mean in it.
#[derive(Copy, Clone)]
pub struct EngineSide<'a> {
    /// The store.
    pub store: &'a Store,
    /// Who asks.
    pub actor: &'a Actor,
    /// The inode numbers.
    pub inos: &'a Pairs,
    /// The store's clock.
    pub clock: &'a ManualClock,
}

impl EngineSide<'_> {
    fn ino(&self, ours: OurIno) -> Ino {
        Ino(self.inos.theirs(ours).unwrap_or(ours))
    }

    /// Runs a step. Content and names are only placed, administrative steps are committed. Reopening is the caller's.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(&self, step: &Step) -> Result<Ran, Error> {
        let (store, actor) = (self.store, self.actor);
        match step {
            Step::Create { .. } | Step::Link { .. } | Step::Unlink { .. } | Step::Rename { .. } => {
                store.submit(actor, self.names(step)).map(Ran::from)
            }
            Step::Preallocate { .. }
            | Step::SetAttributes { .. }
            | Step::SetXattr { .. }
            | Step::RemoveXattr { .. } => store.submit(actor, self.of_inode(step)).map(Ran::from),
            Step::Write {
                volume,
                ino,
                offset,
                length,
                seed,
            } => store
                .write(
                    actor,
                    VolumeId(*volume),
                    self.ino(*ino),
                    *offset,
                    &bytes(*seed, *length),
                )
                .map(Ran::from),
            Step::Truncate { volume, ino, size } => store
                .truncate(actor, VolumeId(*volume), self.ino(*ino), *size)
                .map(Ran::from),
            Step::Zero {
                volume,
                ino,
                offset,
                length,
                grow: true,
            } => store
                .zero(actor, VolumeId(*volume), self.ino(*ino), *offset, *length)
                .map(Ran::from),
            Step::Zero {
                volume,
                ino,
                offset,
                length,
                grow: false,
            } => store
                .punch(actor, VolumeId(*volume), self.ino(*ino), *offset, *length)
                .map(Ran::from),
            Step::CopyRange {
                volume,
                from,
                to,
                length,
            } => {
                let (from_ino, to_ino) = (self.ino(from.0), self.ino(to.0));
                store
                    .copy_range(
                        actor,
                        VolumeId(*volume),
                        from_ino,
                        from.1,
                        to_ino,
                        to.1,
                        *length,
                    )
                    .map(|_| Ran::default())
            }
            Step::OpenHandle { volume, ino } => {
                store.open_handle(VolumeId(*volume), self.ino(*ino));
                Ok(Ran::default())
            }
            Step::CloseHandle { volume, ino } => store
                .close_handle(actor, VolumeId(*volume), self.ino(*ino))
                .map(|()| Ran::default()),
            Step::Settle => store.settle().map(|_| Ran::default()),
            Step::Sync => {
                let boundary = store.state().boundary;
                store.sync().map(|()| Ran {
                    acknowledged: Some(boundary),
                    ..Ran::default()
                })
            }
            Step::StateFile => store.write_state_file().map(|seq| Ran {
                acknowledged: Some(seq),
                ..Ran::default()
            }),
            Step::Reopen { .. } => Ok(Ran::default()),
            Step::GiveWay => store
                .run(&Actor::program(), Command::GiveWay)
                .map(Ran::from),
            Step::ReleaseHistory(before) => {
                let before = (*before).min(store.state().boundary);
                let command = Command::ReleaseHistory { before };
                store.run(&Actor::program(), command).map(Ran::from)
            }
            Step::Relocate(seed) => relocate(store, *seed),
            Step::Reclaim { now, most_live } => {
                let options = ReclaimOptions {
                    now: *now,
                    most_live: Some(*most_live),
                    ..ReclaimOptions::default()
                };
                store.reclaim(&options).map(|_| Ran::default())
            }
            Step::Defrag(volume) => defrag(store, VolumeId(*volume)),
            Step::Lease(_) | Step::LeaseFor(..) | Step::EndLease(_) => Ok(Ran::default()),
            Step::Pass(_)
            | Step::ClockJump(_)
            | Step::RetentionSet { .. }
            | Step::MoveWindowsOn
            | Step::ScheduleSet { .. }
            | Step::FollowSchedule(_)
            | Step::MoveArchives(_)
            | Step::AuditSet(_)
            | Step::TrimArchives => life::run(store, actor, self.clock, step),
            _ => store.run(actor, administrative(step)).map(|d| Ran {
                first: Some(d.first),
                acknowledged: Some(d.last),
            }),
        }
    }

    fn names(&self, step: &Step) -> Command {
        match step {
            Step::Create {
                volume,
                dir,
                name,
                kind,
                mode,
            } => Command::Create {
                volume: VolumeId(*volume),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
                body: body(kind),
                mode: *mode,
                uid: 7,
                gid: 8,
            },
            Step::Link {
                volume,
                ino,
                dir,
                name,
            } => Command::Link {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
            },
            Step::Unlink {
                volume,
                dir,
                name,
                dir_wanted,
            } => Command::Unlink {
                volume: VolumeId(*volume),
                dir: self.ino(*dir),
                name: name.as_slice().into(),
                dir_wanted: *dir_wanted,
            },
            Step::Rename {
                volume,
                from,
                to,
                no_replace,
                exchange,
            } => Command::Rename {
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
            Step::Preallocate {
                volume,
                ino,
                offset,
                length,
                keep_size,
            } => Command::Preallocate {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                offset: *offset,
                length: *length,
                keep_size: *keep_size,
            },
            Step::SetAttributes {
                volume,
                ino,
                owner,
                times,
            } => Command::SetAttributes {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                set: SetAttributes {
                    mode: owner.0,
                    uid: owner.1,
                    gid: owner.2,
                    atime: times.0,
                    mtime: times.1,
                },
            },
            Step::SetXattr {
                volume,
                ino,
                name,
                value,
                create,
            } => Command::SetXattr {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                name: name.as_slice().into(),
                value: value.as_slice().into(),
                create: *create,
            },
            Step::RemoveXattr { volume, ino, name } => Command::RemoveXattr {
                volume: VolumeId(*volume),
                ino: self.ino(*ino),
                name: name.as_slice().into(),
            },
            other => unreachable!("{other:?} is no step about an inode"),
        }
    }
}

/// Puts a volume's files in order, where there is such a volume.
fn defrag(store: &Store, volume: VolumeId) -> Result<Ran, Error> {
    if store.state().volume(volume).is_some() {
        let job = store
            .jobs()
            .begin(strand_engine::jobs::JobKind::Defrag, "a volume", 0);
        store.defrag(volume, None, None, job)?;
    }
    Ok(Ran::default())
}

/// Copies up to a dozen living versions to the head of the journal, as runs where they were born side by side.
fn relocate(store: &Store, seed: u64) -> Result<Ran, Error> {
    let state = store.state();
    let living: Vec<u64> = living_brute(&state).into_iter().collect();
    let mut random = Random::new(seed);
    let (mut births, mut payload): (Vec<(u64, u32)>, Vec<Block>) = (Vec::new(), Vec::new());
    let start = random.below(living.len().max(1) as u64) as usize;
    for birth in living.iter().skip(start).take(12) {
        if random.one_in(4) {
            continue;
        }
        let Some(present) = state.places.find(BlockAddr(*birth)) else {
            continue;
        };
        let mut bytes = Box::new([0; BLOCK_SIZE]);
        store.journal().read_block(present, &mut bytes)?;
        payload.push(Block::new(bytes));
        match births.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == *birth => *count += 1,
            _ => births.push((*birth, 1)),
        }
    }
    if births.is_empty() {
        return Ok(Ran::default());
    }
    let command = Command::Relocate { births };
    let done = store.submit_with(&Actor::program(), command, &payload)?;
    Ok(done.into())
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
        OurSource::Checkpoint(volume, checkpoint) => {
            Source::Checkpoint(VolumeId(volume), CheckpointId(checkpoint))
        }
        OurSource::Position(volume, position) => Source::Position(VolumeId(volume), position),
    }
}

fn administrative(step: &Step) -> Command {
    match step {
        Step::CheckpointCreate {
            name,
            volumes,
            nomount,
            removable,
            nodata,
        } => Command::CheckpointCreate {
            name: Some(name.clone()),
            volumes: volumes.iter().map(|v| VolumeId(*v)).collect(),
            nomount: *nomount,
            removable: *removable,
            nodata: *nodata,
            note: "a note".into(),
        },
        Step::CheckpointConvert(c) => Command::CheckpointConvert {
            checkpoint: CheckpointId(*c),
        },
        Step::CheckpointRemove(c) => Command::CheckpointRemove {
            checkpoint: CheckpointId(*c),
        },
        Step::CheckpointRename(c, name) => Command::CheckpointRename {
            checkpoint: CheckpointId(*c),
            name: name.clone(),
        },
        Step::CheckpointHold(c, held) => Command::CheckpointHold {
            checkpoint: CheckpointId(*c),
            held: *held,
        },
        Step::CheckpointFlag(c, removable, nomount) => Command::CheckpointFlag {
            checkpoint: CheckpointId(*c),
            removable: *removable,
            nomount: *nomount,
        },
        Step::Rollback {
            volume,
            source: from,
            only,
        } => Command::Rollback {
            volume: VolumeId(*volume),
            source: source(*from),
            only: *only,
        },
        Step::RollbackAll(c) => Command::RollbackAll {
            checkpoint: CheckpointId(*c),
        },
        Step::RollbackFiles {
            volume,
            source: from,
            paths,
            attributes,
            delete_new,
        } => Command::RollbackFiles {
            volume: VolumeId(*volume),
            source: source(*from),
            paths: paths.iter().map(|p| p.as_slice().into()).collect(),
            attributes: *attributes,
            delete_new: *delete_new,
        },
        Step::QuotaSet {
            volume,
            quota,
            below_use,
        } => Command::QuotaSet {
            volume: VolumeId(*volume),
            quota: Quota {
                soft: quota.soft,
                hard: quota.hard,
                on: quota.on,
                fail_writes: quota.fail_writes,
            },
            below_use: *below_use,
        },
        Step::CheckpointGiveUp(c) => Command::CheckpointGiveUp {
            checkpoint: CheckpointId(*c),
            cause: GiveUp::Asked,
        },
        Step::CloneCreate { name, source: from } => Command::CloneCreate {
            name: name.clone(),
            source: source(*from),
        },
        Step::CloneReset(volume) => Command::CloneReset {
            volume: VolumeId(*volume),
        },
        Step::VolumeCreate(name) => Command::VolumeCreate {
            name: name.clone(),
            mode: 0o755,
            uid: 7,
            gid: 8,
        },
        Step::VolumeRename(volume, name) => Command::VolumeRename {
            volume: VolumeId(*volume),
            name: name.clone(),
        },
        Step::VolumeRemove(volume, with) => Command::VolumeRemove {
            volume: VolumeId(*volume),
            with_checkpoints: *with,
        },
        Step::Undo(volume) => Command::Undo {
            volume: volume.map(VolumeId),
        },
        Step::Redo(volume) => Command::Redo {
            volume: volume.map(VolumeId),
        },
        other => unreachable!("{other:?} is not administrative"),
    }
}
