//! What the mounts and the control socket of one store share.

use crate::actors::Actors;
use crate::committer::Committer;
use crate::live::LiveOptions;
use crate::metrics::Metrics;
use crate::settler::Settler;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use strand_engine::{Store, VolumeId};

/// A store and what runs beside it.
#[derive(Debug)]
pub(crate) struct Core {
    // Before the store: they must let go of it first.
    pub(crate) committer: Committer,
    pub(crate) settler: Settler,
    pub(crate) store: Arc<Store>,
    pub(crate) options: LiveOptions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) actors: Actors,
    gates: Mutex<HashMap<VolumeId, Arc<Gate>>>,
}

/// The gate of a volume: requests of mounts hold it shared while they are carried out, which never blocks; whoever swaps the tree under them
/// holds it alone while it looks at handles and swaps, and no longer.
pub(crate) type Gate = RwLock<()>;

impl Core {
    pub(crate) fn new(store: Store, options: LiveOptions) -> Self {
        let store = Arc::new(store);
        let metrics = Arc::new(Metrics::default());
        Self {
            committer: Committer::start(store.clone(), metrics.clone(), options.commit_every),
            settler: Settler::start(store.clone()),
            store,
            options,
            metrics,
            actors: Actors::default(),
            gates: Mutex::default(),
        }
    }

    /// The gate of a volume.
    pub(crate) fn gate(&self, volume: VolumeId) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(volume).or_default().clone()
    }
}
