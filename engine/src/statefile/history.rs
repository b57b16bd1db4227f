//! Random histories for tests: real events, admitted and folded, so that the states are ones a store can have.

use crate::admit::admit;
use crate::event::{
    Actor, Bytes, Cause, Event, NewBody, Placed, Range, SetAttributes, Shift, Source,
};
use crate::evolve::evolve;
use crate::ids::{ActorId, CheckpointId, Ino, Seq, VolumeId};
use crate::quota::Quota;
use crate::state::State;
use crate::views::Views;
use strand_journal::{BlockAddr, Crcs};

/// A state and the means to go on.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) state: State,
    address: u64,
    random: u64,
}

impl History {
    /// A store with one volume, 1, whose root is inode 1.
    pub(crate) fn new(seed: u64) -> Self {
        let mut new = Self {
            state: State::empty(),
            address: 16,
            random: seed,
        };
        assert!(new.fold(Event::StoreCreated {
            program: "test".into()
        }));
        assert!(new.fold(Event::ActorSeen {
            actor: ActorId(1),
            who: Actor::program()
        }));
        let root = new.state.next_ino;
        let volume = VolumeId(1);
        assert!(new.fold(Event::VolumeCreated {
            volume,
            name: "data".into(),
            root,
            mode: 0o755,
            uid: 0,
            gid: 0
        }));
        new
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Folds an event, if it is admitted.
    pub(crate) fn fold(&mut self, event: Event) -> bool {
        self.fold_with(&event, 0)
    }

    /// Folds an event with that many payload blocks, if it is admitted.
    pub(crate) fn fold_with(&mut self, event: &Event, blocks: u64) -> bool {
        let crcs: Vec<u8> = (0..blocks * 4).map(|_| self.below(256) as u8).collect();
        let placed = Placed {
            seq: self.state.seq + 1,
            time: self.state.time + 1 + self.below(1000),
            actor: ActorId(u32::from(self.state.seq > 0)),
            last: !matches!(event, Event::CopiedOutScope { .. }),
            event,
            first: BlockAddr(self.address),
            crcs: Crcs::from_le_bytes(&crcs),
        };
        if admit(&self.state, &placed, &Views::none()).is_err() {
            return false;
        }
        evolve(&mut self.state, &placed, &Views::none());
        self.address += blocks;
        true
    }

    /// Creates a regular file.
    pub(crate) fn file(&mut self, volume: VolumeId, dir: Ino, name: &str) -> Ino {
        let ino = self.state.next_ino;
        assert!(self.create(volume, dir, name, NewBody::File));
        ino
    }

    /// Creates whatever it is.
    pub(crate) fn create(&mut self, volume: VolumeId, dir: Ino, name: &str, body: NewBody) -> bool {
        let ino = self.state.next_ino;
        self.fold(Event::Created {
            volume,
            dir,
            name: bytes(name),
            ino,
            body,
            mode: 0o644,
            uid: 1,
            gid: 2,
        })
    }

    /// Writes blocks of a file, which grows as needed.
    pub(crate) fn write(&mut self, volume: VolumeId, ino: Ino, block: u64, count: u64) -> bool {
        let size = self
            .state
            .volume(volume)
            .and_then(|v| v.live.inode(ino))
            .map_or(0, |i| i.size());
        let end = (block + count) * 4096;
        self.fold_with(
            &Event::Written {
                volume,
                ino,
                block,
                size: (end > size).then_some(end),
            },
            count,
        )
    }

    /// Takes a checkpoint.
    pub(crate) fn checkpoint(&mut self, name: &str, volumes: &[VolumeId]) -> CheckpointId {
        let checkpoint = self.state.next_checkpoint;
        let (name, volumes, note) = (name.into(), volumes.to_vec(), "a note".into());
        assert!(self.fold(Event::CheckpointCreated {
            checkpoint,
            name,
            volumes,
            removable: false,
            nomount: false,
            note
        }));
        checkpoint
    }

    /// One of the keys, if there is one.
    fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = self.below(of.len() as u64) as usize;
        of.get(at).copied()
    }

    /// Tries one random event.
    pub(crate) fn step(&mut self) -> bool {
        let volumes: Vec<VolumeId> = self.state.volumes.keys().copied().collect();
        let Some(volume) = self.one(&volumes) else {
            return false;
        };
        match self.below(100) {
            0..65 => self.step_in_tree(volume),
            65..95 => self.step_around(volume),
            _ => {
                let actor = self.state.next_actor;
                self.fold(Event::ActorSeen {
                    actor,
                    who: Actor {
                        pid: actor.0,
                        ..Actor::program()
                    },
                })
            }
        }
    }

    fn step_in_tree(&mut self, volume: VolumeId) -> bool {
        let live = self.state.volumes[&volume].live.clone();
        let all: Vec<Ino> = live.inodes.iter().map(|(ino, _)| Ino(ino)).collect();
        let dirs: Vec<Ino> = live
            .inodes
            .iter()
            .filter(|(_, i)| i.is_dir())
            .map(|(ino, _)| Ino(ino))
            .collect();
        let (Some(ino), Some(dir), Some(other)) =
            (self.one(&all), self.one(&dirs), self.one(&dirs))
        else {
            return false;
        };
        let entries: Vec<(Bytes, Ino)> = live
            .inodes
            .get(dir.0)
            .and_then(|i| i.names())
            .map(|n| n.iter().map(|(k, v)| (k.clone(), *v)).collect())
            .unwrap_or_default();
        let at = self.below(entries.len() as u64) as usize;
        let entry = entries.get(at).cloned();
        let fresh = format!("f{}", self.below(40));
        match self.below(16) {
            0..4 => {
                let body = match self.below(8) {
                    0..4 => NewBody::File,
                    4 | 5 => NewBody::Dir,
                    6 => NewBody::Symlink(bytes("to")),
                    _ => NewBody::Char(7),
                };
                self.create(volume, dir, &fresh, body)
            }
            4 => self.fold(Event::Linked {
                volume,
                dir,
                name: bytes(&fresh),
                ino,
            }),
            5 => {
                let keep = self.below(3) == 0;
                entry.is_some_and(|(name, ino)| {
                    self.fold(Event::Unlinked {
                        volume,
                        dir,
                        name,
                        ino,
                        keep,
                    })
                })
            }
            6 => entry.is_some_and(|(from_name, _)| {
                let over = live.child(other, fresh.as_bytes()).map(|ino| (ino, false));
                let to_name = bytes(&fresh);
                self.fold(Event::Renamed {
                    volume,
                    from_dir: dir,
                    from_name,
                    to_dir: other,
                    to_name,
                    over,
                })
            }),
            7 => {
                let xattr = bytes(&format!("user.{}", self.below(3)));
                let value = bytes(&fresh);
                self.fold(Event::XattrSet {
                    volume,
                    ino,
                    name: xattr,
                    value,
                })
            }
            8 => self.fold(Event::AttributesSet {
                volume,
                ino,
                set: SetAttributes {
                    uid: Some(9),
                    ..Default::default()
                },
            }),
            9 => {
                let size = self.below(300_000);
                self.fold(Event::Truncated { volume, ino, size })
            }
            10 => {
                let (to, count) = (self.one(&all).unwrap_or(ino), 1 + self.below(4));
                self.fold(Event::Shared {
                    volume,
                    from: ino,
                    from_block: 0,
                    to,
                    to_block: 8,
                    count,
                    size: None,
                })
            }
            11 => self.fold(Event::Punched {
                volume,
                ino,
                range: Range { block: 1, count: 2 },
                size: None,
            }),
            12 => live
                .orphans
                .iter()
                .next()
                .is_some_and(|ino| self.fold(Event::OrphanDropped { volume, ino: *ino })),
            _ => {
                let (block, count) = (self.below(40), 1 + self.below(20));
                self.write(volume, ino, block, count)
            }
        }
    }

    fn step_around(&mut self, volume: VolumeId) -> bool {
        let checkpoints: Vec<CheckpointId> =
            self.state.volumes[&volume].images.keys().copied().collect();
        let checkpoint = self.one(&checkpoints);
        let source = checkpoint.map_or(Source::Live(volume), |checkpoint| {
            Source::Checkpoint(volume, checkpoint)
        });
        let name = format!("n{}", self.below(1000));
        let cause = Cause::Rollback;
        match self.below(15) {
            0..3 => {
                let checkpoint = self.state.next_checkpoint;
                let (volumes, note) = (vec![volume], String::new());
                self.fold(Event::CheckpointCreated {
                    checkpoint,
                    name,
                    volumes,
                    removable: true,
                    nomount: false,
                    note,
                })
            }
            3 => {
                self.fold(Event::CopiedOutScope { volume, cause })
                    && self.fold(Event::RolledBack {
                        volumes: vec![(volume, source)],
                        before: CheckpointId(1),
                    })
            }
            4 if self.state.volumes.len() < 4 => {
                let volume = self.state.next_volume;
                self.fold(Event::CloneCreated {
                    volume,
                    name,
                    source,
                })
            }
            5 => checkpoint
                .is_some_and(|checkpoint| self.fold(Event::CheckpointRemoved { checkpoint })),
            6 => {
                let removed = self.state.removed_checkpoints.keys().next().copied();
                removed
                    .is_some_and(|checkpoint| self.fold(Event::CheckpointRestored { checkpoint }))
            }
            7 => checkpoint
                .is_some_and(|checkpoint| self.fold(Event::CheckpointRenamed { checkpoint, name })),
            8 => self.fold(Event::CloneReset {
                volume,
                before: CheckpointId(1),
            }),
            9 => {
                let scope = self.state.volumes[&volume].pending.front().map(|p| p.scope);
                let shifts = checkpoint
                    .map(|to| Shift::CopiedOut { to, blocks: 3 })
                    .into_iter()
                    .collect();
                scope.is_some_and(|scope| {
                    self.fold(Event::Settled {
                        volume,
                        scope,
                        shifts,
                        last: true,
                    })
                })
            }
            10 => {
                let change = self
                    .state
                    .changes
                    .iter()
                    .find(|c| c.undone.is_none())
                    .map(|c| c.seq);
                change.is_some_and(|change: Seq| {
                    self.fold(Event::Undone {
                        change,
                        redo: false,
                        before: None,
                    })
                })
            }
            11 => checkpoint.is_some_and(|checkpoint| {
                self.fold(Event::CopiedOutScope {
                    volume,
                    cause: Cause::Conversion,
                }) && self.fold(Event::CheckpointConverted {
                    checkpoint,
                    volumes: vec![volume],
                })
            }),
            12 => {
                let file = self.state.volumes[&volume].live.inodes.iter();
                let ino = file.filter(|(_, i)| i.file().is_some()).map(|(ino, _)| ino);
                let (ino, ranges) = (ino.last(), vec![Range { block: 0, count: 2 }]);
                checkpoint.zip(ino).is_some_and(|(checkpoint, ino)| {
                    self.fold(Event::ChangeMarked {
                        volume,
                        checkpoint,
                        cause,
                        ino: Ino(ino),
                        ranges,
                    })
                })
            }
            13 => {
                let quota = Quota {
                    soft: Some(self.below(1000)),
                    hard: None,
                    on: self.below(2) == 0,
                    fail_writes: self.below(2) == 0,
                };
                self.fold(Event::QuotaSet { volume, quota })
            }
            _ if volume.0 > 1 => self.fold(Event::VolumeRemoved { volume }),
            _ => self.fold(Event::VolumeRenamed { volume, name }),
        }
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}
