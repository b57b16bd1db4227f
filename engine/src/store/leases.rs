//! Leases: who reads a view, so that nothing it stands on is given up or given back meanwhile.

use super::Store;
use crate::decide::in_reach;
use crate::error::Error;
use crate::event::Source;
use crate::ids::{Seq, VolumeId};
use crate::in_use::InUse;
use crate::reaper;
use crate::refusal::{Kind, Refusal};
use crate::state::Fileset;
use crate::views::without_orphans;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All leases of a store that is open here.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    held: BTreeMap<u64, Held>,
    /// The same, as `decide` wants it.
    in_use: Arc<InUse>,
}

#[derive(Debug)]
struct Held {
    source: Source,
    root: Fileset,
    by: String,
    /// The view may not be removed; else only its space is held.
    in_the_way: bool,
    /// By the monotonic clock, in ns.
    until: Option<u64>,
}

/// A view that stays readable. Given back by dropping it, or at its expiry.
#[derive(Debug)]
pub struct Lease {
    id: u64,
    leases: Arc<Leases>,
}

/// A lease, as lists show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseInfo {
    /// What is read.
    pub source: Source,
    /// Who reads it.
    pub by: String,
    /// How long it still holds; `None`: until it is given back.
    pub left: Option<Duration>,
    /// It stands in the way of whoever removes what is read; else it only keeps the space from being given back.
    pub in_the_way: bool,
    /// Blocks that the view maps.
    pub blocks: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.leases.lock();
        let held = inner.held.remove(&self.id);
        if held.is_some() {
            inner.list();
        }
        drop(inner); // every command asks for it
        if let Some(held) = held {
            held.let_go();
        }
    }
}

impl Held {
    /// Whoever does this may hold the store's lock.
    fn let_go(self) {
        reaper::let_go(self, |held| &held.root);
    }
}

impl Inner {
    fn list(&mut self) {
        let held = self.held.values();
        self.in_use = Arc::new(InUse {
            held: held
                .filter(|held| held.in_the_way)
                .map(|held| (held.source, held.by.clone()))
                .collect(),
            ..InUse::default()
        });
    }

    fn expire(&mut self, now: u64) {
        let over = |held: &mut Held| held.until.is_some_and(|until| until <= now);
        let expired = self.held.extract_if(.., |_, held| over(held));
        if expired.map(|(_, held)| held.let_go()).count() > 0 {
            self.list();
        }
    }
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is read.
    pub(super) fn in_use(&self, now: u64) -> Arc<InUse> {
        let mut inner = self.lock();
        inner.expire(now);
        inner.in_use.clone()
    }

    /// The trees that are read, and of what.
    pub(super) fn held(&self, now: u64) -> Vec<(Source, Fileset)> {
        let mut inner = self.lock();
        inner.expire(now);
        let held = inner.held.values();
        held.map(|held| (held.source, held.root.clone())).collect()
    }
}

impl Store {
    /// Holds a view for somebody who reads it: `by` says who, for people. The tree is the one that [`Store::view`] gave. Without a time it
    /// holds until it is dropped.
    #[must_use]
    pub fn lease(
        &self,
        source: Source,
        root: Fileset,
        by: String,
        time: Option<Duration>,
    ) -> Lease {
        self.hold(source, root, by, true, time)
    }

    /// A view for whoever wants its files, and a lease that holds it from the start: what was seen before there was a lease may be gone.
    ///
    /// # Errors
    /// As [`Store::view_with_data`].
    pub fn leased_view(
        &self,
        source: Source,
        by: String,
        time: Option<Duration>,
    ) -> Result<(Fileset, Lease), Error> {
        let tree = self.view_with_data(source)?;
        let lease = self.hold_from_the_start(source, &tree, by, true, time)?;
        Ok((tree, lease))
    }

    /// As [`Store::leased_view`], but the lease, which holds until it is dropped, stands in the way of nobody who removes the view.
    ///
    /// # Errors
    /// As [`Store::view_with_data`].
    pub fn kept_view(&self, source: Source, by: String) -> Result<(Fileset, Lease), Error> {
        let tree = self.view_with_data(source)?;
        let lease = self.hold_from_the_start(source, &tree, by, false, None)?;
        Ok((tree, lease))
    }

    /// A lease for somebody who opens the view elsewhere, and the commit boundary of the tree that it holds: of a live tree the present one.
    ///
    /// # Errors
    /// As [`Store::view`].
    pub fn lease_of(
        &self,
        source: Source,
        by: String,
        time: Option<Duration>,
    ) -> Result<(Seq, Lease), Error> {
        match source {
            Source::Live(volume) => self.lease_live(volume, by, time),
            Source::Checkpoint(..) | Source::Position(..) => {
                let tree = self.view(source)?;
                let boundary = match source {
                    Source::Position(_, seq) => seq,
                    Source::Live(_) | Source::Checkpoint(..) => self.lock().state.boundary,
                };
                let lease = self.hold_from_the_start(source, &tree, by, true, time)?;
                Ok((boundary, lease))
            }
        }
    }

    fn lease_live(
        &self,
        volume: VolumeId,
        by: String,
        time: Option<Duration>,
    ) -> Result<(Seq, Lease), Error> {
        // Under one lock: what the tree shows is never without a lease.
        let inner = self.lock();
        self.still_true(&inner)?;
        let found = inner.state.volume(volume).ok_or_else(|| {
            Refusal::new(
                Kind::NotFound,
                "the volume, or the checkpoint's image of it, is not there",
            )
        })?;
        let tree = without_orphans(&found.live);
        let lease = self.lease(Source::Live(volume), tree, by, time);
        Ok((inner.state.boundary, lease))
    }

    /// Where a view can still be seen once there is a lease, whoever swept meanwhile left it alone, and from now on the lease holds it.
    fn hold_from_the_start(
        &self,
        source: Source,
        tree: &Fileset,
        by: String,
        in_the_way: bool,
        time: Option<Duration>,
    ) -> Result<Lease, Error> {
        let lease = self.hold(source, tree.clone(), by, in_the_way, time);
        match source {
            Source::Position(volume, seq) => in_reach(&self.state(), volume, seq)?,
            Source::Live(_) | Source::Checkpoint(..) => drop(self.view(source)?),
        }
        Ok(lease)
    }

    /// A lease holds what it held from the beginning, for so long from now on.
    ///
    /// # Errors
    /// [`Kind::Stale`] where it has expired: as [`Store::still_leased`].
    pub fn extend_lease(&self, lease: &Lease, time: Duration) -> Result<(), Error> {
        self.still_leased(lease)?;
        let until = self.until(time);
        if let Some(held) = self.leases.lock().held.get_mut(&lease.id) {
            held.until = Some(until);
        }
        Ok(())
    }

    /// By the monotonic clock.
    fn until(&self, time: Duration) -> u64 {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.clock.monotonic().saturating_add(ns)
    }

    fn hold(
        &self,
        source: Source,
        root: Fileset,
        by: String,
        in_the_way: bool,
        time: Option<Duration>,
    ) -> Lease {
        let until = time.map(|time| self.until(time));
        let mut inner = self.leases.lock();
        inner.next += 1;
        let id = inner.next;
        let held = Held {
            source,
            root,
            by,
            in_the_way,
            until,
        };
        inner.held.insert(id, held);
        inner.list();
        drop(inner);
        Lease {
            id,
            leases: self.leases.clone(),
        }
    }

    /// Fails where a lease has expired: what it held may be gone.
    ///
    /// # Errors
    /// [`Kind::Stale`].
    pub fn still_leased(&self, lease: &Lease) -> Result<(), Error> {
        let now = self.clock.monotonic();
        let mut inner = self.leases.lock();
        inner.expire(now);
        if inner.held.contains_key(&lease.id) {
            return Ok(());
        }
        Err(
            Refusal::new(Kind::Stale, "the view cannot be read any more")
                .why("its lease has expired")
                .next("open the view again")
                .into(),
        )
    }

    /// The leases there are.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseInfo> {
        let now = self.clock.monotonic();
        let mut inner = self.leases.lock();
        inner.expire(now);
        let held = inner.held.values();
        held.map(|held| LeaseInfo {
            source: held.source,
            by: held.by.clone(),
            left: held
                .until
                .map(|until| Duration::from_nanos(until.saturating_sub(now))),
            in_the_way: held.in_the_way,
            blocks: held.root.blocks,
        })
        .collect()
    }
}
