//! State files against the fold.

use super::folded::{Folded, bad_base};
use super::report::{Finding, Findings};
use super::walk::Walked;
use super::{Phase, Progress};
use strand_engine::digest::{DigestCache, digest};
use strand_engine::{Error, Seq, Store, statefile};

/// Loads every state file and compares its digest and its place in the chain; gives how many were compared.
pub(crate) fn check(
    store: &Store,
    walked: &Walked,
    folded: Option<&Folded>,
    progress: &(dyn Fn(Progress) + Sync),
    findings: &mut Findings,
) -> Result<u64, Error> {
    let total = walked.state_files.len() as u64;
    let mut compared = 0;
    for (done, (seq, name)) in walked.state_files.iter().enumerate() {
        progress(Progress {
            phase: Phase::StateFiles,
            done: done as u64,
            total,
        });
        let wrong = |what: &str| Finding {
            file: Some(name.clone()),
            ..Finding::damage("state-file", what).at(*seq)
        };
        match statefile::load(&**store.disk(), name, store.journal().store()) {
            // A writer beside this one removes what it needs no more.
            Err(_) if !list(store)?.iter().any(|(listed, _)| listed == seq) => {}
            // The base state is no file that can be done without, and a fold that began with it has told of it.
            Err(damage) if seq + 1 == walked.first => {
                if folded.is_some() {
                    findings.push(bad_base(walked, damage.to_string()));
                }
            }
            Err(damage) => findings.damage("state-file", &damage),
            Ok((state, start)) => {
                compared += 1;
                let found = digest(&state, &mut DigestCache::default());
                if state.seq != *seq || start.number != *seq + 1 {
                    findings.push(wrong(
                        "a state file's name and content are of different positions",
                    ));
                } else if *seq <= walked.proved.0 && !walked.has_chain(&start) {
                    findings.push(wrong("a state file lies on another chain than the journal"));
                } else if folded
                    .and_then(|folded| folded.digests.get(seq))
                    .is_some_and(|expected| *expected != found)
                {
                    findings.push(wrong(
                        "a state file holds another state than its events give",
                    ));
                }
            }
        }
    }
    Ok(compared)
}

/// The state files there are, oldest first. Those of before the store's beginning are left out: their events have moved away, nothing reads them any more, and
/// the next one that is written has them removed.
pub(crate) fn list(store: &Store) -> Result<Vec<(Seq, String)>, Error> {
    let first = store.journal().reader().origin().number;
    let mut files = statefile::list(&**store.disk())?;
    files.retain(|(seq, _)| seq.saturating_add(1) >= first);
    files.sort();
    Ok(files)
}
