//! Steps about checkpoints, going back, limits and the process itself.

use super::{Chooser, FEW_CHECKPOINTS, FEW_VOLUMES, OBJECT_NAMES};
use crate::history::Step;
use crate::reference::{BLOCK, Kind, Node, Position, Quota, Reference, Source, VolumeNumber};
use std::collections::BTreeMap;

impl Chooser<'_> {
    fn object_name(&mut self) -> String {
        match self.random.below(30) {
            0 => ["", "live", "a b", "auto-mine", "10m", "y_wr001"][self.random.below(6) as usize]
                .into(),
            1..6 => OBJECT_NAMES[self.random.below(8) as usize].into(),
            _ => format!(
                "{}-{}",
                OBJECT_NAMES[self.random.below(8) as usize],
                self.random.below(1000)
            ),
        }
    }

    fn checkpoint(&mut self) -> u32 {
        let all: Vec<u32> = self.reference.checkpoints.keys().copied().collect();
        if self.random.one_in(40) {
            9999
        } else {
            self.random.pick(&all).copied().unwrap_or(1)
        }
    }

    /// An image of the volume (or, rarely, of another).
    pub(super) fn source(&mut self, volume: VolumeNumber) -> Source {
        let volume = if self.random.one_in(25) {
            self.random.below(6) as u32
        } else {
            volume
        };
        let images: Vec<u32> = self
            .reference
            .volumes
            .get(&volume)
            .map_or_else(Vec::new, |v| v.images.keys().copied().collect());
        let positions: Vec<u64> = self
            .reference
            .history
            .iter()
            .filter(|(_, trees)| trees.contains_key(&volume))
            .map(|(p, _)| *p)
            .collect();
        match (
            self.random.pick(&images).copied(),
            self.random.pick(&positions).copied(),
        ) {
            (_, Some(position)) if self.random.one_in(3) => Source::Position(volume, position),
            (Some(checkpoint), _) => Source::Checkpoint(volume, checkpoint),
            (None, Some(position)) => Source::Position(volume, position),
            _ => Source::Checkpoint(volume, 9999),
        }
    }

    pub(super) fn history(&mut self, volume: VolumeNumber) -> Step {
        let many = self.reference.checkpoints.len() >= FEW_CHECKPOINTS;
        let crowded = self.reference.volumes.len() >= FEW_VOLUMES;
        match self.random.below(56) {
            0..12 if !many => {
                let mut volumes: Vec<VolumeNumber> =
                    self.reference.volumes.keys().copied().collect();
                while volumes.len() > 1 + self.random.below(3) as usize {
                    volumes.remove(self.random.below(volumes.len() as u64) as usize);
                }
                let (nomount, removable) = (self.random.one_in(15), self.random.one_in(5));
                Step::CheckpointCreate {
                    name: self.object_name(),
                    volumes,
                    nomount,
                    removable,
                    nodata: self.random.one_in(4),
                }
            }
            0..15 => Step::CheckpointRemove(self.checkpoint()),
            15 | 16 => Step::CheckpointConvert(self.checkpoint()),
            17 => Step::CheckpointRename(self.checkpoint(), self.object_name()),
            18 => Step::CheckpointHold(self.checkpoint(), self.random.one_in(3)),
            19 => {
                let removable = if self.random.one_in(2) {
                    Some(self.random.one_in(2))
                } else {
                    None
                };
                let nomount = if self.random.one_in(2) {
                    Some(self.random.one_in(4))
                } else {
                    None
                };
                Step::CheckpointFlag(self.checkpoint(), removable, nomount)
            }
            20..25 => Step::Rollback {
                volume,
                source: self.source(volume),
                only: !self.random.one_in(6),
            },
            25..27 => Step::RollbackAll(self.checkpoint()),
            27..33 => self.rollback_files(volume),
            33..35 if !crowded => {
                let source = if self.random.one_in(3) {
                    Source::Live(volume)
                } else {
                    self.source(volume)
                };
                Step::CloneCreate {
                    name: self.object_name(),
                    source,
                }
            }
            33..36 => {
                let clones: Vec<VolumeNumber> = self
                    .reference
                    .volumes
                    .iter()
                    .filter(|(_, v)| v.origin.is_some())
                    .map(|(n, _)| *n)
                    .collect();
                Step::CloneReset(self.random.pick(&clones).copied().unwrap_or(volume))
            }
            36 if !crowded => Step::VolumeCreate(self.object_name()),
            37 => Step::VolumeRename(volume, self.object_name()),
            38 => Step::VolumeRemove(volume, self.random.one_in(2)),
            39..43 => self.quota(volume),
            43..55 => self.give_back(volume),
            _ => Step::Settle,
        }
    }

    fn rollback_files(&mut self, volume: VolumeNumber) -> Step {
        let source = self.source(volume);
        let image = self.reference.image(source).ok();
        let mut known: Vec<Vec<u8>> = image.map_or_else(Vec::new, |t| {
            t.paths().into_iter().map(|(p, _)| p).collect()
        });
        if self.random.one_in(3) {
            known.extend(self.tree(volume).paths().into_iter().map(|(p, _)| p));
        }
        let mut paths = Vec::new();
        for _ in 0..=self.random.below(3) {
            match self.random.pick(&known) {
                Some(path) if !self.random.one_in(15) => paths.push(path.clone()),
                _ => paths.push(b"no/such".to_vec()),
            }
        }
        Step::RollbackFiles {
            volume,
            source,
            paths,
            attributes: self.random.one_in(2),
            delete_new: self.random.one_in(3),
        }
    }

    pub(super) fn undo(&mut self) -> Step {
        let volumes: Vec<VolumeNumber> = self.reference.volumes.keys().copied().collect();
        let of = if self.random.one_in(2) {
            self.random.pick(&volumes).copied()
        } else {
            None
        };
        if self.random.below(5) < 3 {
            Step::Undo(of)
        } else {
            Step::Redo(of)
        }
    }

    pub(super) fn process(&mut self) -> Step {
        match self.random.below(6) {
            0..3 => Step::Reopen {
                clean: self.random.one_in(2),
                from_start: self.random.one_in(3),
            },
            3 => Step::Settle,
            _ => Step::StateFile,
        }
    }

    /// Limits near what is used, so that they are reached; rarely some that contradict.
    pub(super) fn quota(&mut self, volume: VolumeNumber) -> Step {
        let usage = Reference::usage(&self.reference.volumes[&volume]);
        let odd = self.random.one_in(12);
        let hard = (!self.random.one_in(6)).then(|| usage + self.random.below(14));
        let hard = hard.map(|blocks| blocks.saturating_sub(4).max(u64::from(!odd)));
        let soft = (!self.random.one_in(3)).then(|| {
            let below = 1 + self.random.below(6);
            let top = hard.unwrap_or(usage + 4);
            if odd {
                top + 1
            } else {
                top.saturating_sub(below)
            }
        });
        let ragged = self.random.below(2) * 17; // a limit need not be whole blocks
        let quota = Quota {
            soft: soft.map(|blocks| blocks * BLOCK),
            hard: hard.map(|blocks| blocks * BLOCK + ragged),
            on: !self.random.one_in(6),
            fail_writes: self.random.one_in(5),
        };
        Step::QuotaSet {
            volume,
            quota,
            below_use: self.random.one_in(2),
        }
    }

    /// Space and the history window.
    fn give_back(&mut self, volume: VolumeNumber) -> Step {
        match self.random.below(16) {
            0..3 => Step::Relocate(self.random.next_u64()),
            3 => Step::CheckpointGiveUp(self.checkpoint()),
            4 if self.random.one_in(2) => Step::GiveWay,
            4..7 => {
                let positions: Vec<Position> = self.reference.history.keys().copied().collect();
                let early = 1 + positions.len() as u64 * 2 / 3;
                let at = self.random.below(early) as usize;
                Step::ReleaseHistory(positions.get(at).copied().unwrap_or(1))
            }
            7..9 => Step::Reclaim {
                now: self.random.one_in(6),
                most_live: [100, 90, 50][self.random.below(3) as usize],
            },
            9..12 => Step::Reclaim {
                now: false,
                most_live: 100,
            },
            12 => Step::Defrag(volume),
            13 | 14 => Step::Lease(self.source(volume)),
            _ => Step::EndLease(self.random.next_u64()),
        }
    }

    /// Whole blocks written over and over in a few files, and space given back between.
    pub(super) fn space(&mut self, volume: VolumeNumber) -> Step {
        let files = self.tree(volume).nodes.values().filter(|n| n.is_file());
        if files.count() < 2 {
            let blocks = BTreeMap::new();
            return self.create(volume, Kind::File { size: 0, blocks });
        }
        match self.random.below(100) {
            0..56 => Step::Write {
                volume,
                ino: self.some(volume, Node::is_file).unwrap_or(1),
                offset: BLOCK * self.random.below(24),
                length: BLOCK * (1 + self.random.below(5)),
                seed: Some(self.random.next_u64()),
            },
            56..60 => self.content(volume),
            60..68 => self.checkpoint_steps(volume),
            68..73 => Step::Rollback {
                volume,
                source: self.source(volume),
                only: true,
            },
            73..76 => self.history(volume),
            76..91 => self.give_back(volume),
            91..93 => self.undo(),
            93..96 => self.process(),
            _ => Step::Sync,
        }
    }

    fn checkpoint_steps(&mut self, volume: VolumeNumber) -> Step {
        if self.random.one_in(2) {
            return Step::CheckpointRemove(self.checkpoint());
        }
        Step::CheckpointCreate {
            name: self.object_name(),
            volumes: vec![volume],
            nomount: false,
            removable: self.random.one_in(2),
            nodata: self.random.one_in(8),
        }
    }
}
