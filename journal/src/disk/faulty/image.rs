//! One file of the faulty disk: what the medium holds, what the cache shows, and the writes in between.

use super::seed::Seed;

const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Image {
    /// What a program reads.
    pub(super) seen: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Len(usize),
    Write { offset: usize, bytes: Vec<u8> },
}

impl Image {
    /// A new file of zeros. Its length is not durable yet.
    pub(super) fn new(len: usize) -> Image {
        Image {
            seen: vec![0; len],
            synced: Vec::new(),
            unsynced: vec![Change::Len(len)],
        }
    }

    pub(super) fn durable(bytes: Vec<u8>) -> Image {
        Image {
            seen: bytes.clone(),
            synced: bytes,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: Vec<u8>) {
        apply_write(&mut self.seen, offset, &bytes);
        self.unsynced.push(Change::Write { offset, bytes });
    }

    pub(super) fn extend(&mut self, len: usize) {
        if len > self.seen.len() {
            self.seen.resize(len, 0);
            self.unsynced.push(Change::Len(len));
        }
    }

    pub(super) fn flip(&mut self, offset: u64, mask: u8) -> bool {
        let Ok(at) = usize::try_from(offset) else {
            return false;
        };
        if let Some(byte) = self.synced.get_mut(at) {
            *byte ^= mask;
        }
        match self.seen.get_mut(at) {
            Some(byte) => *byte ^= mask,
            None => return false,
        }
        true
    }

    /// What the medium would hold if the cache were written out now: not what a failed flush lost.
    pub(super) fn medium(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in &self.unsynced {
            apply(&mut bytes, change);
        }
        bytes
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.synced, &change);
        }
    }

    /// Some of it reaches the medium; all of it counts as clean.
    pub(super) fn fail_sync(&mut self, seed: &mut Seed) {
        for change in std::mem::take(&mut self.unsynced) {
            if seed.coin() {
                apply(&mut self.synced, &change);
            }
        }
    }

    /// What a power loss leaves.
    pub(super) fn crash(&mut self, seed: &mut Seed) {
        let mut changes = std::mem::take(&mut self.unsynced);
        let mode = seed.below(5);
        match mode {
            0 => changes.clear(),
            1 => {}
            2 => changes.retain(|_| seed.coin()),
            3 => changes.truncate(seed.below(changes.len() as u64 + 1) as usize),
            _ => seed.shuffle(&mut changes),
        }
        let last = changes.len().saturating_sub(1);
        for (i, change) in changes.iter().enumerate() {
            match change {
                Change::Write { offset, bytes } if mode == 4 || (mode == 3 && i == last) => {
                    tear(&mut self.synced, *offset, bytes, seed);
                }
                other => apply(&mut self.synced, other),
            }
        }
        self.seen = self.synced.clone();
    }
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) if *len > image.len() => image.resize(*len, 0),
        Change::Len(_) => {}
        Change::Write { offset, bytes } => apply_write(image, *offset, bytes),
    }
}

fn apply_write(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if end > image.len() {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// Any of the sectors arrive. A write that does not begin at a sector's edge tears at the edges all the same.
fn tear(image: &mut Vec<u8>, offset: usize, bytes: &[u8], seed: &mut Seed) {
    let mut at = 0;
    while at < bytes.len() {
        let len = (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
        if seed.coin() {
            apply_write(image, offset + at, &bytes[at..at + len]);
        }
        at += len;
    }
}
