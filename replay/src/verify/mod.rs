//! Verification: everything that a store claims about itself, recomputed.
//!
//! `walk` follows the headers and the chain, `data` reads every payload block, `folded` folds the events from the start and
//! compares on the way, `copies` recomputes copy-outs, `ledger` counts ownership by brute force, `states` compares state files,
//! `place` finds out whose block a bad one is. `report` is what comes out.

mod copies;
mod data;
mod folded;
mod found;
mod ledger;
mod place;
mod report;
mod states;
mod walk;

pub use report::{AnchorResult, Finding, PhaseTime, Report, Severity, Totals};

use report::Findings;
use serde::Serialize;
use std::time::Instant;
use strand_engine::last_verify::{DataVerify, LastVerify};
use strand_engine::{Error, Seq, Store};
use strand_journal::ChainHash;

/// What to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Read every payload block and check its crc32, its leaf and the root.
    pub data: bool,
    /// A position and its chain hash, kept elsewhere.
    pub anchor: Option<(Seq, ChainHash)>,
    /// Fold from the first event. Otherwise from the newest sound state file, which leaves what came before it unproved.
    pub from_scratch: bool,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done: bytes in [`Phase::Headers`] and [`Phase::Data`], events in [`Phase::Fold`], files in [`Phase::StateFiles`].
    pub done: u64,
    /// How much there is, in the same unit.
    pub total: u64,
}

/// A part of a verification.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Frame headers, chain, times, numbers, epochs, events.
    Headers,
    /// Payload blocks.
    Data,
    /// The fold, with copy-outs, digests and ledgers.
    Fold,
    /// State files.
    StateFiles,
}

/// Verifies a store. Read-only access is enough. Damage is not an error: it is in the report.
///
/// # Errors
/// What the disk gives when it fails a call; damage that was found comes as findings.
pub fn verify(
    store: &Store,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    let mut findings = Findings::new(store);
    let mut report = Report::default();
    let timed = |report: &mut Report, phase, since: Instant| {
        report.phases.push(PhaseTime {
            phase,
            seconds: since.elapsed().as_secs_f64(),
        });
    };

    let begun = Instant::now();
    let walked = walk::walk(store, options, progress, &mut findings)?;
    report.totals = walked.totals;
    (report.proved_from, report.proved_to, report.proved_to_time) =
        (walked.first, walked.proved.0, walked.proved.1);
    report.chain = walked.proved.2.to_string();
    report.anchor = walked.anchor_result(options.anchor);
    findings.anchor(report.anchor.as_ref());
    timed(&mut report, Phase::Headers, begun);

    if options.data {
        let begun = Instant::now();
        data::check(store, &walked, progress, &mut findings, &mut report)?;
        timed(&mut report, Phase::Data, begun);
    }
    found::check(store, options.data, &mut findings, &mut report)?;

    let begun = Instant::now();
    let folded = folded::fold(store, &walked, options, progress, &mut findings)?;
    match &folded {
        Some(folded) => folded.add_to(&mut report),
        None => {
            let from = walked.first.saturating_sub(1);
            (report.folded_from, report.folded_to) = (from, from);
        }
    }
    timed(&mut report, Phase::Fold, begun);

    let begun = Instant::now();
    report.totals.state_files =
        states::check(store, &walked, folded.as_ref(), progress, &mut findings)?;
    timed(&mut report, Phase::StateFiles, begun);

    findings.finish(&mut report);
    Ok(report)
}

/// Keeps a report's outcome beside the journal, for whoever asks when the store was last verified, and so that no rollback goes to
/// what cannot be read. A verification without the data keeps what the one before knew of the data.
///
/// # Errors
/// [`Error::Journal`] where the store's directory cannot be written; nothing depends on it.
pub fn note(store: &Store, report: &Report) -> Result<(), Error> {
    let time = store.clock().wall();
    let data = if report.data {
        Some(DataVerify {
            time,
            seq: report.proved_to,
            bad: report.bad_versions.clone(),
            more: report.more_bad_versions,
        })
    } else {
        store.last_verify().ok().flatten().and_then(|l| l.data)
    };
    store.note_verified(&LastVerify {
        time,
        seq: report.proved_to,
        ok: report.ok(),
        data,
    })
}
