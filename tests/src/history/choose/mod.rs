//! What a die means: a step that makes sense, or nearly, for what is there. Names and ranges are few and small, so that steps collide.

mod history;
mod life;

use super::Step;
use crate::random::Random;
use crate::reference::{BLOCK, Ino, Kind, Node, Reference, Tree, VolumeNumber};
use std::collections::BTreeMap;

/// What sort of steps a history has.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Profile {
    /// Everything.
    All,
    /// Much is written over, in few files, and space is given back often.
    Space,
    /// As [`Profile::Space`], and the clock: time that passes, clocks that are set, windows, schedules, leases that end, archives that move away.
    Life,
    /// No reopening and no undo: short scenarios for the crash tests, which reopen themselves.
    Plain,
}

const FEW_VOLUMES: usize = 5;
const FEW_CHECKPOINTS: usize = 9;
const FEW_FILES: usize = 12;
const NAMES: [&[u8]; 9] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"f",
    b"lib",
    b"\xff\xfe",
    b"long name with spaces",
];
const OBJECT_NAMES: [&str; 8] = [
    "red",
    "green",
    "blue",
    "before-upgrade",
    "v1.2",
    "nightly",
    "x_1",
    "Z",
];

/// The step of a die.
#[must_use]
pub fn choose(die: u64, reference: &Reference, profile: Profile) -> Step {
    let mut chooser = Chooser {
        random: Random::new(die),
        reference,
    };
    let volumes: Vec<VolumeNumber> = reference.volumes.keys().copied().collect();
    let Some(volume) = chooser.random.pick(&volumes).copied() else {
        return Step::VolumeCreate("first".into());
    };
    if profile == Profile::Space {
        return chooser.space(volume);
    }
    if profile == Profile::Life {
        return chooser.life(volume);
    }
    match chooser
        .random
        .below(if profile == Profile::All { 120 } else { 108 })
    {
        0..52 => chooser.content(volume),
        52..76 => chooser.name(volume),
        76..82 => chooser.attributes(volume),
        82..106 => chooser.history(volume),
        106..108 => Step::Sync,
        108..115 => chooser.undo(),
        _ => chooser.process(),
    }
}

struct Chooser<'a> {
    random: Random,
    reference: &'a Reference,
}

impl Chooser<'_> {
    fn tree(&self, volume: VolumeNumber) -> &Tree {
        &self.reference.volumes[&volume].live
    }

    fn some(&mut self, volume: VolumeNumber, wanted: impl Fn(&Node) -> bool) -> Option<Ino> {
        let tree = &self.reference.volumes[&volume].live;
        let found: Vec<Ino> = tree
            .nodes
            .iter()
            .filter(|(_, n)| wanted(n))
            .map(|(i, _)| *i)
            .collect();
        self.random.pick(&found).copied()
    }

    /// Mostly a file; sometimes anything; rarely what is not there.
    fn file(&mut self, volume: VolumeNumber) -> Option<Ino> {
        match self.random.below(40) {
            0 => Some(u64::MAX / 3),
            1 => self.some(volume, |_| true),
            _ => self.some(volume, Node::is_file),
        }
    }

    fn dir(&mut self, volume: VolumeNumber) -> Ino {
        let wanted = if self.random.one_in(30) {
            self.some(volume, |_| true)
        } else {
            self.some(volume, Node::is_dir)
        };
        wanted.unwrap_or(u64::MAX / 3)
    }

    fn file_name(&mut self) -> Vec<u8> {
        if self.random.one_in(60) {
            return [&b""[..], b"..", b"a/b", b"nul\0", &[b'x'; 256]]
                [self.random.below(5) as usize]
                .to_vec();
        }
        self.random.pick(&NAMES).map_or(vec![b'a'], |n| n.to_vec())
    }

    /// A directory and mostly a name that is in it.
    fn entry(&mut self, volume: VolumeNumber) -> (Ino, Vec<u8>) {
        let dir = self.dir(volume);
        let names: Vec<Vec<u8>> = self
            .tree(volume)
            .nodes
            .get(&dir)
            .and_then(Node::names)
            .map_or_else(Vec::new, |n| n.keys().cloned().collect());
        match self.random.pick(&names) {
            Some(name) if !self.random.one_in(12) => (dir, name.clone()),
            _ => (dir, self.file_name()),
        }
    }

    fn offset(&mut self) -> u64 {
        match self.random.below(20) {
            0 => BLOCK * (1 << 18) + self.random.below(BLOCK),
            1 => (i64::MAX as u64) - self.random.below(3 * BLOCK),
            2..=11 => BLOCK * self.random.below(10),
            _ => self.random.below(10 * BLOCK),
        }
    }

    fn length(&mut self) -> u64 {
        match self.random.below(12) {
            0 => self.random.below(3),
            1..=5 => BLOCK * (1 + self.random.below(3)),
            6 => BLOCK * (8 + self.random.below(20)),
            _ => 1 + self.random.below(2 * BLOCK),
        }
    }

    fn content(&mut self, volume: VolumeNumber) -> Step {
        let Some(ino) = self.file(volume) else {
            return self.create(
                volume,
                Kind::File {
                    size: 0,
                    blocks: BTreeMap::new(),
                },
            );
        };
        let (offset, length) = (self.offset(), self.length());
        match self.random.below(52) {
            0..27 => {
                let seed = if self.random.one_in(10) {
                    None
                } else {
                    Some(self.random.next_u64())
                };
                Step::Write {
                    volume,
                    ino,
                    offset,
                    length,
                    seed,
                }
            }
            27..33 => {
                let size = if self.random.one_in(15) {
                    u64::MAX - offset
                } else {
                    offset
                };
                Step::Truncate { volume, ino, size }
            }
            33..40 => Step::Zero {
                volume,
                ino,
                offset,
                length,
                grow: self.random.one_in(3),
            },
            40..42 => Step::Preallocate {
                volume,
                ino,
                offset,
                length,
                keep_size: self.random.one_in(2),
            },
            _ => {
                let to = if self.random.one_in(3) {
                    Some(ino)
                } else {
                    self.file(volume)
                }
                .unwrap_or(ino);
                let length = length + BLOCK * self.random.below(4);
                let alike = !self.random.one_in(4);
                let from_offset =
                    self.random.below(8) * BLOCK + if self.random.one_in(3) { 100 } else { 0 };
                let to_offset = if alike {
                    self.random.below(10) * BLOCK + from_offset % BLOCK
                } else {
                    offset
                };
                Step::CopyRange {
                    volume,
                    from: (ino, from_offset),
                    to: (to, to_offset),
                    length,
                }
            }
        }
    }

    fn create(&mut self, volume: VolumeNumber, kind: Kind) -> Step {
        let mode = [0o644, 0o755, 0o2775, 0o4711][self.random.below(4) as usize];
        Step::Create {
            volume,
            dir: self.dir(volume),
            name: self.file_name(),
            kind,
            mode,
        }
    }

    fn name(&mut self, volume: VolumeNumber) -> Step {
        let full = self.tree(volume).nodes.len() > FEW_FILES;
        match self.random.below(if full { 14 } else { 24 }) {
            14..18 => self.create(
                volume,
                Kind::File {
                    size: 0,
                    blocks: BTreeMap::new(),
                },
            ),
            18..21 => self.create(
                volume,
                Kind::Dir {
                    names: BTreeMap::new(),
                },
            ),
            21..22 => {
                let kind = match self.random.below(5) {
                    0 => Kind::Symlink(b"../some/where".to_vec()),
                    1 => Kind::Fifo,
                    2 => Kind::Socket,
                    3 => Kind::Char(0x0103),
                    _ => Kind::BlockDevice(0x0801),
                };
                self.create(volume, kind)
            }
            22..24 => {
                let ino = if self.random.one_in(10) {
                    self.some(volume, |_| true)
                } else {
                    self.some(volume, |n| !n.is_dir())
                };
                Step::Link {
                    volume,
                    ino: ino.unwrap_or(1),
                    dir: self.dir(volume),
                    name: self.file_name(),
                }
            }
            0..6 => {
                let (dir, name) = self.entry(volume);
                let tree = self.tree(volume);
                let is_dir = tree
                    .child(dir, &name)
                    .is_some_and(|i| tree.nodes[&i].is_dir());
                Step::Unlink {
                    volume,
                    dir,
                    name,
                    dir_wanted: is_dir != self.random.one_in(12),
                }
            }
            6..12 => {
                let from = self.entry(volume);
                let to = if self.random.one_in(2) {
                    self.entry(volume)
                } else {
                    (self.dir(volume), self.file_name())
                };
                let how = self.random.below(20);
                let (no_replace, exchange) = (how < 4, (4..9).contains(&how));
                Step::Rename {
                    volume,
                    from,
                    to,
                    no_replace,
                    exchange,
                }
            }
            12 if self.reference.handles.len() < 4 => Step::OpenHandle {
                volume,
                ino: self.file(volume).unwrap_or(1),
            },
            _ => {
                let open: Vec<(VolumeNumber, Ino)> =
                    self.reference.handles.keys().copied().collect();
                match self.random.pick(&open) {
                    Some((volume, ino)) => Step::CloseHandle {
                        volume: *volume,
                        ino: *ino,
                    },
                    None => Step::OpenHandle {
                        volume,
                        ino: self.file(volume).unwrap_or(1),
                    },
                }
            }
        }
    }

    fn attributes(&mut self, volume: VolumeNumber) -> Step {
        let ino = self.some(volume, |_| true).unwrap_or(1);
        let name =
            [&b"user.a"[..], b"user.b", b"security.c"][self.random.below(3) as usize].to_vec();
        match self.random.below(6) {
            0..2 => {
                let mut maybe = |value: u32| {
                    if self.random.one_in(2) {
                        Some(value)
                    } else {
                        None
                    }
                };
                let owner = (maybe(0o600), maybe(1000), maybe(100));
                let time = self.random.below(1 << 60) as i64 - (1 << 59);
                let times = (
                    self.random.one_in(3).then_some(time),
                    self.random.one_in(3).then_some(-time),
                );
                Step::SetAttributes {
                    volume,
                    ino,
                    owner,
                    times,
                }
            }
            2..5 => {
                let length = if self.random.one_in(8) {
                    5000
                } else {
                    self.random.below(40) as usize
                };
                let create = [None, None, Some(true), Some(false)][self.random.below(4) as usize];
                Step::SetXattr {
                    volume,
                    ino,
                    name,
                    value: Random::bytes(self.random.next_u64(), length),
                    create,
                }
            }
            _ => {
                let marked = self.some(volume, |n| !n.xattrs.is_empty()).unwrap_or(ino);
                let names = self
                    .tree(volume)
                    .nodes
                    .get(&marked)
                    .map_or_else(Vec::new, |n| n.xattrs.keys().cloned().collect());
                let name = self.random.pick(&names).cloned().unwrap_or(name);
                Step::RemoveXattr {
                    volume,
                    ino: marked,
                    name,
                }
            }
        }
    }
}
