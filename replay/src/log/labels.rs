//! Names for numbers: what a volume, checkpoint, file or actor is called now, or was called when it went.

use crate::paths::Paths;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use strand_engine::{Actor, ActorId, Cause, CheckpointId, Grade, Ino, Source, State, VolumeId};

/// How many paths are remembered before the memory starts afresh.
const REMEMBERED: usize = 65_536;

/// Looks names up in one state.
pub struct Labels {
    state: State,
    trees: HashMap<VolumeId, Vec<Paths>>,
    known: HashMap<(VolumeId, Ino), Option<Vec<u8>>>,
    unknown: Arc<Actor>,
}

impl Labels {
    /// Of a state (a snapshot, cheap to hold).
    #[must_use]
    pub fn new(state: State) -> Self {
        let unknown = Arc::new(Actor {
            name: "unknown".into(),
            ..Actor::program()
        });
        Self {
            state,
            trees: HashMap::new(),
            known: HashMap::new(),
            unknown,
        }
    }

    /// A volume's name; `volume N` for one that is forgotten.
    #[must_use]
    pub fn volume(&self, id: VolumeId) -> String {
        let found = self
            .state
            .volumes
            .get(&id)
            .or_else(|| self.state.removed_volumes.get(&id));
        found.map_or_else(|| format!("volume {id}"), |v| v.name.to_string())
    }

    /// A checkpoint's name; `checkpoint N` for one that is forgotten.
    #[must_use]
    pub fn checkpoint(&self, id: CheckpointId) -> String {
        let found = self
            .state
            .checkpoints
            .get(&id)
            .or_else(|| self.state.removed_checkpoints.get(&id));
        found.map_or_else(|| format!("checkpoint {id}"), |c| c.name.to_string())
    }

    /// What an image is called.
    #[must_use]
    pub fn source(&self, source: Source) -> String {
        match source {
            Source::Live(volume) => self.volume(volume),
            Source::Checkpoint(_, checkpoint) => self.checkpoint(checkpoint),
            Source::Position(_, seq) => format!("seq:{seq}"),
        }
    }

    /// Who an actor is.
    #[must_use]
    pub fn actor(&self, id: ActorId) -> Arc<Actor> {
        self.state.actors.get(&id).unwrap_or(&self.unknown).clone()
    }

    /// A path of a file: its present one, else the one in the newest checkpoint that has it.
    pub fn path(&mut self, volume: VolumeId, ino: Ino) -> Option<Vec<u8>> {
        if let Some(known) = self.known.get(&(volume, ino)) {
            return known.clone();
        }
        let state = &self.state;
        let trees = self.trees.entry(volume).or_insert_with(|| {
            let Some(volume) = state
                .volumes
                .get(&volume)
                .or_else(|| state.removed_volumes.get(&volume))
            else {
                return Vec::new();
            };
            let images = volume
                .images
                .values()
                .rev()
                .chain(volume.removed_images.values().rev());
            std::iter::once(&volume.live)
                .chain(images.map(|i| &i.root))
                .map(|tree| Paths::new(tree.clone()))
                .collect()
        });
        let found = trees.iter_mut().find_map(|paths| paths.path(ino));
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert((volume, ino), found.clone());
        found
    }

    /// A file's path as text; `inode N` for one without.
    pub fn file(&mut self, volume: VolumeId, ino: Ino) -> String {
        match self.path(volume, ino) {
            Some(path) if path.is_empty() => "/".into(),
            Some(path) => crate::paths::text(&path),
            None => format!("inode {ino}"),
        }
    }

    /// The path of an entry of a directory as text.
    pub fn entry(&mut self, volume: VolumeId, directory: Ino, name: &[u8]) -> String {
        let mut path = self.path(volume, directory).unwrap_or_default();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        crate::paths::text(&path)
    }
}

/// `sqlite3[812]`: an actor's name and pid, the name alone where there is no pid. Who only held the file open while mapped pages of it
/// were written back is told apart, `sqlite3[812] (handle)`: it is not surely the writer.
#[must_use]
pub fn actor_label(actor: &Actor) -> String {
    let name = if actor.pid == 0 {
        actor.name.clone()
    } else {
        format!("{}[{}]", actor.name, actor.pid)
    };
    match actor.grade {
        Grade::Handle => format!("{name} (handle)"),
        Grade::Caller | Grade::Command | Grade::Program => name,
    }
}

/// An actor for programs: all that is known of it, under the names that every output uses.
#[must_use]
pub fn actor_value(who: &Actor) -> Value {
    let grade = match who.grade {
        Grade::Caller => "caller",
        Grade::Handle => "handle",
        Grade::Command => "command",
        Grade::Program => "program",
    };
    json!({
        "grade": grade, "name": who.name, "pid": who.pid, "uid": who.uid, "started": who.started,
        "login": who.login, "command": who.command, "reason": who.reason,
    })
}

/// The stable name of a cause.
#[must_use]
pub fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Write => "write",
        Cause::Truncate => "truncate",
        Cause::Punch => "punch",
        Cause::Unlink => "unlink",
        Cause::RenameOver => "rename-over",
        Cause::Share => "share",
        Cause::Rollback => "rollback",
        Cause::FileRollback => "file-rollback",
        Cause::Reset => "reset",
        Cause::Removal => "removal",
        Cause::Restoration => "restoration",
        Cause::Resync => "resync",
        Cause::Conversion => "conversion",
        Cause::Quota => "quota",
    }
}

/// A number with a comma every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 block`, `3,412 blocks`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

#[cfg(test)]
mod tests {
    use super::{actor_label, counted, grouped};
    use strand_engine::{Actor, Grade};

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (3412, "3,412"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            (counted(1, "block"), counted(2, "block")),
            ("1 block".into(), "2 blocks".into())
        );
    }

    #[test]
    fn who_only_held_the_file_open_is_told_apart() {
        let mut actor = Actor {
            grade: Grade::Caller,
            name: "postgres".into(),
            pid: 812,
            ..Actor::program()
        };
        assert_eq!(actor_label(&actor), "postgres[812]");
        actor.grade = Grade::Handle;
        assert_eq!(actor_label(&actor), "postgres[812] (handle)");
    }
}
