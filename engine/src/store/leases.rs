//! Leases: who reads a view, so that nothing it stands on is given up or given back meanwhile.

use super::Store;
use crate::decide::in_reach;
use crate::error::Error;
use crate::event::Source;
use crate::in_use::InUse;
use crate::refusal::{Kind, Refusal};
use crate::state::Fileset;
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
    /// Nobody in particular, where the space is held but the view may be removed.
    by: Option<String>,
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
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut inner = self.leases.lock();
        inner.held.remove(&self.id);
        inner.list();
    }
}

impl Inner {
    fn list(&mut self) {
        let held = self.held.values();
        self.in_use = Arc::new(InUse {
            held: held
                .filter_map(|held| Some((held.source, held.by.clone()?)))
                .collect(),
            ..InUse::default()
        });
    }

    fn expire(&mut self, now: u64) {
        let before = self.held.len();
        self.held
            .retain(|_, held| held.until.is_none_or(|until| now < until));
        if self.held.len() != before {
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

    /// The trees that are read.
    pub(super) fn roots(&self, now: u64) -> Vec<Fileset> {
        let mut inner = self.lock();
        inner.expire(now);
        inner.held.values().map(|held| held.root.clone()).collect()
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
        self.hold(source, root, Some(by), time)
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
        let lease = self.lease(source, tree.clone(), by, time);
        // Where it can still be viewed, whoever swept meanwhile left it alone; from now on the lease holds it.
        match source {
            Source::Position(volume, seq) => in_reach(&self.state(), volume, seq)?,
            Source::Live(_) | Source::Checkpoint(..) => drop(self.view(source)?),
        }
        Ok((tree, lease))
    }

    /// Keeps what a view shows readable until the lease is dropped, without standing in the way of anybody who removes it.
    #[must_use]
    pub fn keep(&self, source: Source, root: Fileset) -> Lease {
        self.hold(source, root, None, None)
    }

    fn hold(
        &self,
        source: Source,
        root: Fileset,
        by: Option<String>,
        time: Option<Duration>,
    ) -> Lease {
        let until = time.map(|time| {
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.clock.monotonic().saturating_add(ns)
        });
        let mut inner = self.leases.lock();
        inner.next += 1;
        let id = inner.next;
        let held = Held {
            source,
            root,
            by,
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
        held.filter_map(|held| {
            Some(LeaseInfo {
                source: held.source,
                by: held.by.clone()?,
                left: held
                    .until
                    .map(|until| Duration::from_nanos(until.saturating_sub(now))),
            })
        })
        .collect()
    }
}
