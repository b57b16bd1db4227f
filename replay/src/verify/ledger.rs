//! The double entry: what the ledger of each checkpoint says it owns, against a walk of every root.

use super::report::{Finding, Findings};
use std::collections::BTreeSet;
use strand_engine::owner::owned_brute;
use strand_engine::{Event, Placed, State, Volume, VolumeId};

/// Blocks, over all roots, that walks on the way may cost together; the walk at the end is not counted.
const BUDGET_BLOCKS: u64 = 4_000_000;

/// Compares ledgers: at the end, and where checkpoints come and go as long as the budget lasts.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    spent: u64,
    compared: u64,
    /// The running command has changed nothing yet.
    quiet: bool,
}

impl Ledgers {
    /// Looks at the state before an event that changes checkpoints.
    pub(crate) fn event(&mut self, state: &State, placed: &Placed<'_>, findings: &mut Findings) {
        let changes_checkpoints = matches!(
            placed.event,
            Event::CheckpointCreated { .. }
                | Event::CheckpointRemoved { .. }
                | Event::RolledBack { .. }
                | Event::Settled { last: true, .. }
        );
        // Within a command, ledgers and roots may stand apart.
        let quiet = self.quiet || state.seq == state.boundary;
        self.quiet = quiet && matches!(placed.event, Event::ActorSeen { .. });
        if !changes_checkpoints || !quiet {
            return;
        }
        let members: BTreeSet<VolumeId> = match placed.event {
            Event::CheckpointCreated { volumes, .. } => volumes.iter().copied().collect(),
            _ => state.volumes.keys().copied().collect(),
        };
        for volume in members.iter().filter_map(|id| state.volume(*id)) {
            let cost =
                volume.live.blocks + volume.images.values().map(|i| i.root.blocks).sum::<u64>();
            if self.spent.saturating_add(cost) <= BUDGET_BLOCKS {
                self.spent += cost;
                self.compare(state, volume, findings);
            }
        }
    }

    /// Looks at the last state.
    pub(crate) fn end(&mut self, state: &State, findings: &mut Findings) {
        for volume in state.volumes.values() {
            self.compare(state, volume, findings);
        }
    }

    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    fn compare(&mut self, state: &State, volume: &Volume, findings: &mut Findings) {
        if volume.settling() || volume.images.is_empty() {
            return;
        }
        let owned = owned_brute(volume);
        for (id, image) in &volume.images {
            self.compared += 1;
            let (books, truth) = (image.ledger.owned(), owned.get(id).copied().unwrap_or(0));
            if books != truth {
                let name = state
                    .checkpoints
                    .get(id)
                    .map_or_else(|| id.to_string(), |c| c.name.to_string());
                let what =
                    format!("checkpoint {name} owns {truth} blocks, its ledger says {books}");
                let finding = Finding::damage("ledger", what).at(state.seq);
                findings.push(Finding {
                    volume: Some(volume.name.to_string()),
                    ..finding
                });
            }
        }
    }
}
