//! The daemon: a store in live use, from the moment its lock is taken until it is closed in good order.

use crate::control::{self, Asked, Loopback, Server, Stale};
use crate::memory::Memory;
use crate::scheduler::Scheduler;
use crate::{Live, LiveOptions, MountInfo, MountRequest, mountinfo};
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use strand_engine::{Error, Kind, Refusal, Store};

/// How often the daemon looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A daemon that was started for a mount ends after so long without any mount and any client.
const LONELY: Duration = Duration::from_secs(10);
/// With clients but without mounts it waits longer: one of them may be about to mount what takes long to fold.
const IN_COMPANY: Duration = Duration::from_secs(120);

/// How a store is served.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// How the store is used.
    pub live: LiveOptions,
    /// Where the metrics are shown, besides the control socket.
    pub metrics: Option<Loopback>,
    /// End when the last mount is gone.
    pub until_unmounted: bool,
}

/// A store that is served.
#[derive(Debug)]
pub struct Daemon {
    live: Arc<Live>,
    server: Server,
    scheduler: Scheduler,
    _memory: Memory,
    port: Option<control::Port>,
    asked: Receiver<Asked>,
    options: DaemonOptions,
    /// What was found of an earlier daemon, in words.
    found: Vec<String>,
}

/// Root does not serve another user's store: that user may put links wherever the daemon goes on working by path.
fn not_for_another(owner: u32, dir: &Path) -> Result<(), Refusal> {
    if owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Permission,
        format!("root cannot serve the store {}", dir.display()),
    )
    .why(format!("it belongs to uid {owner}"))
    .next("run it as that user: runuser -u USER -- strand ..."))
}

impl Daemon {
    /// Serves a store, opened for writing, in this directory: from now on commands reach it through the control socket.
    ///
    /// # Errors
    /// Where the directory, the socket or the port for the metrics is refused.
    pub fn start(mut store: Store, dir: &Path, options: DaemonOptions) -> Result<Daemon, Refusal> {
        let cannot = |what: &str| {
            let message = format!("cannot serve the store {}: {what}", dir.display());
            move |error: std::io::Error| {
                Refusal::new(kind_of(&error), message).why(error.to_string())
            }
        };
        let path = dir.canonicalize().map_err(cannot("its directory"))?;
        let owner = path.metadata().map_err(cannot("its directory"))?.uid();
        not_for_another(owner, dir)?;
        store.owned_by(owner);
        // What is made from now on in the store's directory is its owner's alone.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let mut found = Vec::new();
        for (point, detached) in mountinfo::detach_stale(&path) {
            let point = point.display();
            match detached {
                Ok(()) => found.push(format!("took away {point}, which a daemon left that died")),
                Err(error) => {
                    tracing::warn!(%error, "the mount {point} of a daemon that died stays");
                }
            }
        }
        let since = store.clock().wall();
        let live = Live::of_directory(store, options.live.clone(), &path);
        let (ask, asked) = channel();
        let server = Server::start(Arc::clone(&live), &path, owner, since, ask)
            .map_err(cannot("the control socket"))?;
        if server.stale() == Stale::Socket {
            found.push("replaced the control socket of a daemon that died".to_owned());
        }
        let port = options
            .metrics
            .map(|at| control::Port::open(at, server.metrics()))
            .transpose()
            .map_err(cannot("the port for the metrics"))?;
        found.iter().for_each(|text| tracing::info!("{text}"));
        Ok(Daemon {
            scheduler: Scheduler::start(Arc::clone(&live)),
            _memory: Memory::start(),
            live,
            server,
            port,
            asked,
            options,
            found,
        })
    }

    /// The store in live use.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What was found of an earlier daemon and cleared away, in words.
    #[must_use]
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Where the metrics are shown.
    #[must_use]
    pub fn metrics_at(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|port| port.address)
    }

    /// Mounts a view.
    ///
    /// # Errors
    /// As [`Live::mount`].
    pub fn mount(&self, request: MountRequest) -> Result<MountInfo, Refusal> {
        self.live.mount(request)
    }

    /// Serves until a client, `ended` or (where so asked) the end of the last mount says that it is enough; then unmounts, makes
    /// everything durable and closes the store.
    ///
    /// # Errors
    /// Where the store could not be closed in good order: what was acknowledged is durable all the same.
    pub fn serve(self, ended: &dyn Fn() -> bool) -> Result<(), Error> {
        notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
        let why = self.wait(ended);
        tracing::info!("{why}: the store is closed");
        notify(&[NotifyState::Stopping]);
        let Daemon {
            live,
            server,
            scheduler,
            port,
            ..
        } = self;
        drop((scheduler, port));
        for mount in live.mounts() {
            if mount.handles > 0 {
                let (path, open) = (mount.path.display(), mount.handles);
                tracing::warn!("{path} is taken away with {open} files open");
            }
        }
        let open = server.end();
        let closed = live.close();
        // Whoever waits for the end of this daemon sees it now.
        drop(open);
        closed
    }

    fn wait(&self, ended: &dyn Fn() -> bool) -> &'static str {
        let mut lonely: Option<Instant> = None;
        loop {
            if ended() {
                return "a signal asked to end";
            }
            if self.options.until_unmounted {
                if self.live.mounts().is_empty() {
                    let since = *lonely.get_or_insert_with(Instant::now);
                    let patience = match self.server.clients() {
                        0 => LONELY,
                        _ => IN_COMPANY,
                    };
                    if since.elapsed() >= patience {
                        return "nothing is mounted";
                    }
                } else {
                    lonely = None;
                }
            }
            match self.asked.recv_timeout(LOOK_EVERY) {
                Ok(Asked::Stop) => return "a client asked to end",
                Ok(Asked::Unmounted) => {
                    // Another client may be there to mount something else.
                    let alone = self.server.clients() <= 1;
                    let last = alone && self.live.mounts().is_empty();
                    if self.options.until_unmounted && last {
                        return "the last mount is gone";
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return "the control socket is gone",
            }
        }
    }
}

/// Tells the service manager, where there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

fn kind_of(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Kind::Permission,
        std::io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        std::io::ErrorKind::AddrInUse => Kind::Busy,
        std::io::ErrorKind::AlreadyExists => Kind::Exists,
        std::io::ErrorKind::StorageFull => Kind::NoSpace,
        _ => Kind::Io,
    }
}
