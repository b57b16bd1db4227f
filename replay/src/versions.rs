//! The versions of a file: every commit that changed its content, rollbacks among them.

use crate::diff::blocks_changed;
use crate::log::touch;
use serde::Serialize;
use std::sync::Arc;
use strand_engine::{
    Actor, ActorId, Error, Event, EventTime, FileBody, Fileset, Ino, Kind, Placed, Refusal, Seq,
    State, Store, VolumeId, fold,
};

/// One version of a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Version {
    /// The commit boundary from which on the file is so: `VOL@seq:N` shows it.
    pub seq: Seq,
    /// Its time, in ns since the Unix epoch.
    pub time: EventTime,
    /// Who did it.
    pub actor: Arc<Actor>,
    /// The kind of the event that did it.
    pub kind: &'static str,
    /// The size in bytes; `None` where the file is gone.
    pub size: Option<u64>,
    /// The number of blocks that differ from the version before.
    pub blocks_changed: u64,
}

/// The versions of the file at `path`, newest first. Where no file has that path at some time, the file that has it now (or had it
/// last) is followed under its other name. Costs a fold of the journal.
///
/// # Errors
/// [`Kind::NotFound`] where neither the live volume nor a checkpoint has such a path, [`Kind::IsADirectory`]; what folding gives.
pub fn versions(store: &Store, volume: VolumeId, path: &[u8]) -> Result<Vec<Version>, Error> {
    let state = store.state();
    let shown = crate::paths::text(path);
    let refuse = |kind, why: &str| {
        Refusal::new(kind, format!("cannot list the versions of {shown}")).why(why)
    };
    let Some(now) = state.volume(volume) else {
        return Err(refuse(Kind::NotFound, "there is no such volume").into());
    };
    let trees =
        || std::iter::once(&now.live).chain(now.images.values().rev().map(|image| &image.root));
    let Some((tree, ino)) = trees().find_map(|tree| Some((tree, tree.lookup(path)?))) else {
        return Err(refuse(
            Kind::NotFound,
            "neither the live volume nor a checkpoint has it",
        )
        .into());
    };
    if tree.inode(ino).is_some_and(|inode| inode.is_dir()) {
        return Err(refuse(Kind::IsADirectory, "it is a directory").into());
    }
    let mut history = History::new(volume, path, ino);
    let mut beginning = |_| store.beginning();
    let reader = store.journal().reader();
    let end = fold::fold_from(&reader, &mut beginning, None, &mut |state, placed| {
        history.event(state, placed)
    })?;
    history.settle(&end);
    Ok(history.versions(&end))
}

/// Where an event stands and who did it.
#[derive(Clone, Copy)]
struct Mark {
    seq: Seq,
    time: EventTime,
    actor: ActorId,
    kind: &'static str,
}

struct Found {
    mark: Mark,
    size: Option<u64>,
    blocks_changed: u64,
}

struct History<'a> {
    volume: VolumeId,
    path: &'a [u8],
    /// The inode that has the path now.
    ino: Ino,
    current: Option<(Ino, FileBody)>,
    /// The running command changed something that may be the file.
    touched: Option<Mark>,
    found: Vec<Found>,
    seen: Seq,
}

impl<'a> History<'a> {
    fn new(volume: VolumeId, path: &'a [u8], ino: Ino) -> Self {
        Self {
            volume,
            path,
            ino,
            current: None,
            touched: None,
            found: Vec::new(),
            seen: 0,
        }
    }

    fn event(&mut self, state: &State, placed: &Placed<'_>) {
        if placed.seq <= self.seen {
            // The fold began again, because an event goes back to a position it had not kept.
            *self = Self::new(self.volume, self.path, self.ino);
        }
        self.seen = placed.seq;
        if state.seq == state.boundary {
            self.settle(state);
        }
        let (seq, time, actor) = (placed.seq, placed.time, placed.actor);
        if self.may_change(placed.event) {
            self.touched = Some(Mark {
                seq,
                time,
                actor,
                kind: placed.event.kind(),
            });
        } else if let Some(mark) = &mut self.touched {
            // The boundary is the command's last event.
            (mark.seq, mark.time) = (seq, time);
        }
    }

    fn may_change(&self, event: &Event) -> bool {
        if matches!(event, Event::CopiedOut { .. } | Event::Settled { .. })
            || !touch::concerns_volume(event, self.volume)
        {
            return false;
        }
        let current = self.current.as_ref().map(|(ino, _)| *ino);
        let names = matches!(
            event,
            Event::Created { .. }
                | Event::Linked { .. }
                | Event::Unlinked { .. }
                | Event::Renamed { .. }
                | Event::Exchanged { .. }
        );
        names
            || touch::is_volume_wide(event)
            || event
                .file()
                .is_some_and(|ino| Some(ino) == current || ino == self.ino)
    }

    /// The state is at a commit boundary: compares the file with the version before.
    fn settle(&mut self, state: &State) {
        let Some(mark) = self.touched.take() else {
            return;
        };
        let next = state.volume(self.volume).and_then(|v| self.file(&v.live));
        let same = match (&self.current, &next) {
            (Some((_, before)), Some((_, after))) => {
                before.size == after.size && before.map == after.map
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            let body = |file: &Option<(Ino, FileBody)>| file.as_ref().map(|(_, body)| body.clone());
            let (before, after) = (body(&self.current), body(&next));
            let blocks_changed = blocks_changed(before.as_ref(), after.as_ref());
            self.found.push(Found {
                mark,
                size: after.map(|f| f.size),
                blocks_changed,
            });
        }
        self.current = next;
    }

    fn file(&self, tree: &Fileset) -> Option<(Ino, FileBody)> {
        let ino = tree.lookup(self.path).unwrap_or(self.ino);
        if tree.orphans.contains(&ino) {
            return None;
        }
        Some((ino, tree.inode(ino)?.file()?.clone()))
    }

    fn versions(self, state: &State) -> Vec<Version> {
        let unknown = Arc::new(Actor::program());
        let newest_first = self.found.into_iter().rev();
        newest_first
            .map(
                |Found {
                     mark,
                     size,
                     blocks_changed,
                 }| Version {
                    seq: mark.seq,
                    time: mark.time,
                    actor: state.actors.get(&mark.actor).unwrap_or(&unknown).clone(),
                    kind: mark.kind,
                    size,
                    blocks_changed,
                },
            )
            .collect()
    }
}
