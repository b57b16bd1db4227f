//! Which events the log shows.

use super::back::Logged;
use super::labels::actor_label;
use super::touch;
use std::collections::BTreeSet;
use strand_engine::{
    Actor, ActorId, CheckpointId, Event, EventTime, Fileset, Ino, Seq, State, VolumeId,
};

/// What to show. Everything that is given must hold; an empty filter shows all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Events of this volume.
    pub volume: Option<VolumeId>,
    /// Events of these files (see [`files_at`]), and those that changed the whole volume.
    pub files: Option<BTreeSet<Ino>>,
    /// Events that change this block of their file.
    pub block: Option<u64>,
    /// Not before this time, in ns since the Unix epoch.
    pub since: Option<EventTime>,
    /// Not after this time, in ns since the Unix epoch.
    pub until: Option<EventTime>,
    /// A part of the actor's name, login or command line, or a pid or uid.
    pub actor: Option<String>,
    /// Kinds of events, by their stable names; empty for all. `copied-out`, `handed-down`, `handed-in` and `released` find counted
    /// bulk movements too.
    pub kinds: Vec<String>,
    /// Events that name this checkpoint.
    pub checkpoint: Option<CheckpointId>,
}

/// A filter with its actors looked up.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) filter: Filter,
    actors: Option<BTreeSet<ActorId>>,
    /// Checkpoints that the volume asked for is a member of, and administrative changes that concern it: their events name no volume.
    checkpoints: BTreeSet<CheckpointId>,
    changes: BTreeSet<Seq>,
}

impl Chosen {
    pub(crate) fn new(filter: &Filter, state: &State) -> Self {
        let actors = filter.actor.as_deref().map(|wanted| {
            state
                .actors
                .iter()
                .filter(|(_, actor)| answers_to(actor, wanted))
                .map(|(id, _)| *id)
                .collect()
        });
        let all = state.checkpoints.iter().chain(&state.removed_checkpoints);
        let member = |volumes: &[VolumeId]| filter.volume.is_some_and(|v| volumes.contains(&v));
        Self {
            actors,
            checkpoints: all
                .filter(|(_, c)| member(&c.volumes))
                .map(|(id, _)| *id)
                .collect(),
            changes: state
                .changes
                .iter()
                .filter(|c| member(&c.volumes))
                .map(|c| c.seq)
                .collect(),
            filter: filter.clone(),
        }
    }

    /// Says whether nothing at or before this time can match.
    pub(crate) fn is_past(&self, time: EventTime) -> bool {
        self.filter.since.is_some_and(|since| time < since)
    }

    pub(crate) fn matches(&self, logged: &Logged) -> bool {
        let Filter {
            volume,
            files,
            block,
            since,
            until,
            actor: _,
            kinds,
            checkpoint,
        } = &self.filter;
        let event = &logged.event;
        since.is_none_or(|t| logged.time >= t)
            && until.is_none_or(|t| logged.time <= t)
            && self
                .actors
                .as_ref()
                .is_none_or(|set| set.contains(&logged.actor))
            && (kinds.is_empty() || kinds.iter().any(|kind| is_kind(event, kind)))
            && volume
                .is_none_or(|v| touch::concerns_volume(event, v) || self.concerns_members(event))
            && files
                .as_ref()
                .is_none_or(|set| touch::is_volume_wide(event) || concerns_file(event, set))
            && block.is_none_or(|b| touch::touches_block(event, logged.blocks, b))
            && checkpoint.is_none_or(|wanted| names(event, wanted))
    }

    /// Says whether an event without a volume of its own concerns the one asked for.
    fn concerns_members(&self, event: &Event) -> bool {
        match event {
            Event::Undone { change, .. } => self.changes.contains(change),
            event if event.volume().is_some() => false,
            event => {
                let mut member = false;
                touch::checkpoints(event, |id| member |= self.checkpoints.contains(&id));
                member
            }
        }
    }
}

/// A bulk movement answers to the kinds of what it moved as well.
fn is_kind(event: &Event, kind: &str) -> bool {
    event.kind() == kind
        || matches!(event, Event::Settled { shifts, .. } if shifts.iter().any(|shift| touch::shift_kind(shift) == kind))
}

fn names(event: &Event, wanted: CheckpointId) -> bool {
    let mut named = false;
    touch::checkpoints(event, |id| named |= id == wanted);
    named
}

fn concerns_file(event: &Event, files: &BTreeSet<Ino>) -> bool {
    let over = match event {
        Event::Renamed {
            over: Some((ino, _)),
            ..
        } => files.contains(ino),
        _ => false,
    };
    over || event.file().is_some_and(|ino| files.contains(&ino))
}

fn answers_to(actor: &Actor, wanted: &str) -> bool {
    let number = wanted.parse::<u32>().ok();
    number.is_some_and(|n| n == actor.pid || n == actor.uid)
        || [
            actor.name.as_str(),
            &actor.login,
            &actor.command,
            &actor_label(actor),
        ]
        .iter()
        .any(|text| text.contains(wanted))
}

/// The inodes that a path means, in the live tree and in every checkpoint of the volume; a directory means all below it.
/// Empty where no tree knows the path.
#[must_use]
pub fn files_at(state: &State, volume: VolumeId, path: &[u8]) -> BTreeSet<Ino> {
    let mut files = BTreeSet::new();
    if let Some(volume) = state.volume(volume) {
        let images = volume.images.values().map(|image| &image.root);
        for tree in std::iter::once(&volume.live).chain(images) {
            if let Some(ino) = tree.lookup(path) {
                add_tree(tree, ino, &mut files);
            }
        }
    }
    files
}

fn add_tree(tree: &Fileset, top: Ino, files: &mut BTreeSet<Ino>) {
    let mut seen = BTreeSet::new();
    let mut todo = vec![top];
    while let Some(ino) = todo.pop() {
        if seen.insert(ino) {
            todo.extend(
                tree.inode(ino)
                    .and_then(|i| i.names())
                    .into_iter()
                    .flat_map(|names| names.values().copied()),
            );
        }
    }
    files.extend(seen);
}
