//! One client: its requests, one after the other, become the engine's commands.

use super::leases::Leases;
use super::message::{
    Carried, DurableEnd, MountPoint, Mounted, PROTOCOL, Payload, Reply, Request, Status,
};
use super::server::{Asked, Peer, Shared, refused};
use super::wire::{self, Received};
use super::work;
use crate::{Force, MountInfo, MountRequest, Seen};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::{
    Actor, BLOCK, Block, Command, Done, Error, Grade, Kind, MAX_TEXT, Refusal, Source, Ticket,
};
use strand_journal::Slab;

/// A client that says nothing for so long before its first request goes; a stranger also later.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Bytes of the journal that clients may leave unflushed: beyond, their next request flushes.
const MOST_UNFLUSHED: u64 = 48 << 20;
/// This program.
pub(super) const PROGRAM: &str = concat!("strand ", env!("CARGO_PKG_VERSION"));

pub(super) struct Session {
    shared: Arc<Shared>,
    stream: UnixStream,
    actor: Actor,
    stranger: bool,
    /// The trees whose inodes it may name: those of the moment when it came, or of its own last rollback.
    seen: Seen,
    /// The views that are kept readable for it.
    leases: Leases,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: UnixStream,
        peer: Peer,
        stranger: bool,
    ) -> Session {
        let actor = Actor {
            grade: Grade::Command,
            uid: peer.uid,
            pid: peer.pid,
            started: started(peer.pid).unwrap_or(0),
            name: "strand".into(),
            ..Actor::program()
        };
        Session {
            seen: shared.live.seen(),
            leases: Leases::default(),
            shared,
            stream,
            actor,
            stranger,
        }
    }

    /// Until the client goes, or says what cannot be understood.
    pub(super) fn run(mut self) {
        let (uid, pid) = (self.actor.uid, self.actor.pid);
        if let Err(error) = self.talk() {
            tracing::info!(uid, pid, %error, "a client was let go");
        }
    }

    fn talk(&mut self) -> io::Result<()> {
        let Some(first) = wire::receive(&self.stream, Some(HELLO_TIME))? else {
            return Ok(());
        };
        if !self.greet(&first)? {
            return Ok(());
        }
        loop {
            let idle = self.stranger.then_some(HELLO_TIME);
            let Some(received) = wire::receive(&self.stream, idle)? else {
                return Ok(());
            };
            let request: Request = match received.message() {
                Ok(request) => request,
                Err(error) => {
                    self.say(&refused(not_understood()))?;
                    return Err(error);
                }
            };
            let reply = self
                .answer(request, received)
                .unwrap_or_else(|error| refused(error.refusal()));
            self.say(&reply)?;
        }
    }

    /// The first request: the same words?
    fn greet(&self, first: &Received) -> io::Result<bool> {
        let Ok(Request::Hello { version, program }) = first.message() else {
            self.say(&refused(not_understood()))?;
            return Ok(false);
        };
        if version != PROTOCOL {
            let (older, next) = if version < PROTOCOL {
                (
                    "this command is older",
                    "use the strand that the daemon runs",
                )
            } else {
                (
                    "the daemon is older",
                    "restart the daemon with the newer strand",
                )
            };
            let refusal = Refusal::new(
                Kind::Unsupported,
                "the daemon that serves the store speaks another version",
            )
            .why(format!(
                "{older}: {program} speaks {version}, the daemon's {PROGRAM} speaks {PROTOCOL}"
            ))
            .next(next);
            self.say(&refused(refusal))?;
            return Ok(false);
        }
        self.say(&Reply::Hello {
            version: PROTOCOL,
            program: PROGRAM.to_owned(),
            store: self.shared.live.store().journal().store().0,
            pid: std::process::id(),
        })?;
        Ok(true)
    }

    fn say(&self, reply: &Reply) -> io::Result<()> {
        wire::send(&self.stream, &wire::frame(reply)?, None)
    }

    fn answer(&mut self, request: Request, received: Received) -> Result<Reply, Error> {
        if let Request::Begin(actor) = request {
            self.actor = Actor {
                grade: Grade::Command,
                uid: self.actor.uid,
                pid: self.actor.pid,
                started: self.actor.started,
                name: cut(actor.name),
                command: cut(actor.command),
                login: cut(actor.login),
                reason: cut(actor.reason),
            };
            self.shared.live.store().verified_elsewhere();
            return Ok(Reply::Well);
        }
        let shared = Arc::clone(&self.shared);
        let (live, actor) = (&shared.live, &self.actor);
        // Before anything is prepared: a stranger makes the daemon do no work. What may be done is `decide`'s to judge.
        live.store().permit(actor)?;
        Ok(match request {
            Request::Hello { .. } | Request::Begin(_) => {
                return Err(not_understood().into());
            }
            Request::Position => Reply::Durable(self.flushed()?),
            Request::Run { command, force } => {
                let force = if force { Force::Yes } else { Force::No };
                let swaps = command.swaps();
                let done = live.run(actor, command, force)?;
                if swaps {
                    self.seen = live.seen();
                }
                self.carried(done, true)?
            }
            Request::Submit { command, payload } => {
                let swaps = command.swaps();
                let done = self.submit(command, &payload)?;
                if swaps {
                    self.seen = live.seen();
                }
                self.carried(done, false)?
            }
            Request::Write {
                volume,
                ino,
                offset,
                bytes,
            } => {
                let length = bytes.0.len() as u64;
                let done = live.change(&self.seen, (volume, ino), length, |store| {
                    store.write(actor, volume, ino, offset, &bytes.0)
                })?;
                self.carried(done, false)?
            }
            Request::Truncate { volume, ino, size } => {
                let done = live.change(&self.seen, (volume, ino), BLOCK, |store| {
                    store.truncate(actor, volume, ino, size)
                })?;
                self.carried(done, false)?
            }
            Request::Punch {
                volume,
                ino,
                offset,
                length,
            } => {
                let done = live.change(&self.seen, (volume, ino), 2 * BLOCK, |store| {
                    store.punch(actor, volume, ino, offset, length)
                })?;
                self.carried(done, false)?
            }
            Request::Commit(number) => {
                live.store().commit(Ticket(number))?;
                Reply::Durable(self.end())
            }
            Request::Settle => {
                live.store().settle()?;
                Reply::Durable(self.flushed()?)
            }
            Request::EndSession => {
                live.store().end_session()?;
                Reply::Durable(self.end())
            }
            Request::Mount(point) => self.mount(point, received)?,
            Request::Unmount { path } => {
                live.unmount(&path)?;
                // The daemon may be waiting for its last mount to go; one that ends anyway need not be told.
                let _ = shared.asked.send(Asked::Unmounted);
                Reply::Well
            }
            Request::Mounts => Reply::Mounts(live.mounts().into_iter().map(mounted).collect()),
            Request::Status => Reply::Status(Box::new(status(&shared))),
            Request::Metrics => Reply::Text(metrics(&shared)),
            Request::Start(work) => work::began(shared.works.begin(live, work, received.passed)?),
            Request::Jobs => Reply::Jobs(work::jobs(live)),
            Request::WaitJob { id, at_most } => {
                let at_most = Duration::from_millis(u64::from(at_most));
                Reply::Job(Box::new(shared.works.wait(live, id, at_most)?))
            }
            Request::CancelJob { id } => work::began(work::cancel(live, id)?),
            Request::Lease {
                source,
                by,
                seconds,
            } => self.lease(source, &by, seconds)?,
            Request::Leases => Reply::Leases(work::leases(live)),
            Request::KeptForReaders => Reply::Blocks(live.store().kept_for_readers()?),
            Request::Volumes => {
                live.store().health()?;
                let names = live.store().state().volume_names;
                let named = names.iter().map(|(name, id)| (*id, name.to_string()));
                Reply::Volumes(named.collect())
            }
            Request::Stop { force } => {
                if !force {
                    nobody_works(&shared)?;
                }
                // Where it ends already, there is nothing to ask.
                let _ = shared.asked.send(Asked::Stop);
                Reply::Well
            }
        })
    }

    fn submit(&self, command: Command, payload: &Payload) -> Result<Done, Error> {
        let live = &self.shared.live;
        if payload.0.is_empty() {
            return live.submit(&self.seen, &self.actor, command, &[]);
        }
        if !payload.0.len().is_multiple_of(BLOCK as usize) {
            return Err(Refusal::new(Kind::Invalid, "the payload is not whole blocks").into());
        }
        // In one piece, so that the journal writes it without another copy and hashes its blocks side by side.
        let count = payload.0.len() / BLOCK as usize;
        let mut slab = Slab::new(count);
        slab.bytes_mut().copy_from_slice(&payload.0);
        let blocks = Block::of_slab(&Arc::new(slab), &(0..count).collect::<Vec<_>>());
        live.submit(&self.seen, &self.actor, command, &blocks)
    }

    /// The answer to a command. One that is too long for a frame leaves its events out.
    fn carried(&self, done: Done, durable: bool) -> Result<Reply, Error> {
        let store = self.shared.live.store();
        if !durable && unflushed(&self.shared) > MOST_UNFLUSHED {
            self.shared.live.sync()?;
        }
        let durable = durable.then(|| store.journal().durable());
        let carried = Box::new(Carried::new(done, durable));
        // An event has at most 64 KiB: most commands need no measuring.
        let few = carried.events.len() < 8;
        let reply = Reply::Done(carried);
        if few || wire::frame(&reply).is_ok() {
            return Ok(reply);
        }
        match reply {
            Reply::Done(carried) => Ok(Reply::Done(Box::new(carried.short()))),
            other => Ok(other),
        }
    }

    fn flushed(&self) -> Result<DurableEnd, Error> {
        self.shared.live.sync()?;
        Ok(self.end())
    }

    fn end(&self) -> DurableEnd {
        self.shared.live.store().journal().durable().into()
    }

    /// Keeps a view readable. Whoever reads beside the daemon can follow to where its tree was taken.
    fn lease(&mut self, source: Source, by: &str, seconds: u32) -> Result<Reply, Error> {
        let store = self.shared.live.store();
        let time = Duration::from_secs(u64::from(seconds));
        let boundary = self.leases.keep(store, source, (by, &self.actor), time)?;
        let end = self.flushed()?;
        Ok(Reply::Held { boundary, end })
    }

    fn mount(&self, point: MountPoint, received: Received) -> Result<Reply, Error> {
        let Some(at) = received.passed else {
            return Err(Refusal::new(Kind::Invalid, "no mount point came with the request").into());
        };
        let info = self.shared.live.mount(MountRequest {
            source: point.source,
            label: point.label,
            at: File::from(at),
            path: point.path,
            uid: self.actor.uid,
            read_only: point.read_only,
            allow_other: point.allow_other,
        })?;
        Ok(Reply::Mounted(MountPoint {
            source: info.source,
            label: info.label,
            path: info.path,
            read_only: info.read_only,
            allow_other: point.allow_other,
        }))
    }
}

fn not_understood() -> Refusal {
    Refusal::new(Kind::Invalid, "the request cannot be understood")
        .next("use the strand that the daemon runs")
}

/// A stop that would take files away from those who have them open is refused.
fn nobody_works(shared: &Shared) -> Result<(), Refusal> {
    let mounts = shared.live.mounts();
    let open: u64 = mounts.iter().map(|m| m.handles).sum();
    let Some(first) = mounts.iter().find(|m| m.handles > 0) else {
        return Ok(());
    };
    Err(Refusal::new(
        Kind::Busy,
        match open {
            1 => "cannot stop: a file is open".to_owned(),
            n => format!("cannot stop: {n} files are open"),
        },
    )
    .why(format!("{} is in use", first.path.display()))
    .next("end what uses it, or add --force"))
}

fn mounted(info: MountInfo) -> Mounted {
    Mounted {
        source: info.source,
        label: info.label,
        path: info.path,
        read_only: info.read_only,
        writers: info.writers,
        handles: info.handles,
    }
}

/// Bytes of the journal that wait to be flushed.
fn unflushed(shared: &Shared) -> u64 {
    let journal = shared.live.store().journal();
    let (head, end) = (journal.head(), journal.position());
    let per_segment = u64::from(journal.blocks_per_segment());
    let at = |segment: u64, block: u32| segment * per_segment + u64::from(block);
    at(head.segment, head.block).saturating_sub(at(end.segment, end.block)) * BLOCK
}

fn status(shared: &Shared) -> Status {
    let journal = shared.live.store().journal();
    Status {
        program: PROGRAM.to_owned(),
        pid: std::process::id(),
        since: shared.since,
        position: journal.placed(),
        flushed: journal.flushed(),
        unflushed_bytes: unflushed(shared),
        clients: u32::try_from(shared.count()).unwrap_or(u32::MAX),
        mounts: shared.live.mounts().into_iter().map(mounted).collect(),
        figures: shared.live.figures(),
    }
}

/// The metrics, as text for Prometheus.
pub(super) fn metrics(shared: &Shared) -> String {
    let status = status(shared);
    let space = shared.live.store().journal().space();
    let mut text = String::new();
    for (name, kind, help, value) in [
        (
            "position",
            "counter",
            "The last event of the journal.",
            status.position,
        ),
        (
            "flushed_position",
            "counter",
            "The last durable event of the journal.",
            status.flushed,
        ),
        (
            "unflushed_bytes",
            "gauge",
            "Bytes of the journal that wait to be flushed.",
            status.unflushed_bytes,
        ),
        (
            "journal_bytes",
            "gauge",
            "Bytes that the journal takes.",
            space.used_bytes,
        ),
        (
            "zeros_written_bytes_total",
            "counter",
            "Bytes of zeros written ahead of small commits, so that those flush faster.",
            shared.live.store().journal().zeros_written(),
        ),
        (
            "control_clients",
            "gauge",
            "Clients of the control socket.",
            u64::from(status.clients),
        ),
        (
            "mounts",
            "gauge",
            "Mounts of views of the store.",
            status.mounts.len() as u64,
        ),
        (
            "start_time_seconds",
            "gauge",
            "Since when the store is served.",
            status.since / 1_000_000_000,
        ),
    ] {
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "# HELP strand_{name} {help}\n# TYPE strand_{name} {kind}\nstrand_{name} {value}"
        );
    }
    text + &shared.live.figures().prometheus()
}

/// As much of a text as the store keeps of one: what is longer is refused there, or kept for nothing here.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

/// Start time of a process in clock ticks since boot: field 22 of its stat line, whose second field may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(19)?.parse().ok()
}
