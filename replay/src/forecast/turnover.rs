//! Follows the live tree of a volume through the journal, and tells which versions it loses, and which places change.

use crate::trees::versions_that_differ;
use std::collections::BTreeMap;
use std::sync::Arc;
use strand_engine::{
    BlockRef, Error, EventTime, Place, Seq, State, Store, Volume, VolumeId, fold, owner,
};

/// A commit boundary: the tree is as it is here until the next one.
#[derive(Copy, Clone, Debug)]
pub(super) struct Boundary {
    /// Elapsed ns.
    pub(super) elapsed: u64,
    /// The wall's time of it.
    pub(super) time: EventTime,
    /// Versions born later have this address or a greater one.
    pub(super) born: u64,
}

/// A version that the live tree had at a boundary, and has no more.
#[derive(Copy, Clone, Debug)]
pub(super) struct Lost {
    /// The address of its birth.
    pub(super) addr: u64,
    /// Where it was live before, gone, and live again: since when. What a rollback brings back counts as if it were written then.
    pub(super) since: Option<u64>,
}

impl Lost {
    /// Says whether the tree at a boundary had it, given that it had it before it was lost.
    pub(super) fn is_in(&self, elapsed: u64, born: u64) -> bool {
        match self.since {
            Some(since) => since <= elapsed,
            None => self.addr < born,
        }
    }
}

/// A place whose version a commit changed.
#[derive(Copy, Clone, Debug)]
pub(super) struct Change {
    /// Where.
    pub(super) place: Place,
    /// The address of the birth of the version that was there; `None` where nothing was.
    pub(super) before: Option<u64>,
    /// Whether the version that is there now was born in this commit.
    pub(super) written: bool,
}

/// Who counts.
pub(super) trait Watch {
    /// The volume is there from this boundary on. Also where the fold begins again: what was counted before is void.
    fn begins(&mut self, at: Boundary);
    /// The tree stayed as it was at `before` until `until`, elapsed ns.
    fn stood(&mut self, before: Boundary, until: u64) -> Result<(), Error>;
    /// A commit took these versions away.
    fn lost(&mut self, at: Boundary, lost: &[Lost]) -> Result<(), Error>;
    /// A commit changed these places, each once.
    fn changed(&mut self, _at: Boundary, _changes: &[Change]) -> Result<(), Error> {
        Ok(())
    }
}

/// Follows a volume to the end of the journal; gives the last boundary. Costs a fold, and what changed of the tree at each commit.
pub(super) fn follow(
    store: &Store,
    volume: VolumeId,
    watch: &mut dyn Watch,
) -> Result<Option<Boundary>, Error> {
    let mut follower = Follower {
        id: volume,
        before: None,
        back: BTreeMap::new(),
        failed: None,
        seen: 0,
    };
    let reader = store.journal().reader();
    let mut beginning = |_| store.beginning();
    let end = fold::fold_from(
        &reader,
        &mut beginning,
        Some(store.state().boundary),
        &mut |state, placed| {
            if placed.seq <= follower.seen {
                // The fold began again, because an event goes back to a position it had not kept.
                follower.before = None;
                follower.back.clear();
            }
            follower.seen = placed.seq;
            if state.seq == state.boundary {
                follower.at_boundary(state, placed.first.0, watch);
            }
        },
    )?;
    follower.at_boundary(&end, u64::MAX, watch);
    match follower.failed {
        Some(error) => Err(error),
        None => Ok(follower.before.map(|(boundary, _)| boundary)),
    }
}

struct Follower {
    id: VolumeId,
    /// The last boundary, and the volume there.
    before: Option<(Boundary, Arc<Volume>)>,
    /// Versions that are live again after they were not, and since when.
    back: BTreeMap<u64, u64>,
    failed: Option<Error>,
    seen: Seq,
}

impl Follower {
    fn at_boundary(&mut self, state: &State, born: u64, watch: &mut dyn Watch) {
        if self.failed.is_some() {
            return;
        }
        let Some(now) = state.volume(self.id) else {
            return;
        };
        let at = Boundary {
            elapsed: state.elapsed,
            time: state.time,
            born,
        };
        let Some((before, then)) = self.before.take() else {
            watch.begins(at);
            self.before = Some((at, Arc::clone(now)));
            return;
        };
        let told = watch.stood(before, at.elapsed).and_then(|()| {
            if then.live.inodes.ptr_eq(&now.live.inodes) {
                return Ok(());
            }
            let (changes, lost) = self.differences(&then, now, before.born, at.elapsed);
            watch.changed(at, &changes)?;
            match lost.is_empty() {
                true => Ok(()),
                false => watch.lost(at, &lost),
            }
        });
        self.failed = told.err();
        self.before = Some((at, Arc::clone(now)));
    }

    /// The places that changed, and the versions that the tree had and has not, each once; notes those that it has again.
    fn differences(
        &mut self,
        then: &Volume,
        now: &Volume,
        born: u64,
        elapsed: u64,
    ) -> (Vec<Change>, Vec<Lost>) {
        let mut changes: Vec<Change> = Vec::new();
        let mut lost = Vec::new();
        let mut again = Vec::new();
        versions_that_differ(&then.live, &now.live, &mut |place, version, before| {
            let addr = version.addr().0;
            note_change(&mut changes, (place, version), before, born);
            if before && !owner::maps(&now.live, &now.spread, version, place) {
                lost.push(addr);
            }
            if !before && addr < born && !owner::maps(&then.live, &now.spread, version, place) {
                again.push(addr);
            }
        });
        lost.sort_unstable();
        lost.dedup();
        let lost = lost.into_iter().map(|addr| Lost {
            addr,
            since: self.back.remove(&addr),
        });
        let lost = lost.collect();
        self.back
            .extend(again.into_iter().map(|addr| (addr, elapsed)));
        (changes, lost)
    }
}

/// A version that was at a place, or is there now; what was there comes first.
fn note_change(
    changes: &mut Vec<Change>,
    (place, version): (Place, BlockRef),
    before: bool,
    born: u64,
) {
    let addr = version.addr().0;
    let written = !before && addr >= born;
    match changes.last_mut() {
        Some(change) if !before && change.place == place => change.written = written,
        _ => changes.push(Change {
            place,
            before: before.then_some(addr),
            written,
        }),
    }
}
