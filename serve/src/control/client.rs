//! The other side: what a command says to the daemon that serves its store.

use super::message::{
    Carried, Job, Leased, MountPoint, Mounted, PROTOCOL, Payload, Reply, Request, Status, Work,
    WorkDone,
};
use super::session::PROGRAM;
use super::{socket, wire};
use rustix::net::sockopt::socket_peercred;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strand_engine::{Actor, Command, Durable, Ino, Kind, Refusal, Seq, Source, StoreId, VolumeId};
use strand_journal::{BLOCK_SIZE, Block};

/// A daemon that does not greet within this time is stuck.
const GREET_TIME: Duration = Duration::from_secs(10);

/// A connection to the daemon that serves a store. Its methods may be called from several threads; they wait for one another, but for
/// [`Client::commit`], which has a connection of its own.
#[derive(Debug)]
pub struct Client {
    dir: PathBuf,
    main: Mutex<UnixStream>,
    /// For commits, so that what comes after them need not wait.
    aside: Mutex<Option<UnixStream>>,
    store: StoreId,
    pid: u32,
    program: String,
}

/// What to mount where, for [`Client::mount`].
#[derive(Debug)]
pub struct Mounting<'a> {
    /// What, and how.
    pub point: MountPoint,
    /// The directory.
    pub at: BorrowedFd<'a>,
}

impl Client {
    /// Connects to the daemon that serves the store in this directory; `None` where none does.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a daemon of another version, [`Kind::Busy`] for one that takes no more clients or does not answer.
    pub fn connect(dir: &Path) -> Result<Option<Client>, Refusal> {
        let stream = match socket::connect(dir) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(None),
            Err(error) => return Err(gone(&error)),
        };
        trusted(dir, &stream)?;
        let Some((reply, stream)) = greet(stream)? else {
            return Ok(None);
        };
        match reply {
            Reply::Hello {
                program,
                store,
                pid,
                ..
            } => Ok(Some(Client {
                dir: dir.to_owned(),
                main: Mutex::new(stream),
                aside: Mutex::new(None),
                store: StoreId(store),
                pid,
                program,
            })),
            other => Err(unexpected(other)),
        }
    }

    /// The store that the daemon serves.
    #[must_use]
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The daemon's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The daemon's program, with its version.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    fn main(&self) -> MutexGuard<'_, UnixStream> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, request: &Request) -> Result<Reply, Refusal> {
        exchange(&self.main(), request, None)
    }

    fn done(&self, request: &Request) -> Result<Carried, Refusal> {
        match self.ask(request)? {
            Reply::Done(carried) => Ok(*carried),
            other => Err(unexpected(other)),
        }
    }

    fn durable(&self, request: &Request) -> Result<Durable, Refusal> {
        durable(self.ask(request)?)
    }

    fn well(&self, request: &Request) -> Result<(), Refusal> {
        match self.ask(request)? {
            Reply::Well => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Says who commands.
    ///
    /// # Errors
    /// [`Kind::Busy`] where the daemon has gone; so for all that follow.
    pub fn begin(&self, actor: &Actor) -> Result<(), Refusal> {
        self.well(&Request::Begin(actor.clone()))
    }

    /// Makes everything durable that was carried out; gives the position.
    ///
    /// # Errors
    /// What the daemon refuses; so for all that follow.
    pub fn position(&self) -> Result<Durable, Refusal> {
        self.durable(&Request::Position)
    }

    /// Carries a command out, durably.
    ///
    /// # Errors
    /// As the engine's `Store::run`.
    pub fn run(&self, command: Command, force: bool) -> Result<Carried, Refusal> {
        self.done(&Request::Run { command, force })
    }

    /// Carries out a command on files, with its payload; durable after [`Client::commit`].
    ///
    /// # Errors
    /// As the engine's `Store::submit_with`.
    pub fn submit(&self, command: Command, payload: &[Block]) -> Result<Carried, Refusal> {
        let mut bytes = Vec::with_capacity(payload.len() * BLOCK_SIZE);
        for block in payload {
            bytes.extend_from_slice(&block.bytes()[..]);
        }
        let payload = Payload(bytes);
        self.done(&Request::Submit { command, payload })
    }

    /// Writes bytes, at most 1 MiB at once; durable after [`Client::commit`].
    ///
    /// # Errors
    /// As the engine's `Store::write`.
    pub fn write(
        &self,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Carried, Refusal> {
        self.done(&Request::Write {
            volume,
            ino,
            offset,
            bytes: Payload(bytes.to_vec()),
        })
    }

    /// Sets a size; durable after [`Client::commit`].
    ///
    /// # Errors
    /// As the engine's `Store::truncate`.
    pub fn truncate(&self, volume: VolumeId, ino: Ino, size: u64) -> Result<Carried, Refusal> {
        self.done(&Request::Truncate { volume, ino, size })
    }

    /// Makes a range read as zeros; durable after [`Client::commit`].
    ///
    /// # Errors
    /// As the engine's `Store::punch`.
    pub fn punch(
        &self,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        length: u64,
    ) -> Result<Carried, Refusal> {
        self.done(&Request::Punch {
            volume,
            ino,
            offset,
            length,
        })
    }

    /// Makes everything up to a ticket durable, while other threads go on asking.
    ///
    /// # Errors
    /// As the engine's `Store::commit`.
    pub fn commit(&self, ticket: u64) -> Result<Durable, Refusal> {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = match aside.take() {
            Some(stream) => stream,
            None => {
                let again = socket::connect(&self.dir).map_err(|error| gone(&error))?;
                let greeted = again.map(greet).transpose()?.flatten();
                match greeted {
                    Some((Reply::Hello { .. }, stream)) => stream,
                    Some((other, _)) => return Err(unexpected(other)),
                    None => return Err(gone(&ErrorKind::ConnectionRefused.into())),
                }
            }
        };
        let reply = exchange(&stream, &Request::Commit(ticket), None)?;
        *aside = Some(stream);
        durable(reply)
    }

    /// Counts the bulk movements that wait; durable.
    ///
    /// # Errors
    /// As the engine's `Store::settle`.
    pub fn settle(&self) -> Result<Durable, Refusal> {
        self.durable(&Request::Settle)
    }

    /// Begins a piece of work in the background, with the directory that it needs; gives its job.
    ///
    /// # Errors
    /// [`Kind::Busy`] where too much works already.
    pub fn start(&self, work: Work, dir: Option<BorrowedFd<'_>>) -> Result<Job, Refusal> {
        match exchange(&self.main(), &Request::Start(work), dir)? {
            Reply::Job(found) => Ok(found.0),
            other => Err(unexpected(other)),
        }
    }

    /// Waits for a job, a few seconds at most; gives how it stands, and what came of it where it has ended and a client had asked for it.
    ///
    /// # Errors
    /// [`Kind::NotFound`]
    pub fn wait_job(&self, id: u64, at_most: Duration) -> Result<(Job, Option<WorkDone>), Refusal> {
        let at_most = u32::try_from(at_most.as_millis()).unwrap_or(u32::MAX);
        self.job(&Request::WaitJob { id, at_most })
    }

    /// Tells a job to end.
    ///
    /// # Errors
    /// [`Kind::NotFound`]
    pub fn cancel_job(&self, id: u64) -> Result<Job, Refusal> {
        Ok(self.job(&Request::CancelJob { id })?.0)
    }

    fn job(&self, request: &Request) -> Result<(Job, Option<WorkDone>), Refusal> {
        match self.ask(request)? {
            Reply::Job(found) => Ok(*found),
            other => Err(unexpected(other)),
        }
    }

    /// The jobs there are.
    ///
    /// # Errors
    /// Where the daemon has gone; so for all that follow.
    pub fn jobs(&self) -> Result<Vec<Job>, Refusal> {
        match self.ask(&Request::Jobs)? {
            Reply::Jobs(jobs) => Ok(jobs),
            other => Err(unexpected(other)),
        }
    }

    /// Keeps a view readable, for so long at most and no longer than this client is there; asked again, the same tree for so long from
    /// now on. Gives the commit boundary at which the view is what is kept, and how far everything is durable: not before that boundary.
    ///
    /// # Errors
    /// As the engine's `Store::view`.
    pub fn lease(
        &self,
        source: Source,
        by: &str,
        time: Duration,
    ) -> Result<(Seq, Durable), Refusal> {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let by = by.to_owned();
        match self.ask(&Request::Lease {
            source,
            by,
            seconds,
        })? {
            Reply::Held { boundary, end } => Ok((boundary, end.into())),
            other => Err(unexpected(other)),
        }
    }

    /// Who keeps which views readable.
    ///
    /// # Errors
    /// Where the daemon has gone.
    pub fn leases(&self) -> Result<Vec<Leased>, Refusal> {
        match self.ask(&Request::Leases)? {
            Reply::Leases(leases) => Ok(leases),
            other => Err(unexpected(other)),
        }
    }

    /// How many blocks are kept only for those who read them.
    ///
    /// # Errors
    /// As the engine's `Store::kept_for_readers`.
    pub fn kept_for_readers(&self) -> Result<u64, Refusal> {
        match self.ask(&Request::KeptForReaders)? {
            Reply::Blocks(blocks) => Ok(blocks),
            other => Err(unexpected(other)),
        }
    }

    /// The volumes with their names, by name.
    ///
    /// # Errors
    /// Where the daemon does not answer.
    pub fn volumes(&self) -> Result<Vec<(VolumeId, String)>, Refusal> {
        match self.ask(&Request::Volumes)? {
            Reply::Volumes(volumes) => Ok(volumes),
            other => Err(unexpected(other)),
        }
    }

    /// The command is done: the daemon records what belongs to its end, durably.
    ///
    /// # Errors
    /// As the engine's `Store::end_session`.
    pub fn end_session(&self) -> Result<Durable, Refusal> {
        self.durable(&Request::EndSession)
    }

    /// Mounts a view on an opened directory.
    ///
    /// # Errors
    /// Each obstacle with its own message.
    pub fn mount(&self, mounting: Mounting<'_>) -> Result<MountPoint, Refusal> {
        let request = Request::Mount(mounting.point);
        match exchange(&self.main(), &request, Some(mounting.at))? {
            Reply::Mounted(point) => Ok(point),
            other => Err(unexpected(other)),
        }
    }

    /// Unmounts; what was written there is durable then.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Busy`].
    pub fn unmount(&self, path: &Path) -> Result<(), Refusal> {
        self.well(&Request::Unmount {
            path: path.to_owned(),
        })
    }

    /// The mounts.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn mounts(&self) -> Result<Vec<Mounted>, Refusal> {
        match self.ask(&Request::Mounts)? {
            Reply::Mounts(mounts) => Ok(mounts),
            other => Err(unexpected(other)),
        }
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn status(&self) -> Result<Status, Refusal> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    /// The metrics, as text for Prometheus.
    ///
    /// # Errors
    /// What the daemon refuses.
    pub fn metrics(&self) -> Result<String, Refusal> {
        match self.ask(&Request::Metrics)? {
            Reply::Text(text) => Ok(text),
            other => Err(unexpected(other)),
        }
    }

    /// Asks the daemon to end, and waits until it has: the store is at rest then.
    ///
    /// # Errors
    /// [`Kind::Busy`] where files are open and `force` is not given.
    pub fn stop(self, force: bool) -> Result<(), Refusal> {
        self.well(&Request::Stop { force })?;
        let stream = self
            .main
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // It says nothing more; the connection ends with it.
        match wire::receive(&stream, None) {
            Ok(None) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            Ok(Some(_)) => Err(unexpected(Reply::Well)),
            Err(error) => Err(gone(&error)),
        }
    }
}

/// A socket in a directory that others may write to could be anybody's: the daemon is this user's, the store owner's, or root's.
fn trusted(dir: &Path, stream: &UnixStream) -> Result<(), Refusal> {
    let found = socket_peercred(stream).map_err(|errno| gone(&errno.into()))?;
    let uid = found.uid.as_raw();
    let owner = std::fs::metadata(dir).map_or(uid, |found| found.uid());
    if uid == 0 || uid == owner || uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Permission,
        "the daemon that answers for the store is not to be trusted",
    )
    .why(format!(
        "uid {uid} runs it, and the store belongs to uid {owner}"
    ))
    .next("see who put the socket control into the store's directory"))
}

/// The first words; `None` where the daemon went in between: it was ending.
fn greet(stream: UnixStream) -> Result<Option<(Reply, UnixStream)>, Refusal> {
    let hello = Request::Hello {
        version: PROTOCOL,
        program: PROGRAM.to_owned(),
    };
    let frame = wire::frame(&hello).map_err(|error| gone(&error))?;
    // A daemon that takes no more clients answers without listening.
    let sent = wire::send(&stream, &frame, None);
    let reply = match wire::receive(&stream, Some(GREET_TIME)) {
        Ok(Some(received)) => received.message::<Reply>().map_err(|error| gone(&error))?,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(gone(&sent.err().unwrap_or(error))),
    };
    match reply {
        Reply::Refused(refused) => Err(refused.into()),
        other => Ok(Some((other, stream))),
    }
}

fn exchange(
    stream: &UnixStream,
    request: &Request,
    passed: Option<BorrowedFd<'_>>,
) -> Result<Reply, Refusal> {
    let frame = wire::frame(request).map_err(|error| {
        Refusal::new(Kind::TooLarge, "the command is too large for the daemon")
            .why(error.to_string())
            .next("do it in smaller parts")
    })?;
    wire::send(stream, &frame, passed).map_err(|error| gone(&error))?;
    let received = match wire::receive(stream, None) {
        Ok(Some(received)) => received,
        Ok(None) => return Err(gone(&ErrorKind::UnexpectedEof.into())),
        Err(error) => return Err(gone(&error)),
    };
    match received.message() {
        Ok(Reply::Refused(refused)) => Err(refused.into()),
        Ok(reply) => Ok(reply),
        Err(error) => Err(gone(&error)),
    }
}

fn durable(reply: Reply) -> Result<Durable, Refusal> {
    match reply {
        Reply::Durable(end) => Ok(end.into()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refused) => refused.into(),
        _ => Refusal::new(Kind::Io, "the daemon answers something else than was asked")
            .next("restart it: strand stop"),
    }
}

/// The daemon went away, or does not answer.
fn gone(error: &io::Error) -> Refusal {
    let why = match error.kind() {
        ErrorKind::TimedOut => "it does not answer".to_owned(),
        ErrorKind::UnexpectedEof
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionRefused => {
            "it ended; what it had not acknowledged may not have happened".to_owned()
        }
        _ => error.to_string(),
    };
    Refusal::new(
        Kind::Busy,
        "the daemon that serves the store cannot be reached",
    )
    .why(why)
    .next("try again; strand log says what was done")
}
