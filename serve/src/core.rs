//! What the mounts and the control socket of one store share.

use crate::actors::Actors;
use crate::committer::Committer;
use crate::errno::errno;
use crate::housekeeper::Housekeeper;
use crate::live::LiveOptions;
use crate::metrics::Metrics;
use crate::settler::Settler;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use strand_engine::{Error, Kind, Store, VolumeId};

/// A change is tried so often: others may take the room that was made for it.
const TRIES: usize = 4;

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

/// An error that may say that there is no room.
pub(crate) trait MaybeFull {
    /// Whether it does.
    fn is_full(&self) -> bool;
    /// As such an error.
    fn of(error: Error) -> Self;
}

impl MaybeFull for Error {
    fn is_full(&self) -> bool {
        self.kind() == Kind::NoSpace
    }

    fn of(error: Error) -> Self {
        error
    }
}

impl MaybeFull for Errno {
    fn is_full(&self) -> bool {
        *self == Errno::NOSPC
    }

    fn of(error: Error) -> Self {
        errno(&error)
    }
}

impl Core {
    pub(crate) fn new(store: Store, options: LiveOptions) -> Self {
        let store = Arc::new(store);
        store.make_room_elsewhere();
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

    /// Does what changes files and may find the store full; if so, makes room for so many blocks and does it again. No gate is held meanwhile: `change` goes through
    /// its gate each time.
    pub(crate) fn with_room<T, E: MaybeFull>(
        &self,
        blocks: u64,
        change: &mut dyn FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..TRIES {
            let full = match change() {
                Err(error) if error.is_full() => error,
                other => return other,
            };
            if !self.store.make_room(blocks).map_err(E::of)? {
                return Err(full);
            }
        }
        change()
    }

    /// All gates; while this is held, nobody comes to one that is not among them.
    pub(crate) fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
