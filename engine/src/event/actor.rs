//! Who did it.

use serde::{Deserialize, Serialize};

/// How well an actor is known (design: the grade).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// The process that made the call: uid, pid, start time, name.
    Caller,
    /// Write-back of mapped pages: those who hold the file open, not surely the writer.
    Handle,
    /// A `strand` command: arguments, uid, login, reason.
    Command,
    /// The program itself (recovery, settlement, schedules).
    Program,
}

/// Who did it. Interned: an event names an [`ActorId`](crate::ActorId).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// How well it is known.
    pub grade: Grade,
    /// User id.
    pub uid: u32,
    /// Process id.
    pub pid: u32,
    /// Start time of the process, in clock ticks since boot, 0 where unknown (a pid comes back, the pair does not).
    pub started: u64,
    /// The process's name.
    pub name: String,
    /// The command line, for [`Grade::Command`].
    pub command: String,
    /// The login name, where known.
    pub login: String,
    /// What the person gave as `--reason`.
    pub reason: String,
}

impl Actor {
    /// The program itself.
    #[must_use]
    pub fn program() -> Self {
        Self {
            grade: Grade::Program,
            uid: 0,
            pid: 0,
            started: 0,
            name: "strand".into(),
            command: String::new(),
            login: String::new(),
            reason: String::new(),
        }
    }
}
