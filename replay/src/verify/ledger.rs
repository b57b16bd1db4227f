//! The double entry: what the ledger of each checkpoint says it owns, against a walk of every root.

use super::report::{Finding, Findings};
use crate::trees::versions_that_differ;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::owner::{maps, marked_brute, marking_image, newest_image, owned_brute};
use strand_engine::{CheckpointId, Event, Placed, State, Volume, VolumeId};

/// The most blocks, over all roots of a volume, that are walked by brute force.
const BRUTE_BLOCKS: u64 = 8_000_000;
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
                | Event::CheckpointConverted { .. }
                | Event::CheckpointDropped { .. }
                | Event::CheckpointGivenUp { .. }
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
            let cost = mapped(volume);
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
        let (owned, marked) = if mapped(volume) <= BRUTE_BLOCKS {
            (owned_brute(volume), marked_brute(volume))
        } else {
            (owned_by_difference(volume), marked_by_difference(volume))
        };
        for (id, image) in &volume.images {
            self.compared += 1;
            let truth = |of: &BTreeMap<CheckpointId, u64>| of.get(id).copied().unwrap_or(0);
            for (does, books, truth) in [
                ("owns", image.ledger.owned(), truth(&owned)),
                ("marks", image.marks, truth(&marked)),
            ] {
                if books == truth {
                    continue;
                }
                let name = state
                    .checkpoints
                    .get(id)
                    .map_or_else(|| id.to_string(), |c| c.name.to_string());
                let what =
                    format!("checkpoint {name} {does} {truth} blocks, its ledger says {books}");
                let finding = Finding::damage("ledger", what).at(state.seq);
                findings.push(Finding {
                    volume: Some(volume.name.to_string()),
                    ..finding
                });
            }
        }
    }
}

/// Blocks mapped over all roots of a volume: what a walk of them costs.
fn mapped(volume: &Volume) -> u64 {
    volume
        .images
        .values()
        .fold(volume.live.blocks, |sum, image| {
            sum.saturating_add(image.root.blocks)
        })
}

/// What every checkpoint owns, from the difference of each image to the next newer tree: what both map at the same place the older does
/// not own. Costs what differs; for volumes that are too large to walk.
fn owned_by_difference(volume: &Volume) -> BTreeMap<CheckpointId, u64> {
    let mut owned: BTreeMap<CheckpointId, u64> = volume.images.keys().map(|id| (*id, 0)).collect();
    let mut newer = &volume.live;
    for (id, image) in volume.images.data_newest_first() {
        let mut mine = 0;
        // Only a version at several places can be met twice.
        let mut spread = BTreeSet::new();
        versions_that_differ(&image.root, newer, &mut |place, version, is_mine| {
            let address = version.addr().0;
            if is_mine
                && !spread.contains(&address)
                && !maps(&volume.live, &volume.spread, version, place)
                && newest_image(&volume.images, &volume.spread, version, place) == Some(id)
            {
                mine += 1;
                if volume.spread.get(address).is_some() {
                    spread.insert(address);
                }
            }
        });
        owned.insert(id, mine);
        newer = &image.root;
    }
    owned
}

/// What every nodata checkpoint marks, in the same way.
fn marked_by_difference(volume: &Volume) -> BTreeMap<CheckpointId, u64> {
    let mut marked = BTreeMap::new();
    let mut newer = &volume.live;
    for (id, image) in volume.images.iter().rev() {
        if image.nodata {
            let (mut mine, mut spread) = (0, BTreeSet::new());
            versions_that_differ(&image.root, newer, &mut |place, version, is_mine| {
                let address = version.addr().0;
                if is_mine
                    && !spread.contains(&address)
                    && !maps(&volume.live, &volume.spread, version, place)
                    && marking_image(&volume.images, &volume.spread, version, place) == Some(*id)
                {
                    mine += 1;
                    if volume.spread.get(address).is_some() {
                        spread.insert(address);
                    }
                }
            });
            marked.insert(*id, mine);
        }
        newer = &image.root;
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use strand_engine::{Actor, BLOCK, Command, InitOptions, ManualClock, NewBody, Store, StoreId};
    use strand_journal::MemoryDisk;

    #[test]
    fn both_ways_to_count_ownership_agree() {
        let me = Actor::program();
        let options = InitOptions {
            segment_size: 4 << 20,
            capacity: None,
            store: StoreId([3; 16]),
        };
        let clock = Arc::new(ManualClock::new(1 << 60));
        let store =
            Store::init(Arc::new(MemoryDisk::new()), clock, options, &me).expect("a new disk");
        let run = |command| store.submit(&me, command).expect("a sound command");
        run(Command::VolumeCreate {
            name: "v".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        });
        let volume = store.state().volume_named("v").expect("made above").id;
        let live = || {
            store
                .state()
                .volume(volume)
                .expect("made above")
                .live
                .clone()
        };
        let dir = live().root;
        let file = |name: &str| {
            let (name, body) = (name.as_bytes().into(), NewBody::File);
            run(Command::Create {
                volume,
                dir,
                name,
                body,
                mode: 0o644,
                uid: 0,
                gid: 0,
            });
        };
        file("a");
        file("b");
        let files = [
            live().lookup(b"a").expect("made above"),
            live().lookup(b"b").expect("made above"),
        ];
        let mut dice = 1_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        for step in 0..120_u64 {
            let ino = files[roll(2) as usize];
            let offset = roll(20) * BLOCK;
            let done = match roll(5) {
                0 => store
                    .copy_range(
                        &me,
                        volume,
                        files[0],
                        offset,
                        files[1],
                        roll(20) * BLOCK,
                        3 * BLOCK,
                    )
                    .map(drop),
                1 => store.punch(&me, volume, ino, offset, 2 * BLOCK).map(drop),
                _ => store
                    .write(
                        &me,
                        volume,
                        ino,
                        offset,
                        &[step as u8 | 1; 3 * BLOCK as usize],
                    )
                    .map(drop),
            };
            done.expect("room for all");
            if step % 15 == 7 {
                let name = Some(format!("c{step}"));
                run(Command::CheckpointCreate {
                    name,
                    volumes: vec![volume],
                    nomount: false,
                    removable: false,
                    nodata: step % 2 == 0,
                    note: String::new(),
                });
            }
            let state = store.state();
            let now = state.volume(volume).expect("made above");
            assert_eq!(
                owned_by_difference(now),
                owned_brute(now),
                "after step {step}"
            );
            assert_eq!(
                marked_by_difference(now),
                marked_brute(now),
                "after step {step}"
            );
        }
        let owned: u64 = owned_brute(store.state().volume(volume).expect("made above"))
            .values()
            .sum();
        assert!(owned > 20);
    }
}
