//! Marks: which versions are alive. A version is, while any root maps it; what no root maps, and no window shows, can never come back.
//!
//! One bit for each birth address, set by a walk of all roots that visits shared subtrees once. The roots are frozen, so the walk runs beside
//! everything else, and what it finds dead stays so: a version comes back only through a root, and all of those were walked.

use crate::block::BlockRef;
use crate::radix::MetNodes;
use crate::space::Places;
use crate::state::{Fileset, State, Volume};
use std::sync::Arc;
use strand_journal::BlockAddr;

/// Bits of a page: 16 MiB of the journal. Where old versions lie thinly scattered, small pages keep this small.
const PAGE_BITS: u64 = 4096;
const PAGE_WORDS: usize = (PAGE_BITS / 64) as usize;

/// The versions that are alive, by the address of their birth.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    pages: Vec<Option<Box<[u64; PAGE_WORDS]>>>,
    /// Everything born here or later is alive.
    young: u64,
    blocks: u64,
}

impl Marks {
    /// Marks what the trees map, and everything born at `young` or later. `going` is asked now and then whether to go on; `None` where it said no.
    pub fn of(
        roots: &[Fileset],
        young: BlockAddr,
        going: &mut dyn FnMut() -> bool,
    ) -> Option<Self> {
        let mut marks = Self {
            young: young.0,
            ..Self::default()
        };
        let whole = each_version(roots, going, &mut |version| marks.mark(version.addr().0));
        whole.then_some(marks)
    }

    /// Marks what further trees map; gives how many versions only they do.
    pub fn add(&mut self, roots: &[Fileset]) -> u64 {
        let before = self.blocks;
        each_version(roots, &mut || true, &mut |version| {
            self.mark(version.addr().0);
        });
        self.blocks - before
    }

    #[inline]
    fn mark(&mut self, birth: u64) {
        if birth >= self.young {
            return;
        }
        // Below `young`, which is an address of the journal: there are no more pages than it has.
        let page = (birth / PAGE_BITS) as usize;
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let words = self.pages[page].get_or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let word = &mut words[(birth % PAGE_BITS / 64) as usize];
        let bit = 1 << (birth % 64);
        self.blocks += u64::from(*word & bit == 0);
        *word |= bit;
    }

    /// Says whether the version born at an address is alive.
    #[must_use]
    pub fn is_alive(&self, birth: u64) -> bool {
        birth >= self.young || self.word(birth) & (1 << (birth % 64)) != 0
    }

    /// How many versions are marked, without those that are young.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Everything born here or later is alive.
    #[must_use]
    pub fn young(&self) -> BlockAddr {
        BlockAddr(self.young)
    }

    fn word(&self, birth: u64) -> u64 {
        let page = self.pages.get((birth / PAGE_BITS) as usize);
        let words = page.and_then(Option::as_deref);
        words.map_or(0, |words| words[(birth % PAGE_BITS / 64) as usize])
    }

    /// How many marked versions were born at addresses from `first` up to `end` (exclusive).
    fn born_within(&self, first: u64, end: u64) -> u64 {
        let end = end.min(self.young);
        let mut at = first;
        let mut count = 0;
        while at < end {
            let next = (at / 64 + 1).saturating_mul(64).min(end);
            let mut word = self.word(at) >> (at % 64);
            if next - at < 64 {
                word &= (1 << (next - at)) - 1;
            }
            count += u64::from(word.count_ones());
            at = next;
        }
        count
    }

    /// How many living versions lie at addresses from `first` up to `end` (exclusive), which lie before [`Marks::young`]: born there and not
    /// moved away, or moved there.
    #[must_use]
    pub fn living(&self, places: &Places, first: u64, end: u64) -> u64 {
        let last = end.saturating_sub(1);
        let born = self.born_within(first, end);
        let moved = places.moved.range(first, last);
        let gone = moved.filter(|(birth, _)| self.is_alive(*birth)).count() as u64;
        let residents = places.residents.range(first, last);
        let came = residents
            .filter(|(_, birth)| self.is_alive(**birth))
            .count() as u64;
        born + came - gone
    }
}

/// Calls `visit` with the versions that trees map; what they share is visited once, or little more often. `going` is asked now and then whether to go on; says whether
/// all were visited.
pub fn each_version(
    roots: &[Fileset],
    going: &mut dyn FnMut() -> bool,
    visit: &mut impl FnMut(BlockRef),
) -> bool {
    let (mut inodes, mut met) = (MetNodes::new(), MetNodes::new());
    for root in roots {
        let mut stopped = false;
        root.inodes.visit_new(&mut inodes, &mut |found| {
            stopped |= !going();
            for inode in found.iter().filter(|_| !stopped) {
                let Some(file) = inode.file().filter(|file| !file.map.is_empty()) else {
                    continue;
                };
                // Two leaves may hold one inode.
                let shared = Arc::strong_count(inode) > 1;
                if shared && !met.is_new(Arc::as_ptr(inode).addr()) {
                    continue;
                }
                file.map.visit_new(&mut met, &mut |versions| {
                    versions.iter().copied().for_each(&mut *visit);
                });
            }
        });
        if stopped {
            return false;
        }
    }
    true
}

/// All roots of a state through which a version can be read now or come back: what is live, images with data, what undo may bring back, what clones are
/// reset to, what a rollback brought back within the window, and what waits to be counted.
pub fn roots_of(state: &State, roots: &mut Vec<Fileset>) {
    let volumes = state.volumes.values().chain(state.removed_volumes.values());
    volumes.for_each(|volume| roots_of_volume(volume, roots));
}

fn roots_of_volume(volume: &Volume, roots: &mut Vec<Fileset>) {
    roots.push(volume.live.clone());
    roots.extend(volume.origin.iter().map(|origin| origin.root.clone()));
    let removed = volume.removed_images.values();
    let images = volume.images.values().chain(removed);
    roots.extend(
        images
            .filter(|image| !image.nodata)
            .map(|image| image.root.clone()),
    );
    let returned = volume.returned.iter();
    roots.extend(returned.map(|returned| returned.root.clone()));
    for pending in &volume.pending {
        for waiting in [Some(&pending.before), pending.after.as_ref()]
            .into_iter()
            .flatten()
        {
            roots.push(waiting.live.clone());
            let images = waiting.images.values().filter(|image| !image.nodata);
            roots.extend(images.map(|image| image.root.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
