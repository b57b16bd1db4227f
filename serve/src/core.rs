//! What the mounts and the control socket of one store share.

use crate::actors::Actors;
use crate::committer::Committer;
use crate::housekeeper::Housekeeper;
use crate::live::LiveOptions;
use crate::metrics::Metrics;
use crate::settler::Settler;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use strand_engine::{Store, VolumeId};

/// A store and what runs beside it.
#[derive(Debug)]
pub(crate) struct Core {
    // Before the store: they must let go of it first.
    pub(crate) committer: Committer,
    pub(crate) settler: Settler,
    pub(crate) housekeeper: Housekeeper,
    pub(crate) store: Arc<Store>,
    pub(crate) options: LiveOptions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) actors: Actors,
    gates: Mutex<Gates>,
}

/// The gate of a volume: requests hold it shared while they are carried out, which never blocks; whoever swaps the tree under them holds it
/// alone while it looks at handles and swaps, and no longer. Inside is how often that happened.
pub(crate) type Gate = RwLock<u64>;
/// The gate, held by a request.
pub(crate) type Inside<'a> = RwLockReadGuard<'a, u64>;
/// The gates that anybody went through.
pub(crate) type Gates = BTreeMap<VolumeId, Arc<Gate>>;

impl Core {
    pub(crate) fn new(store: Store, options: LiveOptions) -> Self {
        let store = Arc::new(store);
        let metrics = Arc::new(Metrics::default());
        Self {
            committer: Committer::start(store.clone(), metrics.clone(), options.commit_every),
            settler: Settler::start(store.clone()),
            housekeeper: Housekeeper::start(store.clone()),
            store,
            options,
            metrics,
            actors: Actors::default(),
            gates: Mutex::default(),
        }
    }

    /// The gate of a volume.
    pub(crate) fn gate(&self, volume: VolumeId) -> Arc<Gate> {
        self.gates().entry(volume).or_default().clone()
    }

    /// All gates; while this is held, nobody comes to one that is not among them.
    pub(crate) fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
