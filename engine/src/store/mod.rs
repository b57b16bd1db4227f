//! The store: the shell around the pure core. It holds the lock, the journal, the clock and the open handles; the rules are in `decide`.
//!
//! A command is decided, placed in the journal (which gives its numbers and addresses) and folded, all under one lock; the flush is waited for
//! outside it. What is read meanwhile may not be durable yet, as with any file system; what was acknowledged is.

mod background;
mod beside;
mod content;
mod defrag;
mod execute;
mod fitting;
mod history;
mod horizon;
mod leases;
mod live;
mod making_room;
mod open;
mod present;
mod read;
mod reclaim;
mod room;
mod verified;
mod window;

pub use beside::{Step, Trail};
pub use defrag::Defragged;
pub use horizon::MovedArchives;
pub use leases::{Lease, LeaseInfo};
pub use open::{InitOptions, OpenOptions, Opening, base_state};
pub use read::FileReader;
pub use reclaim::{LeftAlone, ReclaimOptions, Reclaimed};

use crate::clock::Clock;
use crate::command::Command;
use crate::digest::DigestCache;
use crate::error::Error;
use crate::event::{Actor, Event};
use crate::ids::{EventTime, Ino, Seq, VolumeId};
use crate::in_use::InUse;
use crate::jobs::Jobs;
use crate::last_verify::BadVersion;
use crate::refusal::Refusal;
use crate::state::State;
use crate::views::Views;
use imbl::OrdSet;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use strand_journal::{Block, Disk, Journal, Ticket};

/// Journal blocks kept back for removals on a full store: 4 MiB, or four segments where those are smaller.
const RESERVE_BLOCKS: u64 = 1024;
/// Bulk movements that may wait before a commit counts them.
const MOST_UNSETTLED: u64 = 64;

/// An open store. All methods may be called from many threads.
pub struct Store {
    inner: Mutex<Inner>,
    digests: Mutex<DigestCache>,
    /// Held while a reader beside the writer goes on.
    following: Mutex<()>,
    /// The user who owns a store that serves others too.
    owner: Option<u32>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    options: OpenOptions,
    opening: Opening,
    reserve_blocks: u64,
    /// Most blocks of one write event in segments of this size.
    write_blocks: u64,
    state_files: background::StateFiles,
    /// Bulk movements placed since the last settlement.
    unsettled: AtomicU64,
    settled_elsewhere: AtomicBool,
    /// Versions known to be bad; read at the first need.
    bad: Mutex<Option<Arc<[BadVersion]>>>,
    leases: Arc<leases::Leases>,
    /// Where versions lie, as the newest state has it.
    present: present::Present,
    window: window::Window,
    jobs: Jobs,
    /// Held by whoever moves versions.
    moving: Mutex<reclaim::Known>,
    /// Archives that are moved away.
    leaving: horizon::Leaving,
    /// Elapsed time by the events, and by the monotonic clock, and the journal's end, when the store was opened.
    opened: window::Opened,
    capacity: Option<u64>,
    /// Asks the writer how far it is: of a reader beside it.
    asking: OnceLock<beside::Asking>,
    upkeep: making_room::Upkeep,
    /// Journal blocks that only what gives space back may use.
    kept_back: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("store", &self.journal.store())
            .finish_non_exhaustive()
    }
}

struct Inner {
    state: State,
    /// Inodes that handles keep.
    open: OrdSet<(VolumeId, Ino)>,
    handles: BTreeMap<(VolumeId, Ino), u64>,
    room: Room,
    /// Wall and elapsed time of the command before.
    clocks: Option<(u64, u64)>,
    refused: BTreeMap<&'static str, Refused>,
    /// Scratch space, so that a commit allocates little.
    bytes: Vec<u8>,
    crcs: Vec<u8>,
}

/// What is known of the free space without asking: it is asked for again when this runs low.
#[derive(Default)]
struct Room {
    blocks: u64,
    placed: u64,
}

#[derive(Default)]
struct Refused {
    message: String,
    count: u32,
    recorded: Option<u64>,
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Done {
    /// Number of its first event.
    pub first: Seq,
    /// Number of its last event: a commit boundary.
    pub last: Seq,
    /// Time of its last event.
    pub time: EventTime,
    /// What [`Store::commit`] waits for.
    pub ticket: Ticket,
    /// Its events.
    pub events: Vec<Event>,
    /// Where they went.
    pub trail: Trail,
}

impl Store {
    /// How the opening went.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// A consistent snapshot of the state: what was placed, flushed or not. Whoever shows it to others as what is asks [`Store::health`]
    /// afterwards: of a poisoned store nobody knows how much of it will be there when it is opened again.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    /// Fails where the state is not what the journal holds, or will hold at the next flush: after a failed write or flush, or a
    /// command that died half-way. Cheap.
    ///
    /// # Errors
    /// [`crate::Kind::Poisoned`].
    pub fn health(&self) -> Result<(), Error> {
        self.still_true(&self.lock())
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What works in the background.
    #[must_use]
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Decides, places and folds a command. It is not durable yet: [`Store::commit`].
    ///
    /// # Errors
    /// [`Error::Refused`]: nothing changed. [`Error::Journal`]: poisoned or read-only.
    pub fn submit(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        self.submit_with(actor, command, &[])
    }

    /// As [`Store::submit`], with the payload blocks that a write or a truncation needs, in order.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn submit_with(
        &self,
        actor: &Actor,
        command: Command,
        payload: &[Block],
    ) -> Result<Done, Error> {
        self.submit_views(actor, command, payload, &Views::none())
    }

    fn submit_views(
        &self,
        actor: &Actor,
        command: Command,
        payload: &[Block],
        views: &Views,
    ) -> Result<Done, Error> {
        // Nothing gives way to what is no file system's call; a command is kept for a second try only where the first may find no room.
        let tight = self.upkeep.tight.load(Ordering::Relaxed);
        // A promise of room takes none: nothing gives way to it, whatever is asked for.
        let promise = matches!(command, Command::Preallocate { .. });
        if command.is_of_files() && tight && !promise {
            let blocks = payload.len() as u64;
            return self.with_room(blocks, &mut || {
                let mut inner = self.lock();
                self.execute(&mut inner, actor, command.clone(), payload, views)
            });
        }
        let promise_here = promise && !self.is_room_made_elsewhere();
        if promise_here || (tight && command.is_administrative()) {
            return self.with_dead_room(&mut || {
                let mut inner = self.lock();
                self.execute(&mut inner, actor, command.clone(), payload, views)
            });
        }
        let mut inner = self.lock();
        self.execute(&mut inner, actor, command, payload, views)
    }

    /// What is in use: what is leased, as far as the caller knows no more.
    fn in_use(&self) -> Arc<InUse> {
        self.leases.in_use(self.clock.monotonic())
    }

    /// Waits until everything up to a ticket is durable.
    ///
    /// # Errors
    /// [`Error::Journal`] where a write or flush failed: the store is poisoned until it is opened again.
    pub fn commit(&self, ticket: Ticket) -> Result<(), Error> {
        self.journal.commit(ticket)?;
        if self.unsettled() > MOST_UNSETTLED && !self.settled_elsewhere.load(Ordering::Relaxed) {
            // What was asked for is durable; the counting can wait.
            if let Err(error) = self.settle() {
                tracing::warn!(%error, "bulk movements wait to be counted");
            }
        }
        self.state_files.after_commit(self);
        self.keep_on_the_way();
        Ok(())
    }

    /// Bulk movements placed since the last settlement.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// From now on the caller settles, on a thread of his own: a commit then never counts, however many movements wait.
    pub fn settle_elsewhere(&self) {
        self.settled_elsewhere.store(true, Ordering::Relaxed);
    }

    /// Makes everything placed so far durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn sync(&self) -> Result<(), Error> {
        let placed = self.journal.placed();
        self.commit(Ticket(placed))
    }

    /// Carries a command out, durably. A rollback, clone or file rollback to a position folds the history for it first.
    ///
    /// # Errors
    /// As [`Store::submit`] and [`Store::commit`].
    pub fn run(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        let views = self.prepare(&command)?;
        let done = self.submit_prepared(actor, command, &views)?;
        self.finish(&done, &views)?;
        Ok(done)
    }

    /// What a command would do: its events, without doing it.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn plan(&self, actor: &Actor, command: Command) -> Result<Vec<Event>, Error> {
        let views = self.prepare(&command)?;
        self.plan_prepared(actor, command, &views)
    }

    /// Says whose store it is: from now on `decide` refuses what another user (but for root) commands. At rest the permissions of the
    /// store's files say it.
    pub fn owned_by(&mut self, uid: u32) {
        self.owner = Some(uid);
    }

    /// Whether this actor may command the store at all; a refusal is recorded, as any other of an administrative command.
    ///
    /// # Errors
    /// [`crate::Kind::Permission`].
    pub fn permit(&self, actor: &Actor) -> Result<(), Refusal> {
        crate::decide::permitted(self.owner, actor).inspect_err(|refusal| {
            execute::remember_refusal(&mut self.lock(), refusal);
        })
    }

    /// Says that a handle is open on a file: the inode stays when its last name goes.
    pub fn open_handle(&self, volume: VolumeId, ino: Ino) {
        let mut inner = self.lock();
        *inner.handles.entry((volume, ino)).or_default() += 1;
        inner.open.insert((volume, ino));
    }

    /// Says that a handle was closed; with the last one an unlinked file goes.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn close_handle(&self, actor: &Actor, volume: VolumeId, ino: Ino) -> Result<(), Error> {
        let mut inner = self.lock();
        let Some(count) = inner.handles.get_mut(&(volume, ino)) else {
            return Ok(());
        };
        *count -= 1;
        if *count > 0 {
            return Ok(());
        }
        inner.handles.remove(&(volume, ino));
        inner.open.remove(&(volume, ino));
        let orphan = inner
            .state
            .volume(volume)
            .is_some_and(|v| v.live.orphans.contains(&ino));
        if orphan {
            self.execute(
                &mut inner,
                actor,
                Command::DropOrphan { volume, ino },
                &[],
                &Views::none(),
            )?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves a state that may be half folded; the journal is not written from it, because the panic
        // came before or after `place`, and reading it is harmless.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
