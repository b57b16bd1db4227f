//! Taking clients: one thread for each, so many and no more; and letting all of them go when the daemon ends.

use super::message::{Refused, Reply};
use super::session::Session;
use super::socket::{Bound, Stale};
use super::wire;
use super::work::Works;
use crate::Live;
use rustix::net::Shutdown;
use rustix::net::sockopt::socket_peercred;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use strand_engine::{EventTime, Kind, Refusal};

/// The most clients at a time.
const MAX_CLIENTS: usize = 64;
/// The most of them that are neither the store's owner nor root: they are only told that they may not.
const MAX_STRANGERS: usize = 8;
/// After a failed `accept` (no descriptors left, say) the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the daemon is asked from outside.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// A client wants it to end.
    Stop,
    /// A mount was taken away.
    Unmounted,
}

/// The other end of a connection, as the kernel tells it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) pid: u32,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) live: Arc<Live>,
    pub(super) since: EventTime,
    pub(super) owner: u32,
    pub(super) asked: Sender<Asked>,
    pub(super) works: Arc<Works>,
    clients: Mutex<BTreeMap<u64, Client>>,
    next: AtomicU64,
    ending: AtomicBool,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    stranger: bool,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients there are.
    pub(super) fn count(&self) -> usize {
        self.clients().len()
    }
}

/// The control socket of a store in live use.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    bound: Bound,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Opens the socket in the store's directory and takes clients. The caller holds the store's lock.
    ///
    /// # Errors
    /// What the file system says.
    pub fn start(
        live: Arc<Live>,
        store: &Path,
        owner: u32,
        since: EventTime,
        asked: Sender<Asked>,
    ) -> io::Result<Server> {
        let bound = Bound::new(store)?;
        let shared = Arc::new(Shared {
            live,
            since,
            owner,
            asked,
            works: Arc::default(),
            clients: Mutex::default(),
            next: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        });
        let (listener, for_thread) = (bound.listener.try_clone()?, Arc::clone(&shared));
        let accepting = std::thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &for_thread))?;
        Ok(Server {
            shared,
            bound,
            accepting: Some(accepting),
        })
    }

    /// What an earlier daemon left.
    #[must_use]
    pub fn stale(&self) -> Stale {
        self.bound.stale
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.count()
    }

    /// The metrics, as text for Prometheus.
    pub fn metrics(&self) -> impl Fn() -> String + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move || super::session::metrics(&shared)
    }

    /// Takes no more clients, lets what is under way end, and closes the socket. Gives the connections that are still open: they end
    /// when these are dropped, so that a client can wait for the end of the daemon.
    #[must_use]
    pub fn end(mut self) -> Vec<UnixStream> {
        self.shared.ending.store(true, Ordering::Release);
        // On Linux this ends a waiting accept.
        let woken = rustix::net::shutdown(&self.bound.listener, Shutdown::Both);
        if woken.is_ok()
            && let Some(thread) = self.accepting.take()
        {
            // A panic there has been printed, and nothing depends on it.
            let _ = thread.join();
        }
        // Whoever waits for a job is let go with it.
        self.shared.live.store().jobs().cancel_all();
        let clients = std::mem::take(&mut *self.shared.clients());
        let mut open = Vec::with_capacity(clients.len());
        for client in clients.into_values() {
            // Nothing more is asked; the answer that is on its way still arrives.
            let _ = rustix::net::shutdown(&client.stream, Shutdown::Read);
            if let Some(thread) = client.thread {
                let _ = thread.join();
            }
            open.push(client.stream);
        }
        self.shared.works.end(&self.shared.live);
        open
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.ending.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = take(stream, shared) {
                    tracing::warn!(%error, "a client was not taken");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no client can be taken");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Begins a session, or says why not.
fn take(stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let credentials = socket_peercred(&stream)?;
    let peer = Peer {
        uid: credentials.uid.as_raw(),
        pid: u32::try_from(credentials.pid.as_raw_nonzero().get()).unwrap_or(0),
    };
    stream.set_write_timeout(Some(wire::SEND_TIME))?;
    let stranger = peer.uid != shared.owner && peer.uid != 0;
    let mut clients = shared.clients();
    let strangers = clients.values().filter(|c| c.stranger).count();
    if clients.len() >= MAX_CLIENTS || (stranger && strangers >= MAX_STRANGERS) {
        let count = clients.len();
        drop(clients);
        let refusal = Refusal::new(Kind::Busy, "the daemon takes no more clients")
            .why(format!("it has {count} already"))
            .next("try again when one of them has ended");
        return wire::send(
            &stream,
            &wire::frame(&Reply::Refused(refusal.into()))?,
            None,
        );
    }
    let id = shared.next.fetch_add(1, Ordering::Relaxed);
    clients.insert(
        id,
        Client {
            stream: stream.try_clone()?,
            stranger,
            thread: None,
        },
    );
    let for_thread = Arc::clone(shared);
    let spawned = std::thread::Builder::new()
        .name(format!("client {id}"))
        .spawn(move || {
            let session = Session::new(Arc::clone(&for_thread), stream, peer, stranger);
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.run()));
            if ended.is_err() {
                tracing::error!("a session died; the others go on");
            }
            if !for_thread.ending.load(Ordering::Acquire) {
                for_thread.clients().remove(&id);
            }
        });
    match spawned {
        Ok(thread) => {
            if let Some(client) = clients.get_mut(&id) {
                client.thread = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            clients.remove(&id);
            Err(error)
        }
    }
}

/// A refusal as an answer.
pub(super) fn refused(refusal: Refusal) -> Reply {
    Reply::Refused(Refused::from(refusal))
}
