//! A progress bar on standard error: only on a terminal, only for what takes longer than a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Nothing is drawn before this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Progress of one long piece of work.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    visible: bool,
    shown: Mutex<bool>,
}

impl Progress {
    /// Of `total` bytes (0 where unknown), with a word that says what is done.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Self {
        Self::new(
            what,
            total,
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )
    }

    /// Of `total` things (0 where unknown).
    pub(crate) fn count(what: &'static str, total: u64) -> Self {
        Self::new(
            what,
            total,
            "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
        )
    }

    fn new(what: &'static str, total: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        let visible = stderr().is_terminal();
        Self {
            bar,
            started: Instant::now(),
            visible,
            shown: Mutex::new(false),
        }
    }

    /// So much is done.
    pub(crate) fn set(&self, done: u64) {
        self.bar.set_position(done);
        self.show_when_late();
    }

    /// So much more is done.
    pub(crate) fn advance(&self, by: u64) {
        self.bar.inc(by);
        self.show_when_late();
    }

    /// The whole is so much.
    pub(crate) fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    fn show_when_late(&self) {
        if !self.visible || self.started.elapsed() < PATIENCE {
            return;
        }
        if let Ok(mut shown) = self.shown.lock()
            && !*shown
        {
            *shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
