//! The thread that keeps a store in live use in order: space given back before it runs out, old archives let go.

use crate::ticker::Ticker;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::Store;

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// After a failure it waits for so many looks.
const PATIENCE: u32 = 60;

/// The housekeeper of a store.
#[derive(Debug)]
pub(crate) struct Housekeeper {
    store: Arc<Store>,
    ticker: Option<Ticker>,
}

impl Housekeeper {
    /// Starts the thread; without one, whoever finds the store full makes room.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let keeping = store.clone();
        let mut patience = 0;
        let ticker = Ticker::start("housekeeper", TICK, move || look(&keeping, &mut patience));
        Self {
            store,
            ticker: Some(ticker),
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        // What is half done goes on when the store is opened again. A look may be just about to begin: its job is told to end, too.
        let ending = self.store.jobs().end();
        drop(self.ticker.take());
        drop(ending); // the close may find something to do
    }
}

fn look(store: &Store, patience: &mut u32) {
    if *patience > 0 {
        *patience -= 1;
        return;
    }
    // Of a poisoned store everybody hears anyway.
    if store.health().is_err() {
        return;
    }
    if let Err(error) = store.housekeep() {
        tracing::warn!(%error, "space was not given back");
        *patience = PATIENCE;
    }
}
