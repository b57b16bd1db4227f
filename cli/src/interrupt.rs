//! Ctrl-C and SIGTERM. A command that can stop in good order listens, and looks at the flag between two steps; any other
//! ends at once with exit code 130. Either way the store is as after a power cut at that moment: what was acknowledged stays.

use crate::error::{Failure, Outcome};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use strand_engine::{Kind, Refusal};

static LISTENING: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);
static JSON: AtomicBool = AtomicBool::new(false);

/// Waits for signals on a thread of its own, for as long as the process lives.
pub(crate) fn watch(json: bool) {
    JSON.store(json, Ordering::Relaxed);
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    let _ = std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                // A second signal ends even a command that listens: it may be stuck.
                if ASKED.swap(true, Ordering::SeqCst) || !LISTENING.load(Ordering::SeqCst) {
                    stop_here();
                }
            }
        });
}

fn stop_here() -> ! {
    let failure = Failure::from(
        Refusal::new(Kind::Interrupted, "interrupted").why("what was committed stays"),
    );
    failure.say(JSON.load(Ordering::Relaxed));
    let _ = std::io::stderr().flush();
    std::process::exit(i32::from(Kind::Interrupted.exit_code()))
}

/// While it lives, the command promises to look at [`asked`] often.
pub(crate) struct Listening(());

impl Listening {
    /// From now on.
    pub(crate) fn start() -> Self {
        LISTENING.store(true, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.store(false, Ordering::SeqCst);
    }
}

/// Says whether the command was asked to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Fails where the command was asked to stop; `stays` says what is kept.
pub(crate) fn check(doing: &str, stays: &str) -> Outcome {
    if asked() {
        return Err(
            Refusal::new(Kind::Interrupted, format!("interrupted while {doing}"))
                .why(stays)
                .into(),
        );
    }
    Ok(())
}
