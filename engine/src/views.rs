//! States at earlier positions, for events that name one.

use crate::event::Source;
use crate::ids::Seq;
use crate::state::{Fileset, State};
use std::collections::BTreeMap;

/// States at commit boundaries that events go back to, kept by whoever folds. Not part of the state.
#[derive(Clone, Debug, Default)]
pub struct Views(pub BTreeMap<Seq, State>);

impl Views {
    /// No views.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The tree that a source names, as an image holds it: without files that only open handles kept.
    #[must_use]
    pub fn tree(&self, state: &State, source: Source) -> Option<Fileset> {
        match source {
            Source::Live(volume) => Some(without_orphans(&state.volume(volume)?.live)),
            Source::Checkpoint(volume, checkpoint) => {
                Some(state.image(volume, checkpoint)?.root.clone())
            }
            Source::Position(volume, seq) => {
                Some(without_orphans(&self.0.get(&seq)?.volume(volume)?.live))
            }
        }
    }
}

/// A frozen image never holds files without a name: nobody could reach them.
pub(crate) fn without_orphans(tree: &Fileset) -> Fileset {
    let mut tree = tree.clone();
    for ino in std::mem::take(&mut tree.orphans) {
        if let Some(inode) = tree.inodes.remove(ino.0) {
            tree.blocks -= inode.blocks();
        }
    }
    tree
}
