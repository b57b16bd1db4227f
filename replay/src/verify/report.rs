//! What a verification found.

use super::Phase;
use serde::Serialize;
use std::fmt;
use strand_engine::last_verify::BadVersion;
use strand_engine::{Damage, EventTime, Seq, Store};

/// The most findings that a report lists; more are counted.
const MAX_FINDINGS: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing acknowledged is lost.
    Notice,
    /// Stored bytes are wrong, or contradict each other.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it: `store-file`, `header`, `payload`, `event`, `copied-out`, `ledger`, `digest`, `state-file`, `base-state`, `anchor`, `tail`, `moved`.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
    /// The segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// The offset in the segment or file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The number of the event concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The volume's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The path in the volume, or the name of a file of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The block of that file, the first where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// How many data blocks side by side it stands for; 0 where it is not about data blocks.
    #[serde(skip_serializing_if = "is_zero")]
    pub blocks: u64,
    /// The number of the event that wrote the last of them, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<Seq>,
    /// Which trees show the block: `live`, names of checkpoints; empty where no tree does any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shown_by: Vec<String>,
}

impl Finding {
    pub(crate) fn new(severity: Severity, check: &'static str, what: impl Into<String>) -> Self {
        Self {
            severity,
            check,
            what: what.into(),
            segment: None,
            offset: None,
            seq: None,
            volume: None,
            file: None,
            block: None,
            blocks: 0,
            last_seq: None,
            shown_by: Vec::new(),
        }
    }

    pub(crate) fn damage(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Severity::Damage, check, what)
    }

    pub(crate) fn at(mut self, seq: Seq) -> Self {
        self.seq = Some(seq);
        self
    }

    pub(crate) fn on_disk(mut self, segment: u64, offset: u64) -> Self {
        (self.segment, self.offset) = (Some(segment), Some(offset));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let (Some(segment), Some(offset)) = (self.segment, self.offset) {
            write!(f, ", segment {segment} offset {offset}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", seq {seq}")?;
        }
        if let Some(last) = self.last_seq {
            write!(f, "–{last}")?;
        }
        if let Some(volume) = &self.volume {
            write!(f, ", volume {volume}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ", file {file}")?;
        }
        if let Some(block) = self.block {
            match self.blocks {
                0 | 1 => write!(f, ", block {block}")?,
                more => write!(f, ", blocks {block}–{}", block + more - 1)?,
            }
        }
        Ok(())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How an anchor fared.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum AnchorResult {
    /// Nothing up to that number was altered since it was noted down.
    Proved {
        /// The number.
        seq: Seq,
    },
    /// The journal's hash at that number is another: something before it was altered.
    Differs {
        /// The number.
        seq: Seq,
        /// The hash found.
        found: String,
    },
    /// No sound frame ends at that number: the journal ends before, is damaged there, or the number was never an anchor.
    Missing {
        /// The number.
        seq: Seq,
        /// The last number there is.
        last: Seq,
    },
}

/// Sums over what was looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Segments.
    pub segments: u64,
    /// Frames whose header was checked.
    pub frames: u64,
    /// Events.
    pub events: u64,
    /// Payload blocks that are there.
    pub payload_blocks: u64,
    /// Payload blocks whose space was given back.
    pub given_back: u64,
    /// Blocks that a tree shows and whose frames have moved away.
    pub older: u64,
    /// Versions that a tree maps and that lie elsewhere than where they were written.
    pub moved: u64,
    /// Bytes of headers and payload that were read.
    pub bytes_read: u64,
    /// Open-epochs: how often the store was opened for writing.
    pub epochs: u64,
    /// Commands whose copy-outs were recomputed.
    pub commands: u64,
    /// Before-images that passed to a checkpoint by an event of their own, in blocks.
    pub copied_out: u64,
    /// Ledgers of checkpoints that were compared with a walk of all roots.
    pub ledgers: u64,
    /// Recorded digests that were recomputed.
    pub digests: u64,
    /// State files that were compared.
    pub state_files: u64,
}

/// How long a phase took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// What is not as it should be, in journal order; at most 1,000.
    pub findings: Vec<Finding>,
    /// Findings beyond those listed.
    pub more_findings: u64,
    /// Sums.
    pub totals: Totals,
    /// The first number that the chain was followed from, without a gap, to `proved_to`.
    pub proved_from: Seq,
    /// The last number of that stretch.
    pub proved_to: Seq,
    /// Time of that event, in ns since the Unix epoch.
    pub proved_to_time: EventTime,
    /// The chain hash there, in hexadecimal digits: the anchor to keep.
    pub chain: String,
    /// Payload blocks were read.
    pub data: bool,
    /// The versions whose blocks are damaged, in journal order; a bounded number.
    #[serde(skip)]
    pub bad_versions: Vec<BadVersion>,
    /// How many more there are.
    #[serde(skip)]
    pub more_bad_versions: u64,
    /// The number that the fold began after: 0 where it began with the first event.
    pub folded_from: Seq,
    /// The last number folded; the same as `folded_from` where nothing was.
    pub folded_to: Seq,
    /// The digest of the state there, in hexadecimal digits; empty where nothing could be folded.
    pub digest: String,
    /// How the anchor fared, where one was given.
    pub anchor: Option<AnchorResult>,
    /// How long each phase took.
    pub phases: Vec<PhaseTime>,
}

impl Report {
    /// Says whether no damage was found, and the anchor, if one was given, holds.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.more_findings == 0 && self.findings.iter().all(|f| f.severity < Severity::Damage)
    }
}

/// Findings on their way into a report.
pub(crate) struct Findings {
    list: Vec<Finding>,
    more: u64,
}

impl Findings {
    /// With what opening the store found already.
    pub(crate) fn new(store: &Store) -> Self {
        let mut findings = Self {
            list: Vec::new(),
            more: 0,
        };
        if let Some(damage) = &store.opening().damage {
            findings.damage("event", damage);
        }
        let Some(recovery) = &store.opening().recovery else {
            return findings;
        };
        if let Some(damage) = &recovery.damage {
            let what = format!(
                "{}; numbers {} to {} cannot be read",
                damage.reason, damage.first_number, damage.last_number
            );
            let mut finding = Finding::damage("header", what)
                .on_disk(damage.segment, damage.offset)
                .at(damage.first_number);
            finding.file = damage.missing_file();
            findings.push(finding);
        }
        if let Some(torn) = &recovery.torn {
            let what = format!(
                "a write that was never acknowledged was cut off ({})",
                torn.reason
            );
            let offset = u64::from(torn.block) * strand_journal::BLOCK_SIZE as u64;
            findings.push(
                Finding::new(Severity::Notice, "tail", what)
                    .on_disk(torn.segment, offset)
                    .at(torn.number),
            );
        }
        findings
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        let known = |f: &&Finding| {
            f.check == finding.check
                && f.segment.is_some()
                && (f.segment, f.offset) == (finding.segment, finding.offset)
        };
        if self.list.iter().rev().take(16).any(|f| known(&f)) {
            return;
        }
        tracing::debug!(%finding, check = finding.check, "verify");
        if self.list.len() < MAX_FINDINGS {
            self.list.push(finding);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn damage(&mut self, check: &'static str, damage: &Damage) {
        let mut finding = Finding::damage(check, damage.what.clone());
        (finding.seq, finding.offset, finding.file) =
            (damage.seq, damage.offset, damage.place.clone());
        self.push(finding);
    }

    pub(crate) fn anchor(&mut self, result: Option<&AnchorResult>) {
        let (seq, what) = match result {
            None | Some(AnchorResult::Proved { .. }) => return,
            Some(AnchorResult::Differs { seq, found }) => (
                *seq,
                format!(
                    "the chain hash is {found}, not the anchor's: something before it was altered"
                ),
            ),
            Some(AnchorResult::Missing { seq, last }) => (
                *seq,
                format!("no sound frame ends at the anchor's number; the last number is {last}"),
            ),
        };
        self.push(Finding::damage("anchor", what).at(seq));
    }

    pub(crate) fn finish(self, report: &mut Report) {
        report.findings = self.list;
        report
            .findings
            .sort_by_key(|f| (f.seq.unwrap_or(Seq::MAX), f.segment, f.offset));
        report.more_findings = self.more;
    }
}
