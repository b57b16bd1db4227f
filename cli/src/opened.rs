//! A store that a command has opened: alone, or beside the daemon that serves it. The command does the same either way: it reads in its
//! own process, and what it changes goes through here, to the store itself or to the daemon.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{
    Actor, Block, Command, Done, Durable, Error, Fileset, Ino, Kind, Placed, Refusal, Seq, Source,
    State, Store, Ticket, VolumeId,
};
use strand_serve::control::Client;
use strand_serve::control::message::Carried;

/// A view is kept readable for so long, and anew when a third of that has passed.
const LEASE: Duration = Duration::from_secs(3600);

/// An open store. However a command ends, it ends in good order: a refusal is recorded by that too.
pub(crate) struct Opened {
    store: Option<Store>,
    served: Option<Arc<Client>>,
    /// The command is there to change something.
    changing: bool,
}

/// A view that stays readable while a command reads it: the daemon keeps it. At rest nobody takes anything away.
pub(crate) struct Reading<'a> {
    daemon: Option<&'a Client>,
    source: Source,
    /// What is done, for people.
    what: &'static str,
    since: Cell<Instant>,
    /// Of a live volume: the tree that the daemon keeps, and its commit boundary.
    live: Option<(Seq, Fileset)>,
}

impl Reading<'_> {
    /// The tree to read.
    pub(crate) fn open(&self, store: &Opened) -> Result<Fileset, Error> {
        match &self.live {
            Some((_, tree)) => Ok(tree.clone()),
            None => store.view(self.source),
        }
    }

    fn keep(&self) -> Result<(), Error> {
        if let Some(daemon) = self.daemon {
            let (boundary, _) = daemon.lease(self.source, self.what, LEASE)?;
            self.is_kept(boundary)?;
        }
        self.since.set(Instant::now());
        Ok(())
    }

    /// Of a live volume only the tree that was opened is of use, and its lease may have expired.
    fn is_kept(&self, boundary: Seq) -> Result<(), Refusal> {
        match &self.live {
            Some((opened, _)) if *opened != boundary => Err(Refusal::new(
                Kind::Stale,
                "the view cannot be read any more",
            )
            .why("its lease has expired")
            .next("run it again")),
            _ => Ok(()),
        }
    }

    /// To be called now and then: the view is kept on.
    pub(crate) fn goes_on(&self) -> Result<(), Error> {
        if self.since.get().elapsed() < LEASE / 3 {
            return Ok(());
        }
        self.keep()
    }
}

impl Deref for Opened {
    type Target = Store;

    fn deref(&self) -> &Store {
        self.store
            .as_ref()
            .expect("only close and drop take the store, and both consume this")
    }
}

impl Opened {
    /// A store at rest.
    pub(crate) fn alone(store: Store) -> Self {
        Self {
            store: Some(store),
            served: None,
            changing: false,
        }
    }

    /// A store beside its daemon.
    pub(crate) fn beside(store: Store, daemon: Client, changing: bool) -> Self {
        let daemon = Arc::new(daemon);
        let asked = daemon.clone();
        // What the daemon has moved meanwhile is read where it lies now.
        store.ask_the_writer(move || asked.position().ok());
        Self {
            store: Some(store),
            served: Some(daemon),
            changing,
        }
    }

    /// Keeps a view readable, as long as what this gives is asked to. Of a live volume what is kept is the tree of this moment, and this store
    /// follows to it.
    pub(crate) fn reading(&self, source: Source, what: &'static str) -> Result<Reading<'_>, Error> {
        let daemon = self.daemon();
        let mut live = None;
        if let Some(daemon) = daemon {
            let (boundary, end) = daemon.lease(source, what, LEASE)?;
            if let Source::Live(volume) = source {
                live = Some((boundary, self.live_at(volume, boundary, &end)?));
            }
        }
        Ok(Reading {
            daemon,
            source,
            what,
            since: Cell::new(Instant::now()),
            live,
        })
    }

    /// The live tree of a volume as it was at a boundary that this store has not passed yet; follows to `end`.
    fn live_at(&self, volume: VolumeId, boundary: Seq, end: &Durable) -> Result<Fileset, Error> {
        let mut then = (self.state().boundary == boundary).then(|| self.state());
        self.follow(end, &mut |before: &State, _| {
            if before.boundary == boundary && before.seq == boundary {
                then = Some(before.clone());
            }
        })?;
        let then = then.unwrap_or_else(|| self.state());
        let found = then.volume(volume).filter(|_| then.boundary == boundary);
        let found = found.ok_or_else(|| {
            Refusal::new(Kind::Stale, "the live volume cannot be read as it is kept")
                .why(format!(
                    "that is at seq {boundary}, and this command has passed it"
                ))
                .next("run it again")
        })?;
        Ok(found.live.clone())
    }

    /// The daemon, where one serves the store.
    pub(crate) fn daemon(&self) -> Option<&Client> {
        self.served.as_deref()
    }

    /// As [`Store::run`].
    pub(crate) fn run(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        self.run_although(actor, command, false)
    }

    /// As [`Store::run`]; with `force` although files are open that a mount shows.
    pub(crate) fn run_although(
        &self,
        actor: &Actor,
        command: Command,
        force: bool,
    ) -> Result<Done, Error> {
        match &self.served {
            None => Store::run(self, actor, command),
            Some(daemon) => self.carried(daemon, daemon.run(command, force)?),
        }
    }

    /// As [`Store::submit`].
    pub(crate) fn submit(&self, actor: &Actor, command: Command) -> Result<Done, Error> {
        self.submit_with(actor, command, &[])
    }

    /// As [`Store::submit_with`].
    pub(crate) fn submit_with(
        &self,
        actor: &Actor,
        command: Command,
        payload: &[Block],
    ) -> Result<Done, Error> {
        match &self.served {
            None => Store::submit_with(self, actor, command, payload),
            Some(daemon) => self.carried(daemon, daemon.submit(command, payload)?),
        }
    }

    /// As [`Store::write`].
    pub(crate) fn write(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        data: &[u8],
    ) -> Result<Done, Error> {
        match &self.served {
            None => Store::write(self, actor, volume, ino, offset, data),
            Some(daemon) => self.carried(daemon, daemon.write(volume, ino, offset, data)?),
        }
    }

    /// As [`Store::truncate`].
    pub(crate) fn truncate(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        size: u64,
    ) -> Result<Done, Error> {
        match &self.served {
            None => Store::truncate(self, actor, volume, ino, size),
            Some(daemon) => self.carried(daemon, daemon.truncate(volume, ino, size)?),
        }
    }

    /// As [`Store::punch`].
    pub(crate) fn punch(
        &self,
        actor: &Actor,
        volume: VolumeId,
        ino: Ino,
        offset: u64,
        length: u64,
    ) -> Result<Done, Error> {
        match &self.served {
            None => Store::punch(self, actor, volume, ino, offset, length),
            Some(daemon) => self.carried(daemon, daemon.punch(volume, ino, offset, length)?),
        }
    }

    /// As [`Store::commit`].
    pub(crate) fn commit(&self, ticket: Ticket) -> Result<(), Error> {
        match &self.served {
            None => Store::commit(self, ticket),
            Some(daemon) => Ok(daemon.commit(ticket.0).map(drop)?),
        }
    }

    /// As [`Store::sync`].
    pub(crate) fn sync(&self) -> Result<(), Error> {
        match &self.served {
            None => Store::sync(self),
            Some(daemon) => self.follow_to(&daemon.position()?),
        }
    }

    /// As [`Store::settle`].
    pub(crate) fn settle(&self) -> Result<(), Error> {
        match &self.served {
            None => Store::settle(self).map(drop),
            Some(daemon) => self.follow_to(&daemon.settle()?),
        }
    }

    /// Sees what others did since: at rest nobody else could.
    pub(crate) fn look_again(&self) -> Result<(), Error> {
        match &self.served {
            None => Ok(()),
            Some(daemon) => self.follow_to(&daemon.position()?),
        }
    }

    /// Ends in good order.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(store) = self.store.take() else {
            return Ok(());
        };
        match &self.served {
            None => store.close(),
            Some(daemon) if self.changing => Ok(daemon.end_session().map(drop)?),
            Some(_) => Ok(()),
        }
    }

    fn follow_to(&self, until: &Durable) -> Result<(), Error> {
        self.follow(until, &mut |_, _| {})
    }

    /// What the daemon carried out, seen here too. Its answer says where the events went; one that does not say all is looked up in
    /// the journal.
    fn carried(&self, daemon: &Client, carried: Carried) -> Result<Done, Error> {
        let (durable, left_out) = (carried.durable, carried.left_out);
        let mut done = carried.into_done();
        let until = match (durable, left_out || !self.take_over(&done)?) {
            (Some(durable), _) => Durable::from(durable),
            (None, true) => daemon.position()?,
            (None, false) => return Ok(done),
        };
        let (first, last) = (done.first, done.last);
        let events = &mut done.events;
        self.follow(&until, &mut |_: &State, placed: &Placed<'_>| {
            if left_out && (first..=last).contains(&placed.seq) {
                events.push(placed.event.clone());
            }
        })?;
        Ok(done)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            // The command's own failure is what is told; this one follows from it.
            tracing::debug!(%error, "the store was not closed in good order");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use strand_engine::{InitOptions, NewBody, OpenOptions, StoreId, SystemClock};
    use strand_journal::FileDisk;
    use strand_serve::daemon::{Daemon, DaemonOptions};

    #[test]
    fn a_live_volume_is_read_as_it_is_kept_however_far_the_daemon_is() {
        let (dir, me) = (tempfile::tempdir().unwrap(), Actor::program());
        let at = dir.path().join("store");
        let init = InitOptions {
            segment_size: 256 << 10,
            capacity: None,
            store: StoreId([5; 16]),
        };
        let clock = || Arc::new(SystemClock::default());
        let disk = Arc::new(FileDisk::create(&at).unwrap());
        let store = Store::init(disk, clock(), init, &me).unwrap();
        let create = Command::VolumeCreate {
            name: "pg".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        store.run(&me, create).unwrap();
        let volume = Arc::clone(store.state().volume_named("pg").unwrap());
        let daemon = Daemon::start(store, &at, DaemonOptions::default()).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let served = std::thread::spawn(move || daemon.serve(&|| ended.load(Ordering::Relaxed)));
        let client = || {
            let client = Client::connect(&at).unwrap().unwrap();
            client.begin(&me).unwrap();
            client
        };
        let reader = client();
        let disk = Arc::new(FileDisk::open(&at).unwrap());
        let until = reader.position().unwrap();
        let store = Store::open_beside(disk, clock(), OpenOptions::read_only(), &until).unwrap();
        let reader = Opened::beside(store, reader, false);

        let writer = client();
        let change = |name: &str| {
            let create = Command::Create {
                volume: volume.id,
                dir: volume.live.root,
                name: name.as_bytes().into(),
                body: NewBody::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
            };
            writer.submit(create, &[]).unwrap();
        };
        change("before");
        let reading = reader.reading(Source::Live(volume.id), "a test").unwrap();
        change("after");
        reader.look_again().unwrap();
        let tree = reading.open(&reader).unwrap();
        let has = |tree: &Fileset, name: &[u8]| tree.child(volume.live.root, name).is_some();
        assert!(has(&tree, b"before") && !has(&tree, b"after"));
        reading.keep().unwrap();
        let now = reader.view(Source::Live(volume.id)).unwrap();
        assert!(has(&now, b"after"), "this store has gone on");
        // What is kept is behind it, so nobody may open that as the present.
        let late = reader.reading(Source::Live(volume.id), "a test").map(drop);
        assert_eq!(late.unwrap_err().kind(), Kind::Stale);
        drop((reading, writer));
        reader.close().unwrap();
        end.store(true, Ordering::Relaxed);
        served.join().unwrap().unwrap();
    }
}
