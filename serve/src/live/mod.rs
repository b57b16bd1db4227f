//! A store in live use: one place through which mounts and the control socket reach it, so that what one does the other's caches follow.

mod caches;
mod changes;
mod gated;
mod hand_over;
mod mounts;
mod obstacles;

use crate::core::Core;
use crate::metrics::{Figures, Metrics, Op};
use crate::ticker::Ticker;
pub use changes::Seen;
use mounts::Mounts;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{Actor, Command, Done, Error, Ino, Seq, Source, Store, VolumeId};

/// How a store is used live.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// What was written without `fsync` becomes durable at the latest after this time.
    pub commit_every: Duration,
    /// How long a checkpoint waits for the kernel to hand over dirty mapped pages.
    pub hand_over: Duration,
    /// What was looked at through `.strand/` is kept until nobody has looked for so long; where room is short, for three seconds at most.
    pub views_stay: Duration,
    /// After a rollback names are dropped one by one, as kernels before 6.16 need it, also where all can be dropped at once.
    pub names_one_by_one: bool,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            commit_every: Duration::from_secs(5),
            hand_over: Duration::from_secs(5),
            views_stay: Duration::from_secs(600),
            names_one_by_one: false,
        }
    }
}

/// Whether open write handles stand in the way of a rollback.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub enum Force {
    /// They do: the command is refused, naming the first of them.
    #[default]
    No,
    /// They become stale: every later write through them fails with `ESTALE` and changes nothing.
    Yes,
}

/// What to mount where.
#[derive(Debug)]
pub struct MountRequest {
    /// The view: a volume's live tree, a checkpoint or a position.
    pub source: Source,
    /// As the user wrote the view; shown in lists.
    pub label: String,
    /// The mount point, opened by whoever asks.
    pub at: File,
    /// Its path, for messages and lists.
    pub path: PathBuf,
    /// Whoever asks.
    pub uid: u32,
    /// Only reading, also of a live volume.
    pub read_only: bool,
    /// Other users may enter (the permissions of the files decide).
    pub allow_other: bool,
}

/// A mount, as lists show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountInfo {
    /// The view, as the user wrote it.
    pub label: String,
    /// What it shows.
    pub source: Source,
    /// Where.
    pub path: PathBuf,
    /// Only reading.
    pub read_only: bool,
    /// Handles open for writing.
    pub writers: u64,
    /// Handles open.
    pub handles: u64,
}

/// A store in live use.
#[derive(Debug)]
pub struct Live {
    core: Arc<Core>,
    mounts: Arc<Mounts>,
    directory: Option<PathBuf>,
    /// Looks after what was looked at through `.strand/`.
    _tidying: Ticker,
}

/// How often it is looked whether views are idle.
const TIDY: Duration = Duration::from_secs(1);

impl Live {
    /// Takes a store into live use.
    #[must_use]
    pub fn new(store: Store, options: LiveOptions) -> Arc<Self> {
        Self::assemble(store, options, None)
    }

    /// Takes the store of a directory into live use: mounts show that path as their source, and are refused inside and above it.
    #[must_use]
    pub fn of_directory(store: Store, options: LiveOptions, directory: &Path) -> Arc<Self> {
        let directory = directory
            .canonicalize()
            .unwrap_or_else(|_| directory.to_owned());
        Self::assemble(store, options, Some(directory))
    }

    fn assemble(store: Store, options: LiveOptions, directory: Option<PathBuf>) -> Arc<Self> {
        let mounts: Arc<Mounts> = Arc::default();
        let tidied = mounts.clone();
        Arc::new(Self {
            core: Arc::new(Core::new(store, options)),
            mounts,
            directory,
            _tidying: Ticker::start("tidier of views", TIDY, move || tidied.tidy_views()),
        })
    }

    /// The store. Commands that change it go through [`Live`], so that the mounts follow.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.core.store
    }

    /// How it is used.
    #[must_use]
    pub fn options(&self) -> &LiveOptions {
        &self.core.options
    }

    /// What has been done, and how long it took.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.core.metrics.clone()
    }

    /// All figures at this moment, slow operations with the paths of their files.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = self
            .core
            .metrics
            .figures(|volume, ino| self.core.store.live(volume)?.path_of(ino));
        for mount in self.mounts.all() {
            figures.nodes += mount.mounted.nodes.len() as u64;
            figures.handles += mount.mounted.handles.counts().1;
        }
        figures
    }

    fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Carries an administrative command out, durably; the kernel's caches of every mount it touches are brought up to date before
    /// this returns.
    ///
    /// # Errors
    /// As [`Store::run`]; [`Kind::Busy`](strand_engine::Kind::Busy) where open write handles stand in the way and `force` is not given.
    pub fn run(&self, actor: &Actor, command: Command, force: Force) -> Result<Done, Error> {
        let begun = Instant::now();
        self.hand_over(&command);
        let outcome = if command.swaps() {
            self.swap(actor, command, force)
        } else {
            self.core
                .store
                .run(actor, command)
                .inspect(|done| self.touched(&done.events))
        };
        self.core
            .metrics
            .answered(Op::Command, begun, outcome.is_err(), || {
                (VolumeId(0), Ino(0), Arc::new(actor.clone()))
            });
        outcome
    }

    /// Makes everything durable that was carried out so far; gives the position up to which it is.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn sync(&self) -> Result<Seq, Error> {
        self.core.store.sync()?;
        Ok(self.core.store.journal().flushed())
    }

    /// Unmounts everything, makes everything durable and closes the store in good order.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close(self: Arc<Self>) -> Result<(), Error> {
        self.unmount_all();
        self.core.committer.stop();
        let core = match Arc::try_unwrap(self) {
            Ok(live) => live.core,
            Err(live) => live.core.clone(),
        };
        match Arc::try_unwrap(core) {
            Ok(Core {
                committer,
                settler,
                housekeeper,
                store,
                ..
            }) => {
                drop((housekeeper, committer, settler));
                match Arc::try_unwrap(store) {
                    Ok(store) => store.close(),
                    Err(store) => store.sync(),
                }
            }
            // Somebody still has files of a mount open, or this in use: no good order, but nothing is lost.
            Err(core) => core.store.sync(),
        }
    }
}
