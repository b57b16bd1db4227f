//! What a command works with: the global flags, standard output, who asks, and how to open the store.

use crate::actor;
use crate::args::Global;
use crate::error::{Failure, Outcome, refuse};
use crate::names::nearest;
use crate::opening;
use crate::output::Out;
use crate::output::units;
use std::cell::OnceCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{
    Actor, Checkpoint, Error, Kind, OpenOptions, Refusal, State, Store, SystemClock, Volume,
};
use strand_journal::{Access, Error as JournalError, FileDisk, Holder};
use strand_serve::control::Client;
use strand_serve::mountinfo;

pub(crate) use crate::opened::{Opened, Reading};

/// Events between two state files written by a long command, or by a daemon.
pub(crate) const STATE_EVERY: u64 = 200_000;
/// While another process holds the store, it is looked so often whether that is a daemon that serves it.
const LOOK_FOR_DAEMON: Duration = Duration::from_millis(500);

/// What a command works with.
pub(crate) struct Context {
    /// The global flags.
    pub(crate) global: Global,
    /// Standard output.
    pub(crate) out: Out,
    arguments: Vec<OsString>,
    actor: OnceCell<Actor>,
    damage: OnceCell<Refusal>,
}

impl Context {
    /// For this process.
    pub(crate) fn new(mut global: Global, arguments: Vec<OsString>) -> Self {
        // An empty STRAND_STORE, as a script leaves it, names none.
        let named = global.store.filter(|path| !path.as_os_str().is_empty());
        // Who works in a mount means the store that it shows.
        global.store = named.or_else(|| mountinfo::store_of(Path::new(".")));
        let out = Out::stdout(global.json);
        Self {
            global,
            out,
            arguments,
            actor: OnceCell::new(),
            damage: OnceCell::new(),
        }
    }

    /// Who asks.
    pub(crate) fn actor(&self) -> &Actor {
        self.actor
            .get_or_init(|| actor::of_this_command(&self.arguments, self.global.reason.as_deref()))
    }

    /// The store's directory, as given by `--store` or `STRAND_STORE`.
    ///
    /// # Errors
    /// [`Kind::Usage`] where neither says.
    pub(crate) fn store_path(&self) -> Outcome<&Path> {
        match &self.global.store {
            Some(path) => Ok(path),
            None => refuse(
                Refusal::new(Kind::Usage, "no store was named")
                    .why("neither --store nor STRAND_STORE says which")
                    .next("add --store DIR, or export STRAND_STORE=DIR; strand init DIR makes one"),
            ),
        }
    }

    /// Opens the store to look at it: beside other readers, and without changing a byte. Where its journal is damaged, the
    /// command still does what it can, and [`Context::judged`] says at its end what was not seen.
    pub(crate) fn read(&self) -> Outcome<Opened> {
        let store = self.read_as_it_is()?;
        if let Some(damage) = opening::cut_short(&store) {
            self.damage.get_or_init(|| damage);
        }
        Ok(store)
    }

    /// As [`Context::read`], for the commands whose own output says whether the store is damaged.
    pub(crate) fn read_as_it_is(&self) -> Outcome<Opened> {
        self.open(Access::ReadOnly)
    }

    /// The damage of the store that was opened for reading.
    pub(crate) fn damage(&self) -> Option<&Refusal> {
        self.damage.get()
    }

    /// How the command ends, given how it went: what was read from a damaged store never ends well.
    pub(crate) fn judged(&self, ended: Outcome) -> Outcome {
        let Some(damage) = self.damage() else {
            return ended;
        };
        match ended {
            Ok(()) | Err(Failure::OutputClosed) => refuse(damage.clone()),
            // What is not there may lie behind the damage.
            Err(Failure::Refused(refusal))
                if matches!(refusal.kind, Kind::NotFound | Kind::OutOfRange) =>
            {
                let mut behind = damage.clone();
                behind.message = format!("{}, as far as the journal can be read", refusal.message);
                refuse(behind)
            }
            Err(other) => Err(other),
        }
    }

    /// Opens the store to change it: alone, or beside the daemon that serves it.
    pub(crate) fn write(&self) -> Outcome<Opened> {
        self.open(Access::ReadWrite)
    }

    /// Beside the daemon that serves the store, where one does; else at rest. A daemon that is just starting or ending is waited for
    /// as any other command that holds the store.
    fn open(&self, access: Access) -> Outcome<Opened> {
        let path = self.store_path()?;
        let until = Instant::now() + self.global.lock_timeout;
        loop {
            if let Some(daemon) = Client::connect(path)? {
                return self.beside(path, daemon, access);
            }
            let left = until.saturating_duration_since(Instant::now());
            let disk = FileDisk::open(path).map_err(|error| opening::no_directory(path, &error))?;
            let options = self.options(access, left.min(LOOK_FOR_DAEMON));
            match Store::open(Arc::new(disk), Arc::new(SystemClock::default()), options) {
                Err(Error::Journal(JournalError::Locked { .. })) if !left.is_zero() => {}
                Ok(store) => return Ok(Opened::alone(store)),
                Err(error) => return refuse(opening::not_opened(path, &error)),
            }
        }
    }

    fn options(&self, access: Access, lock_timeout: Duration) -> OpenOptions {
        OpenOptions {
            access,
            lock_timeout,
            state_every: STATE_EVERY,
            ignore_state_files: false,
            background: true,
        }
    }

    /// Reads the journal up to where the daemon says that it is durable; what is changed is sent to the daemon.
    fn beside(&self, path: &Path, daemon: Client, access: Access) -> Outcome<Opened> {
        let changing = access == Access::ReadWrite;
        if changing {
            daemon.begin(self.actor())?;
        }
        let until = daemon.position()?;
        let options = self.options(Access::ReadOnly, Duration::ZERO);
        let disk = FileDisk::open(path).map_err(|error| opening::no_directory(path, &error))?;
        let clock = Arc::new(SystemClock::default());
        let store = Store::open_beside(Arc::new(disk), clock, options, &until)
            .map_err(|error| opening::not_opened(path, &error))?;
        if store.journal().store() != daemon.store() {
            return refuse(opening::another_store(path, &daemon));
        }
        Ok(Opened::beside(store, daemon, changing))
    }

    /// Leaves a store that was changed in good order.
    pub(crate) fn close(&self, store: Opened) -> Outcome {
        Ok(store.close()?)
    }
}

/// Who has the lock, for how long, and what they run.
pub(crate) fn held_by(holder: &Holder) -> String {
    let age = holder
        .since
        .map(|since| (units::now() / 1_000_000_000).saturating_sub(since));
    let age = age.map(|s| format!(" for {s} s")).unwrap_or_default();
    format!(
        "{} holds it{age}",
        units::path(holder.to_string().as_bytes())
    )
}

/// The volume of that name.
///
/// # Errors
/// [`Kind::NotFound`], with the nearest name.
pub(crate) fn volume<'a>(state: &'a State, name: &str) -> Outcome<&'a Arc<Volume>> {
    match state.volume_named(name) {
        Some(volume) => Ok(volume),
        None => refuse(missing(
            "volume",
            name,
            state.volume_names.keys().map(AsRef::as_ref),
            "strand volume list",
        )),
    }
}

/// The volume named, or else the only one.
///
/// # Errors
/// [`Kind::NotFound`] for a name that is not there or a store without volumes; [`Kind::Usage`] where there are several.
pub(crate) fn volume_or_only<'a>(state: &'a State, name: Option<&str>) -> Outcome<&'a Arc<Volume>> {
    if let Some(name) = name {
        return volume(state, name);
    }
    let mut volumes = state.volumes.values();
    match (volumes.next(), volumes.next()) {
        (Some(only), None) => Ok(only),
        _ => refuse(several(state.volume_names.keys().map(AsRef::as_ref))),
    }
}

/// A refusal where no volume was named, and there is none, or more than one.
pub(crate) fn several<'a>(names: impl IntoIterator<Item = &'a str>) -> Refusal {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return Refusal::new(Kind::NotFound, "the store has no volume")
            .next("strand volume create NAME");
    }
    Refusal::new(Kind::Usage, "which volume?")
        .why(format!("the store has {}", list(names)))
        .next("name it with --volume VOL")
}

/// The checkpoint of that name.
///
/// # Errors
/// [`Kind::NotFound`], with the nearest name.
pub(crate) fn checkpoint<'a>(state: &'a State, name: &str) -> Outcome<&'a Arc<Checkpoint>> {
    match state.checkpoint_named(name) {
        Some(checkpoint) => Ok(checkpoint),
        None => refuse(missing(
            "checkpoint",
            name,
            state.checkpoint_names.keys().map(AsRef::as_ref),
            "strand checkpoint list",
        )),
    }
}

/// A refusal for a name that is not there.
pub(crate) fn missing<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    list: &str,
) -> Refusal {
    let refusal = Refusal::new(Kind::NotFound, format!("there is no {what} {name}"));
    match nearest(name, known) {
        Some(near) => refusal
            .why(format!("the nearest name is {near}"))
            .next(list),
        None => refusal.next(list),
    }
}

/// `a, b and c`, cut after a few.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 4;
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "none".into(),
        [one] => (*one).into(),
        [most @ .., last] if names.len() <= SHOWN => format!("{} and {last}", most.join(", ")),
        _ => format!(
            "{} and {} more",
            names[..SHOWN - 1].join(", "),
            names.len() + 1 - SHOWN
        ),
    }
}

/// A path that lies in no store: the first directory above it (or itself) that holds one.
pub(crate) fn inside_store(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find_map(|p| p.canonicalize().ok())?;
    existing
        .ancestors()
        .find(|p| {
            p.join("journal").is_dir() && (p.join("STORE").is_file() || opening::holds_segments(p))
        })
        .map(Path::to_path_buf)
}

/// The store that the command works on, where it lies in that directory or is it.
pub(crate) fn store_within(context: &Context, dir: &Path) -> Option<PathBuf> {
    let store = context.global.store.as_ref()?.canonicalize().ok()?;
    let dir = dir.canonicalize().ok()?;
    store.starts_with(&dir).then_some(store)
}
