//! The demo's world: its store, SQLite's ways into it, and what is remembered to compare with. The steps are in [`steps`], the
//! turns of phrase in [`words`].

mod steps;
mod words;

pub(crate) use steps::STEPS;

use super::bank::{self, Bank, Contents, Dice};
use super::sqlite::SqliteVfs;
use super::tell::Line;
use crate::error::{Failure, Outcome};
use crate::output::units::counted;
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{
    Actor, CheckpointId, Command, Done, Grade, Image, InitOptions, Kind, Refusal, Seq, Store,
    SystemClock, Volume, VolumeId,
};
use strand_journal::{DEFAULT_SEGMENT_SIZE, FileDisk, StoreId};

/// The demo's volume.
pub(crate) const VOLUME: &str = "bank";
/// The demo's checkpoint.
pub(crate) const CHECKPOINT: &str = "before-upgrade";

/// Where the dice begin: the demo is the same in every run.
const SEED: u64 = 1986;
/// What the demo works with, and what it remembers.
pub(crate) struct Story {
    dir: PathBuf,
    kept: bool,
    store: Arc<Store>,
    volume: VolumeId,
    checkpoint: CheckpointId,
    /// Who runs the demo.
    operator: Actor,
    dice: Dice,
    payments: SqliteVfs,
    maintenance: SqliteVfs,
    rogue: Actor,
    at_checkpoint: Option<Contents>,
    after_business: Option<Contents>,
    wreck: Vec<u8>,
    halfway: Seq,
    before_wreck: Seq,
    /// Comparisons that came out wrong.
    pub(crate) failed: Vec<String>,
}

impl Story {
    /// Makes the store with its volume, and lets SQLite see it under one name for each of its users.
    pub(crate) fn begin(dir: &Path, kept: bool, operator: Actor) -> Outcome<Self> {
        let disk = FileDisk::create(dir).map_err(crate::error::on_path("make a store in", dir))?;
        let options = InitOptions {
            segment_size: DEFAULT_SEGMENT_SIZE,
            capacity: None,
            store: fresh_id(),
        };
        let store = Store::init(
            Arc::new(disk),
            Arc::new(SystemClock::default()),
            options,
            &operator,
        )?;
        let create = Command::VolumeCreate {
            name: VOLUME.into(),
            mode: 0o755,
            uid: operator.uid,
            gid: rustix::process::getgid().as_raw(),
        };
        store.run(&operator, create)?;
        let volume = store
            .state()
            .volume_named(VOLUME)
            .map(|v| v.id)
            .ok_or_else(|| lost("the volume"))?;
        let store = Arc::new(store);
        let role = |name: &str| Actor {
            grade: Grade::Caller,
            name: name.into(),
            command: String::new(),
            ..operator.clone()
        };
        // SQLite's names are those of the process: two demos in one process keep out of each other's way.
        let vfs = |name: &str| {
            let unique = format!("strand-demo-{name}-{}", Arc::as_ptr(&store).addr());
            SqliteVfs::register(&unique, Arc::clone(&store), volume, role(name))
        };
        Ok(Self {
            dir: dir.to_owned(),
            kept,
            payments: vfs("payments")?,
            maintenance: vfs("maintenance")?,
            rogue: role("rogue"),
            store,
            volume,
            checkpoint: CheckpointId::default(),
            operator,
            dice: Dice::new(SEED),
            at_checkpoint: None,
            after_business: None,
            wreck: Vec::new(),
            halfway: 0,
            before_wreck: 0,
            failed: Vec::new(),
        })
    }

    /// A position in the middle of the business.
    pub(crate) fn halfway(&self) -> Seq {
        self.halfway
    }

    /// Closes the store in good order.
    pub(crate) fn end(self) -> Outcome {
        drop((self.payments, self.maintenance));
        let store =
            Arc::into_inner(self.store).ok_or_else(|| lost("the last hold on the store"))?;
        store.close()?;
        Ok(())
    }

    /// Runs a command of the operator's: how long until it is durable.
    fn timed(&self, command: Command) -> Outcome<(Done, Duration)> {
        let started = Instant::now();
        let done = self.store.run(&self.operator, command)?;
        Ok((done, started.elapsed()))
    }

    /// As [`Self::timed`], for a command that needs no look into history: how long it takes itself, and until it is durable.
    fn timed_apart(&self, command: Command) -> Outcome<(Done, Duration, Duration)> {
        let started = Instant::now();
        let done = self.store.submit(&self.operator, command)?;
        let took = started.elapsed();
        self.store.commit(done.ticket)?;
        Ok((done, took, started.elapsed()))
    }

    /// Compares the database with what is remembered, by SQLite's check and row by row.
    fn healthy(
        &mut self,
        lines: &mut Vec<Line>,
        remembered: Option<&Contents>,
        how: &str,
    ) -> Outcome<Value> {
        let bank = open(&self.payments)?;
        let integrity = bank.integrity();
        let contents = if integrity.ok {
            Some(bank.contents().map_err(sqlite)?)
        } else {
            None
        };
        drop(bank);
        let same = contents.is_some() && contents.as_ref() == remembered;
        let (rows, total) = contents
            .as_ref()
            .map_or((0, 0), |c| (c.accounts() + c.entries(), c.total()));
        self.compare(
            lines,
            integrity.ok && same,
            &format!(
                "integrity_check: {}. All {} {how}; balances {} in all.",
                words::shortened(&integrity.first),
                counted(rows, "row"),
                words::money(total)
            ),
        );
        Ok(
            json!({"integrity": words::integrity_facts(&integrity), "equal": same, "contents": contents.map(|c| c.facts())}),
        )
    }

    /// Says how a comparison came out, and remembers one that came out wrong.
    fn compare(&mut self, lines: &mut Vec<Line>, held: bool, text: &str) {
        if held {
            lines.push(Line::Good(text.to_owned()));
        } else {
            self.failed.push(text.to_owned());
            lines.push(Line::Bad(format!("FAILED: {text}")));
        }
    }

    /// The volume, as it is now.
    fn volume(&self) -> Outcome<Arc<Volume>> {
        Ok(self
            .store
            .state()
            .volume(self.volume)
            .cloned()
            .ok_or_else(|| lost("the volume"))?)
    }

    /// What the checkpoint keeps of it.
    fn image(&self) -> Outcome<Image> {
        Ok(self
            .volume()?
            .images
            .get(&self.checkpoint)
            .cloned()
            .ok_or_else(|| lost("the checkpoint's image"))?)
    }

    /// The database's bytes, as they are now.
    fn file(&self) -> Outcome<Vec<u8>> {
        let volume = self.volume()?;
        let live = &volume.live;
        let ino = live
            .lookup(bank::PATH.as_bytes())
            .ok_or_else(|| lost("the database"))?;
        let length = live.inode(ino).map_or(0, |inode| inode.size());
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = self.store.read(live, ino, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// An id that no other store has: the standard library's hash keys come from the system's randomness.
fn fresh_id() -> StoreId {
    let random = || RandomState::new().hash_one(Instant::now());
    StoreId((u128::from(random()) << 64 | u128::from(random())).to_le_bytes())
}

fn open(vfs: &SqliteVfs) -> Outcome<Bank> {
    Bank::open(vfs).map_err(sqlite)
}

fn sqlite(error: rusqlite::Error) -> Failure {
    Refusal::new(Kind::Io, "SQLite failed")
        .why(error.to_string())
        .into()
}

fn lost(what: &str) -> Refusal {
    Refusal::new(Kind::NotFound, format!("the demo lost {what}"))
}
