//! The thread that counts bulk movements of ownership, so that no commit has to.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
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
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Settler {
    /// Starts the thread; without one, commits count as they do elsewhere.
    pub(crate) fn start(store: Arc<Store>) -> Self {
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let theirs = stop.clone();
        let settling = store.clone();
        let thread = std::thread::Builder::new()
            .name("settler".into())
            .spawn(move || run(&settling, &theirs));
        match &thread {
            Ok(_) => store.settle_elsewhere(),
            Err(error) => tracing::warn!(%error, "no thread for the settler"),
        }
        Self {
            stop,
            thread: thread.ok(),
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_one();
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            tracing::error!("the settler had died");
        }
    }
}

fn run(store: &Store, (stop, wake): &(Mutex<bool>, Condvar)) {
    let mut looks = 0;
    loop {
        let stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = match wake.wait_timeout_while(stopped, TICK, |stopped| !*stopped) {
            Ok((stopped, _)) => *stopped,
            Err(poisoned) => *poisoned.into_inner().0,
        };
        if stopped {
            return;
        }
        let unsettled = store.unsettled();
        looks = if unsettled == 0 { 0 } else { looks + 1 };
        if unsettled >= MANY || looks >= PATIENCE {
            looks = 0;
            if let Err(error) = store.settle() {
                tracing::warn!(%error, "bulk movements wait to be counted");
            }
        }
    }
}
