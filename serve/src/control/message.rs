//! What is said over the control socket. Append-only: a variant or field is never changed or reused, new variants go at the end, and
//! [`PROTOCOL`] counts up with them. [`Request::Hello`] and its answers keep their bytes for ever, so that two versions can at least
//! tell each other apart.

use crate::Figures;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use strand_engine::jobs::{JobInfo, JobState};
use strand_engine::{
    Actor, Command, Defragged, Done, Durable, Event, EventTime, Ino, Kind, MovedArchives,
    Reclaimed, Refusal, Seq, Source, Ticket, Trail, VolumeId,
};
use strand_journal::ChainHash;

/// The version of what is said here.
pub const PROTOCOL: u32 = 4;

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// The first request of all: which version the client speaks.
    Hello {
        /// [`PROTOCOL`] of the client.
        version: u32,
        /// Its program, with its version.
        program: String,
    },
    /// Who commands from now on. The daemon believes the texts only: user and process are what the kernel says.
    Begin(Actor),
    /// Make durable what was carried out; how far is that?
    Position,
    /// Carry out a command, durably.
    Run {
        /// The command.
        command: Command,
        /// Although open files stand in the way.
        force: bool,
    },
    /// Carry out a command on files, with the payload blocks it names; not durable before [`Request::Commit`].
    Submit {
        /// The command.
        command: Command,
        /// Whole blocks.
        payload: Payload,
    },
    /// Write bytes; not durable before [`Request::Commit`].
    Write {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Payload,
    },
    /// Set a size; not durable before [`Request::Commit`].
    Truncate {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// In bytes.
        size: u64,
    },
    /// Make a range read as zeros; not durable before [`Request::Commit`].
    Punch {
        /// The volume.
        volume: VolumeId,
        /// The file.
        ino: Ino,
        /// Where, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Make everything up to a ticket durable.
    Commit(u64),
    /// Count the bulk movements that wait.
    Settle,
    /// The command is done: record what belongs to its end.
    EndSession,
    /// Mount a view on the directory whose descriptor comes with this.
    Mount(MountPoint),
    /// Unmount.
    Unmount {
        /// The mount point.
        path: PathBuf,
    },
    /// Which mounts are there?
    Mounts,
    /// How is it?
    Status,
    /// The metrics, as text for Prometheus.
    Metrics,
    /// End: unmount, make durable, close.
    Stop {
        /// Although files are open.
        force: bool,
    },
    /// Begin a piece of work in the background.
    Start(Work),
    /// Which jobs are there?
    Jobs,
    /// Wait for a job, so long at most; how does it stand?
    WaitJob {
        /// Its number.
        id: u64,
        /// In ms.
        at_most: u32,
    },
    /// Tell a job to end.
    CancelJob {
        /// Its number.
        id: u64,
    },
    /// Keep a view readable while the client reads it: so long, and no longer than the client is there. Asked again, the same tree is kept on.
    Lease {
        /// The view.
        source: Source,
        /// Who reads it, for people.
        by: String,
        /// In seconds.
        seconds: u32,
    },
    /// Who keeps which views readable?
    Leases,
    /// Which volumes are there?
    Volumes,
    /// How much is kept only for those who read it?
    KeptForReaders,
}

/// What the daemon answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`]: welcome.
    Hello {
        /// [`PROTOCOL`] of the daemon.
        version: u32,
        /// Its program, with its version.
        program: String,
        /// The store's id.
        store: [u8; 16],
        /// The daemon's process.
        pid: u32,
    },
    /// No; nothing was changed, but for what is said to be.
    Refused(Refused),
    /// Done, and nothing more to say.
    Well,
    /// Everything up to there is durable.
    Durable(DurableEnd),
    /// The command was carried out.
    Done(Box<Carried>),
    /// Where something is mounted now.
    Mounted(MountPoint),
    /// The mounts.
    Mounts(Vec<Mounted>),
    /// How it is.
    Status(Box<Status>),
    /// A text.
    Text(String),
    /// A job, and what came of it where it has ended and a client had asked for it.
    Job(Box<(Job, Option<WorkDone>)>),
    /// The jobs.
    Jobs(Vec<Job>),
    /// The leases.
    Leases(Vec<Leased>),
    /// The volumes with their names, by name.
    Volumes(Vec<(VolumeId, String)>),
    /// To [`Request::Lease`]: a tree is kept readable.
    Held {
        /// The commit boundary at which it is what is kept: of a live volume, and no later one.
        boundary: Seq,
        /// Everything up to there is durable, and that is not before the boundary.
        end: DurableEnd,
    },
    /// So many blocks.
    Blocks(u64),
}

/// Work in the background.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Give space back.
    Reclaim {
        /// Most bytes copied in a second.
        rate: Option<u64>,
        /// The history is given up first.
        now: bool,
    },
    /// Move the archives of old events into the directory whose descriptor comes with this.
    MoveArchives {
        /// Events before this number.
        before: Seq,
    },
    /// Put a file in order, or all files of a volume.
    Defrag {
        /// The volume.
        volume: VolumeId,
        /// The file.
        file: Option<Ino>,
        /// Most bytes copied in a second.
        rate: Option<u64>,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum WorkDone {
    /// Space was given back.
    Reclaimed(Reclaimed),
    /// Old events were moved away.
    Moved(MovedArchives),
    /// It failed.
    Failed(Refused),
    /// Files were put in order.
    Defragged(Defragged),
}

/// A job.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// What it does, in one stable word.
    pub kind: String,
    /// To what, for people.
    pub what: String,
    /// How much is done, in bytes.
    pub done: u64,
    /// How much there is, as far as is known.
    pub total: u64,
    /// When it began, in ns since the Unix epoch.
    pub started: EventTime,
    /// How it stands, in one stable word.
    pub state: String,
    /// It works no more.
    pub ended: bool,
    /// Why it failed.
    pub why: Option<String>,
}

impl From<JobInfo> for Job {
    fn from(info: JobInfo) -> Self {
        Self {
            id: info.id,
            kind: info.kind.name().to_owned(),
            what: info.what,
            done: info.done,
            total: info.total,
            started: info.started,
            state: info.state.name().to_owned(),
            ended: info.state.has_ended(),
            why: match info.state {
                JobState::Failed(why) => Some(why),
                _ => None,
            },
        }
    }
}

/// A lease.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Leased {
    /// What is read.
    pub source: Source,
    /// Who reads it.
    pub by: String,
    /// How many seconds it holds; `None`: until it is given back.
    pub left: Option<u64>,
}

/// Bytes that travel as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Payload(pub Vec<u8>);

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Payload, A::Error> {
                Err(A::Error::custom("bytes were expected"))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The end of a durable frame.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub struct DurableEnd {
    number: Seq,
    chain: [u8; 32],
}

impl From<Durable> for DurableEnd {
    fn from(end: Durable) -> Self {
        Self {
            number: end.number,
            chain: end.chain.0,
        }
    }
}

impl From<DurableEnd> for Durable {
    fn from(end: DurableEnd) -> Self {
        Self {
            number: end.number,
            chain: ChainHash(end.chain),
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    kind: String,
    message: String,
    why: Option<String>,
    next: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: refusal.kind.name().to_owned(),
            message: refusal.message,
            why: refusal.why,
            next: refusal.next,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let kind = Kind::ALL.iter().find(|k| k.name() == refused.kind);
        Refusal {
            kind: kind.copied().unwrap_or(Kind::Unsupported),
            message: refused.message,
            why: refused.why,
            next: refused.next,
        }
    }
}

/// What became of a command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Carried {
    /// Its first event.
    pub first: Seq,
    /// Its last event.
    pub last: Seq,
    /// The time of that.
    pub time: EventTime,
    /// What a commit waits for.
    pub ticket: u64,
    /// Its events were left out, because they are too many for one answer: the journal has them.
    pub left_out: bool,
    /// Its events.
    pub events: Vec<Event>,
    /// Where they went.
    pub trail: Trail,
    /// How far everything is durable, where the command was carried out durably.
    pub durable: Option<DurableEnd>,
}

impl Carried {
    /// What the engine says.
    pub(crate) fn new(done: Done, durable: Option<Durable>) -> Self {
        Self {
            first: done.first,
            last: done.last,
            time: done.time,
            ticket: done.ticket.0,
            left_out: false,
            events: done.events,
            trail: done.trail,
            durable: durable.map(DurableEnd::from),
        }
    }

    /// Without its events.
    pub(crate) fn short(self) -> Self {
        Self {
            left_out: !self.events.is_empty(),
            events: Vec::new(),
            trail: Trail::default(),
            ..self
        }
    }

    /// As the engine says it.
    #[must_use]
    pub fn into_done(self) -> Done {
        Done {
            first: self.first,
            last: self.last,
            time: self.time,
            ticket: Ticket(self.ticket),
            events: self.events,
            trail: self.trail,
        }
    }
}

/// What to mount where.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct MountPoint {
    /// What it shows.
    pub source: Source,
    /// The view, as the user wrote it.
    pub label: String,
    /// The mount point; the daemon says it again and does not open it.
    pub path: PathBuf,
    /// Only reading.
    pub read_only: bool,
    /// Other users may enter.
    pub allow_other: bool,
}

/// A mount.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Mounted {
    /// What it shows.
    pub source: Source,
    /// The view, as the user wrote it.
    pub label: String,
    /// Where.
    pub path: PathBuf,
    /// Only reading.
    pub read_only: bool,
    /// Handles open for writing.
    pub writers: u64,
    /// Handles open.
    pub handles: u64,
}

/// How a daemon is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its program, with its version.
    pub program: String,
    /// Its process.
    pub pid: u32,
    /// Since when it holds the store, in ns since the Unix epoch.
    pub since: EventTime,
    /// The last event.
    pub position: Seq,
    /// The last durable event.
    pub flushed: Seq,
    /// Bytes of the journal that wait to be flushed.
    pub unflushed_bytes: u64,
    /// Clients of the control socket, this one among them.
    pub clients: u32,
    /// The mounts.
    pub mounts: Vec<Mounted>,
    /// What was done through the mounts.
    pub figures: Figures,
}
