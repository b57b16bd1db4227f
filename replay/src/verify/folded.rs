//! The fold from the first event, with everything that can be compared on the way.

use super::copies::CopyOuts;
use super::ledger::Ledgers;
use super::report::{Finding, Findings, Report};
use super::walk::Walked;
use super::{Options, Phase, Progress};
use crate::check::hex;
use crate::prefix;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::digest::{DigestCache, digest};
use strand_engine::{Error, Seq, State, Store, statefile};
use strand_journal::Start;

/// Progress is told every so many events.
const TELL_EVERY: u64 = 16_384;

/// What the fold gave.
pub(crate) struct Folded {
    /// The position that it began after.
    pub(crate) from: Seq,
    /// The state reached, and its digest.
    pub(crate) state: State,
    pub(crate) digest: u128,
    /// Digests by position: those recorded, and those of state files.
    pub(crate) digests: BTreeMap<Seq, u128>,
    commands: u64,
    copied_out: u64,
    ledgers: u64,
    compared: u64,
}

impl Folded {
    pub(crate) fn add_to(&self, report: &mut Report) {
        let totals = &mut report.totals;
        (totals.commands, totals.copied_out) = (self.commands, self.copied_out);
        (totals.ledgers, totals.digests) = (self.ledgers, self.compared);
        (report.folded_from, report.folded_to) = (self.from, self.state.seq);
        report.digest = hex(self.digest);
    }
}

struct Watch<'a> {
    wanted: BTreeSet<Seq>,
    next: Option<Seq>,
    digests: BTreeMap<Seq, u128>,
    cache: DigestCache,
    copies: CopyOuts,
    ledgers: Ledgers,
    findings: &'a mut Findings,
}

impl Watch<'_> {
    /// The state after an event (or the one to begin with).
    fn state(&mut self, state: &State) {
        if self.next.is_some_and(|next| next <= state.seq) {
            if self.wanted.contains(&state.seq) {
                self.digests
                    .insert(state.seq, digest(state, &mut self.cache));
            }
            self.next = self.wanted.range(state.seq + 1..).next().copied();
        }
        if state.seq == state.boundary {
            self.copies.end(state, self.findings);
        }
    }
}

/// Folds all that the walk proved, comparing on the way. `None` where there is nothing to begin with: the state that stands for what has moved
/// away is damaged, which is a finding.
pub(crate) fn fold(
    store: &Store,
    walked: &Walked,
    options: &Options,
    progress: &(dyn Fn(Progress) + Sync),
    findings: &mut Findings,
) -> Result<Option<Folded>, Error> {
    let reader = store.journal().reader();
    let until = walked.proved.0;
    let base = if options.from_scratch {
        None
    } else {
        newest_state_file(store, walked)
    };
    let (state, start) = match base {
        Some(base) => base,
        None => match store.beginning() {
            Ok(beginning) => beginning,
            Err(Error::Damage(damage)) => {
                findings.push(bad_base(walked, damage.to_string()));
                return Ok(None);
            }
            Err(error) => return Err(error),
        },
    };
    let from = state.seq;
    let own = store.state();
    let mut wanted: BTreeSet<Seq> = walked.marks.digests.keys().copied().collect();
    wanted.extend(walked.state_files.iter().map(|(seq, _)| *seq));
    let next = wanted.range(from..).next().copied();
    let mut watch = Watch {
        wanted,
        next,
        digests: BTreeMap::new(),
        cache: DigestCache::default(),
        copies: CopyOuts::default(),
        ledgers: Ledgers::default(),
        findings,
    };
    // A pin before the base cannot be kept; folding then needs the start, which `base` sees to.
    let folder = prefix::fold(
        &reader,
        (state, start),
        walked.marks.pins.clone(),
        Some(until),
        &mut |state, placed| {
            watch.state(state);
            watch.copies.event(state, placed);
            watch.ledgers.event(state, placed, watch.findings);
            if placed.seq.is_multiple_of(TELL_EVERY) {
                progress(Progress {
                    phase: Phase::Fold,
                    done: placed.seq,
                    total: until,
                });
            }
        },
    )?;
    if let Some(damage) = folder.damage() {
        watch.findings.damage("event", damage);
    } else if let Some(missing) = folder.missing().first() {
        let what = format!("an event goes back to seq {missing}, which cannot be folded");
        watch
            .findings
            .push(Finding::damage("event", what).at(folder.state.seq + 1));
    }
    let state = folder.state;
    watch.state(&state);
    watch.ledgers.end(&state, watch.findings);
    progress(Progress {
        phase: Phase::Fold,
        done: state.seq,
        total: until.max(state.seq),
    });
    let last = digest(&state, &mut DigestCache::default());
    let Watch {
        digests,
        copies,
        ledgers,
        ..
    } = watch;
    let compared = compare(walked, &digests, findings);
    if own.seq == state.seq && digest(&own, &mut DigestCache::default()) != last {
        findings.push(
            Finding::damage(
                "digest",
                "the state that the store was opened with is not what its events give",
            )
            .at(own.seq),
        );
    }
    let (commands, copied_out) = copies.counts();
    Ok(Some(Folded {
        from,
        state,
        digest: last,
        digests,
        commands,
        copied_out,
        ledgers: ledgers.compared(),
        compared,
    }))
}

/// What is wrong with the base state: nothing can put it together again.
pub(crate) fn bad_base(walked: &Walked, what: impl Into<String>) -> Finding {
    let seq = walked.first.saturating_sub(1);
    let file = format!("{}/{}", statefile::STATE_DIR, statefile::name(seq));
    Finding {
        file: Some(file),
        ..Finding::damage("base-state", what).at(seq)
    }
}

fn compare(walked: &Walked, digests: &BTreeMap<Seq, u128>, findings: &mut Findings) -> u64 {
    let mut compared = 0;
    for (at, recorded) in &walked.marks.digests {
        let Some(found) = digests.get(at) else {
            continue;
        };
        compared += 1;
        if found != recorded {
            let what = format!(
                "the journal records the digest {}, the fold gives {}",
                hex(*recorded),
                hex(*found)
            );
            findings.push(Finding::damage("digest", what).at(*at));
        }
    }
    compared
}

/// The newest state file that loads, lies on the proved chain and before every position that a later event goes back to.
fn newest_state_file(store: &Store, walked: &Walked) -> Option<(State, Start)> {
    let id = store.journal().store();
    let usable = walked.state_files.iter().rev().filter(|(seq, _)| {
        *seq <= walked.proved.0 && walked.marks.pins.first().is_none_or(|pin| seq <= pin)
    });
    usable
        .filter_map(|(_, name)| statefile::load(&**store.disk(), name, id).ok())
        .find(|(_, start)| walked.has_chain(start))
}
