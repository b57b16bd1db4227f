//! The thread that counts bulk movements of ownership, so that no commit has to.

use crate::ticker::Ticker;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::Store;

/// How often it looks.
const TICK: Duration = Duration::from_millis(250);
/// So many movements are counted at once; fewer wait for a quiet moment, at most [`PATIENCE`] looks.
const MANY: u64 = 64;
const PATIENCE: u32 = 4;

/// The settler of a store.
#[derive(Debug)]
pub(crate) struct Settler {
    _ticker: Ticker,
}

impl Settler {
    /// Starts the thread; without one, commits count as they do elsewhere.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let settling = store.clone();
        let mut looks = 0;
        let ticker = Ticker::start("settler", TICK, move || look(&settling, &mut looks));
        if ticker.runs() {
            store.settle_elsewhere();
        }
        Self { _ticker: ticker }
    }
}

fn look(store: &Store, looks: &mut u32) {
    let unsettled = store.unsettled();
    *looks = if unsettled == 0 { 0 } else { *looks + 1 };
    if unsettled >= MANY || *looks >= PATIENCE {
        *looks = 0;
        if let Err(error) = store.settle() {
            tracing::warn!(%error, "bulk movements wait to be counted");
        }
    }
}
