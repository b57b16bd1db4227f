//! Threads that look after something again and again until they are told to stop.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that looks every so often. Dropping it ends the thread, after the look under way.
#[derive(Debug)]
pub(crate) struct Ticker {
    name: &'static str,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread; the first look is at once. Where there is no thread, nobody looks, and the log says so: [`Ticker::runs`].
    pub(crate) fn start(
        name: &'static str,
        every: Duration,
        mut look: impl FnMut() + Send + 'static,
    ) -> Self {
        let stop: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let theirs = stop.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                loop {
                    look();
                    let (stop, wake) = &*theirs;
                    let stopped = stop.lock().unwrap_or_else(PoisonError::into_inner);
                    let stopped = match wake.wait_timeout_while(stopped, every, |stopped| !*stopped)
                    {
                        Ok((stopped, _)) => *stopped,
                        Err(poisoned) => *poisoned.into_inner().0,
                    };
                    if stopped {
                        return;
                    }
                }
            });
        if let Err(error) = &thread {
            tracing::warn!(%error, "no thread for the {name}");
        }
        Self {
            name,
            stop,
            thread: thread.ok(),
        }
    }

    /// Says whether anybody looks.
    pub(crate) fn runs(&self) -> bool {
        self.thread.is_some()
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_one();
        if self.thread.take().is_some_and(|t| t.join().is_err()) {
            tracing::error!("the {} had died", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn it_looks_until_it_is_dropped() {
        let looks = Arc::new(AtomicU64::new(0));
        let theirs = looks.clone();
        let ticker = Ticker::start("test", Duration::from_millis(1), move || {
            theirs.fetch_add(1, Ordering::Relaxed);
        });
        while looks.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        assert!(ticker.runs());
        drop(ticker);
        assert_eq!(Arc::strong_count(&looks), 1, "the thread is gone");
    }
}
