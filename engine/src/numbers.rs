//! What a rollback changes, in numbers: the dry run and the run print the same.

use crate::block::BLOCK;
use crate::event::Event;
use crate::state::{Fileset, State};
use crate::views::Views;
use serde::Serialize;

/// The difference between a live tree and what it becomes.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Numbers {
    /// Files whose content or attributes change.
    pub files_changed: u64,
    /// Files and directories that come back.
    pub files_back: u64,
    /// Files and directories that go.
    pub files_gone: u64,
    /// Blocks that get another version, appear or disappear.
    pub blocks: u64,
    /// The same, in bytes.
    pub bytes: u64,
}

impl Numbers {
    fn count_blocks(
        &mut self,
        before: Option<&crate::state::BlockMap>,
        after: Option<&crate::state::BlockMap>,
    ) {
        let empty = crate::state::BlockMap::new();
        let blocks = before
            .unwrap_or(&empty)
            .diff(after.unwrap_or(&empty))
            .count() as u64;
        self.blocks += blocks;
        self.bytes += blocks * BLOCK;
    }

    /// Adds another volume's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            files_changed: self.files_changed + other.files_changed,
            files_back: self.files_back + other.files_back,
            files_gone: self.files_gone + other.files_gone,
            blocks: self.blocks + other.blocks,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// What a whole volume's rollback changes. Costs what differs.
#[must_use]
pub fn rollback_numbers(live: &Fileset, target: &Fileset) -> Numbers {
    let mut numbers = Numbers::default();
    for change in live.inodes.diff(&target.inodes) {
        match (change.before, change.after) {
            (Some(_), Some(_)) => numbers.files_changed += 1,
            (None, Some(_)) => numbers.files_back += 1,
            (Some(_), None) => numbers.files_gone += 1,
            (None, None) => {}
        }
        let map = |inode: Option<&std::sync::Arc<crate::state::Inode>>| {
            inode.and_then(|i| i.file()).map(|f| f.map.clone())
        };
        numbers.count_blocks(map(change.before).as_ref(), map(change.after).as_ref());
    }
    numbers
}

/// What the events of a file rollback change, judged against the state before them.
#[must_use]
pub fn file_numbers(state: &State, views: &Views, events: &[Event]) -> Numbers {
    let mut numbers = Numbers::default();
    let mut restored = std::collections::BTreeSet::new();
    for event in events {
        match event {
            Event::FileRestored {
                volume,
                ino,
                source,
                from,
                ..
            } => {
                let Some(tree) = views.tree(state, *source) else {
                    continue;
                };
                let live = state
                    .volume(*volume)
                    .and_then(|v| v.live.inode(*ino))
                    .cloned();
                if live.is_some() && restored.insert(*ino) {
                    numbers.files_changed += 1;
                }
                let after = tree
                    .inode(*from)
                    .and_then(|i| i.file())
                    .map(|f| f.map.clone());
                numbers.count_blocks(
                    live.as_ref().and_then(|i| i.file()).map(|f| &f.map),
                    after.as_ref(),
                );
            }
            Event::Created { .. } => numbers.files_back += 1,
            Event::Unlinked { volume, ino, .. } => {
                numbers.files_gone += 1;
                let live = state
                    .volume(*volume)
                    .and_then(|v| v.live.inode(*ino))
                    .cloned();
                if let Some(live) = live.filter(|i| i.nlink <= 1) {
                    numbers.count_blocks(live.file().map(|f| &f.map), None);
                }
            }
            Event::AttributesSet { volume, ino, .. } => {
                let living = state
                    .volume(*volume)
                    .is_some_and(|v| v.live.inode(*ino).is_some());
                numbers.files_changed += u64::from(living && restored.insert(*ino));
            }
            _ => {}
        }
    }
    numbers
}
