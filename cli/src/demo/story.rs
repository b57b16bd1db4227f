//! The steps of the demo, in order. Each does something to the store, compares what comes out with what was remembered, and says so.

use super::bank::{self, Bank, CARELESS_UPDATE, Contents, Dice, Integrity};
use super::evidence;
use super::sqlite::SqliteVfs;
use super::tell::{Line, Step};
use crate::error::{Failure, Outcome};
use crate::output::units::{blocks_size, count, counted, seconds, size};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{
    Actor, CheckpointId, Command, Done, Grade, InitOptions, Kind, Ledger, Refusal, Seq, Source,
    Store, SystemClock, VolumeId,
};
use strand_journal::{DEFAULT_SEGMENT_SIZE, FileDisk, StoreId};
use strand_replay::{check, log, verify};

/// The demo's volume.
pub(crate) const VOLUME: &str = "bank";
/// The demo's checkpoint.
pub(crate) const CHECKPOINT: &str = "before-upgrade";

/// Transfers after the checkpoint.
const TRANSFERS: u64 = 400;
/// Pages that the rogue scribbles on.
const SCRIBBLED: usize = 24;
/// The most bytes of one scribble.
const SCRIBBLE: u64 = 2048;
/// Where the dice begin: the demo is the same in every run.
const SEED: u64 = 1986;
/// Audit rows that are shown.
const ROWS_SHOWN: usize = 3;

/// A step.
type Tell = fn(&mut Story) -> Outcome<Step>;

/// All steps, in order.
pub(crate) const STEPS: &[Tell] = &[
    Story::store,
    Story::database,
    Story::checkpoint,
    Story::business,
    Story::careless,
    Story::rogue,
    Story::evidence,
    Story::rollback,
    Story::undo,
    Story::redo,
    Story::precise,
    Story::replay,
    Story::verify,
];

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
            gid: 0,
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

    fn store(&mut self) -> Outcome<Step> {
        let lasting = if self.kept {
            "which stays"
        } else {
            "removed at the end"
        };
        let text = format!(
            "A store in {} ({lasting}), with an empty volume, {VOLUME}.",
            self.dir.display()
        );
        Ok(Step {
            name: "store",
            lines: vec![Line::Text(text)],
            facts: json!({"store": self.dir.display().to_string(), "volume": VOLUME}),
        })
    }

    fn database(&mut self) -> Outcome<Step> {
        let mut bank = open(&self.payments)?;
        bank.found(&mut self.dice).map_err(sqlite)?;
        let contents = bank.contents().map_err(sqlite)?;
        drop(bank);
        self.store.sync()?;
        let (bytes, events) = (self.file()?.len() as u64, self.store.state().seq);
        let text = format!(
            "SQLite makes a database, directly in the volume: {} and {}, {} in {}. Every page it writes is an event; there are {} now.",
            counted(contents.accounts(), "account"),
            entries(contents.entries()),
            size(bytes),
            bank::PATH,
            count(events),
        );
        let facts = json!({"file": bank::PATH, "bytes": bytes, "events": events, "contents": contents.facts()});
        Ok(Step {
            name: "database",
            lines: vec![Line::Text(text)],
            facts,
        })
    }

    fn checkpoint(&mut self) -> Outcome<Step> {
        let contents = open(&self.payments)?.contents().map_err(sqlite)?;
        let (done, took) = self.timed(Command::CheckpointCreate {
            name: Some(CHECKPOINT.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable: false,
            note: "the demo's".into(),
        })?;
        self.checkpoint = self
            .store
            .state()
            .checkpoint_named(CHECKPOINT)
            .map(|c| c.id)
            .ok_or_else(|| lost("the checkpoint"))?;
        let text = format!(
            "{CHECKPOINT}, taken and durable in {}; no data moved. Balances are {} in all; every row is remembered (checksum {}).",
            seconds(took),
            money(contents.total()),
            contents.checksum(),
        );
        let facts = json!({"checkpoint": CHECKPOINT, "seq": done.last, "ms": ms(took), "contents": contents.facts()});
        self.at_checkpoint = Some(contents);
        Ok(Step {
            name: "checkpoint",
            lines: vec![Line::Text(text)],
            facts,
        })
    }

    fn business(&mut self) -> Outcome<Step> {
        let started = Instant::now();
        let mut bank = open(&self.payments)?;
        for transfer in 0..TRANSFERS {
            if transfer == TRANSFERS / 2 {
                self.halfway = self.store.state().boundary;
            }
            bank.transfer(&mut self.dice).map_err(sqlite)?;
        }
        let took = started.elapsed();
        let contents = bank.contents().map_err(sqlite)?;
        drop(bank);
        self.store.sync()?;
        self.before_wreck = self.store.state().boundary;
        let ledger = self.ledger()?;
        let kept_total = self
            .at_checkpoint
            .as_ref()
            .is_some_and(|c| c.total() == contents.total());
        let mut lines = vec![Line::Text(format!(
            "{} transfers, each a transaction of its own, in {}. {} of the old state passed to {CHECKPOINT} on the way (0 bytes moved).",
            count(TRANSFERS),
            seconds(took),
            counted(ledger.copied_out, "block"),
        ))];
        let held = kept_total && ledger.copied_out > 0;
        self.compare(
            &mut lines,
            held,
            &format!("Balances are still {} in all.", money(contents.total())),
        );
        let facts = json!({
            "transfers": TRANSFERS, "ms": ms(took), "ledger": ledger_facts(ledger), "seq": self.before_wreck, "contents": contents.facts(),
        });
        self.after_business = Some(contents);
        Ok(Step {
            name: "business",
            lines,
            facts,
        })
    }

    fn careless(&mut self) -> Outcome<Step> {
        let bank = open(&self.maintenance)?;
        let rows = bank.update_without_where().map_err(sqlite)?;
        let total = bank.contents().map_err(sqlite)?.total();
        let lines = vec![
            Line::Text(format!("Somebody forgets a WHERE: {CARELESS_UPDATE};")),
            Line::Bad(format!(
                "{} changed. Balances are {} in all.",
                counted(rows, "row"),
                money(total)
            )),
        ];
        Ok(Step {
            name: "mistake",
            lines,
            facts: json!({"sql": CARELESS_UPDATE, "rows": rows, "total_cents": total}),
        })
    }

    fn rogue(&mut self) -> Outcome<Step> {
        let pages = open(&self.maintenance)?
            .pages_to_scribble(SCRIBBLED, &mut self.dice)
            .map_err(sqlite)?;
        let ino = self
            .store
            .state()
            .volume(self.volume)
            .and_then(|v| v.live.lookup(bank::PATH.as_bytes()));
        let ino = ino.ok_or_else(|| lost("the database"))?;
        for page in &pages {
            let garbage = self.dice.bytes(256);
            let length = 256 + self.dice.below(SCRIBBLE - 256);
            let scribble: Vec<u8> = garbage
                .iter()
                .copied()
                .cycle()
                .take(usize::try_from(length).unwrap_or(256))
                .collect();
            self.store.write(
                &self.rogue,
                self.volume,
                ino,
                (page - 1) * bank::PAGE,
                &scribble,
            )?;
        }
        self.store.sync()?;
        let integrity = open(&self.maintenance)?.integrity();
        self.wreck = self.file()?;
        let mut lines = vec![Line::Text(format!(
            "And a rogue program scribbles garbage on {} of {}.",
            counted(pages.len() as u64, "page"),
            bank::PATH
        ))];
        if integrity.ok {
            self.compare(&mut lines, false, "integrity_check finds the scribbles.");
        } else {
            let problems = counted(integrity.problems, "problem");
            lines.push(Line::Bad(format!(
                "integrity_check: {problems}, the first: {}",
                shortened(&integrity.first)
            )));
        }
        let facts = json!({"pages": pages, "integrity": integrity_facts(&integrity)});
        Ok(Step {
            name: "wreck",
            lines,
            facts,
        })
    }

    fn evidence(&mut self) -> Outcome<Step> {
        let passed = evidence::passed_to(&self.store, self.volume, self.checkpoint)?;
        let total: u64 = passed.iter().map(|row| row.blocks).sum();
        let ledger = self.ledger()?;
        let mut lines = vec![Line::Text(format!(
            "Whose work was it? The journal says which blocks passed to {CHECKPOINT}, of which file, by whom:"
        ))];
        let width = passed.iter().map(|row| row.actor.len()).max().unwrap_or(0);
        for row in &passed {
            lines.push(Line::Row(format!(
                "  {:<width$}  {:>14}  of {}",
                row.actor,
                counted(row.blocks, "block"),
                row.path
            )));
        }
        lines.push(Line::Row(format!("  {}", ledger_line(ledger))));
        self.compare(
            &mut lines,
            total == ledger.copied_out && ledger.copied_out == ledger.owned(),
            &format!(
                "The events add up to the ledger: {}, {}.",
                counted(total, "block"),
                blocks_size(total)
            ),
        );
        let rows = self.audit_rows()?;
        lines.push(Line::Text("The audit trail, newest first:".into()));
        lines.extend(
            rows.iter()
                .map(|row| Line::Row(format!("  {}", clipped(&row.text, 63)))),
        );
        let by: Vec<Value> = passed
            .iter()
            .map(|r| json!({"actor": r.actor, "path": r.path, "blocks": r.blocks, "first_seq": r.first, "last_seq": r.last}))
            .collect();
        let facts = json!({"copied_out": by, "ledger": ledger_facts(ledger), "log": rows});
        Ok(Step {
            name: "evidence",
            lines,
            facts,
        })
    }

    fn rollback(&mut self) -> Outcome<Step> {
        let source = Source::Checkpoint(self.volume, self.checkpoint);
        let (done, took) = self.timed(Command::Rollback {
            volume: self.volume,
            source,
            only: false,
        })?;
        let mut lines = vec![Line::Text(format!(
            "strand rollback {VOLUME} --to {CHECKPOINT}: done and durable in {}.",
            seconds(took)
        ))];
        let remembered = self.at_checkpoint.clone();
        let facts = self.healthy(
            &mut lines,
            remembered.as_ref(),
            "as remembered at the checkpoint",
        )?;
        Ok(Step {
            name: "rollback",
            lines,
            facts: merged(json!({"seq": done.last, "ms": ms(took)}), facts),
        })
    }

    fn undo(&mut self) -> Outcome<Step> {
        let (done, took) = self.timed(Command::Undo {
            volume: Some(self.volume),
        })?;
        let same = self.file()? == self.wreck;
        let mut lines = vec![Line::Text(format!(
            "strand undo: the rollback is undone in {}.",
            seconds(took)
        ))];
        let bytes = size(self.wreck.len() as u64);
        self.compare(
            &mut lines,
            same,
            &format!("The wreck is back, every byte of its {bytes}: nothing is ever lost."),
        );
        Ok(Step {
            name: "undo",
            lines,
            facts: json!({"seq": done.last, "ms": ms(took), "equal": same}),
        })
    }

    fn redo(&mut self) -> Outcome<Step> {
        let (done, took) = self.timed(Command::Redo {
            volume: Some(self.volume),
        })?;
        let mut lines = vec![Line::Text(format!(
            "strand redo: rolled back once more in {}.",
            seconds(took)
        ))];
        let remembered = self.at_checkpoint.clone();
        let facts = self.healthy(
            &mut lines,
            remembered.as_ref(),
            "as remembered at the checkpoint",
        )?;
        Ok(Step {
            name: "redo",
            lines,
            facts: merged(json!({"seq": done.last, "ms": ms(took)}), facts),
        })
    }

    fn precise(&mut self) -> Outcome<Step> {
        let source = Source::Position(self.volume, self.before_wreck);
        let (done, took) = self.timed(Command::Rollback {
            volume: self.volume,
            source,
            only: false,
        })?;
        let mut lines = vec![Line::Text(format!(
            "But the transfers were good. strand rollback {VOLUME} --to seq:{} goes to the last commit before the mistake, in {}.",
            self.before_wreck,
            seconds(took)
        ))];
        let remembered = self.after_business.clone();
        let facts = self.healthy(&mut lines, remembered.as_ref(), "with all the transfers")?;
        let facts = merged(
            json!({"to": self.before_wreck, "seq": done.last, "ms": ms(took)}),
            facts,
        );
        Ok(Step {
            name: "to the point",
            lines,
            facts,
        })
    }

    fn replay(&mut self) -> Outcome<Step> {
        self.store.settle()?;
        let report = check::replay_check(&self.store, None)?;
        let live = self.store.digest();
        let same = report.digest == live;
        let mut lines = Vec::new();
        self.compare(
            &mut lines,
            same,
            &format!(
                "{} folded again from the first, in {}: the same state, digest {live:032x}.",
                counted(report.events, "event"),
                seconds(Duration::from_secs_f64(report.seconds)),
            ),
        );
        let facts =
            json!({"events": report.events, "digest": format!("{live:032x}"), "equal": same});
        Ok(Step {
            name: "replay",
            lines,
            facts,
        })
    }

    fn verify(&mut self) -> Outcome<Step> {
        let options = verify::Options {
            data: true,
            ..verify::Options::default()
        };
        let started = Instant::now();
        let report = verify::verify(&self.store, options, &|_| {})?;
        let took = started.elapsed();
        let mut lines = Vec::new();
        self.compare(
            &mut lines,
            report.ok(),
            &format!(
                "strand verify --data: chain, checksums, ledger and every copy-out hold ({}).",
                seconds(took)
            ),
        );
        let facts = json!({"ok": report.ok(), "ms": ms(took), "findings": report.findings.len()});
        Ok(Step {
            name: "verify",
            lines,
            facts,
        })
    }

    /// Runs a command of the operator's: how long until it is durable.
    fn timed(&self, command: Command) -> Outcome<(Done, Duration)> {
        let started = Instant::now();
        let done = self.store.run(&self.operator, command)?;
        let took = started.elapsed();
        Ok((done, took))
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
                shortened(&integrity.first),
                counted(rows, "row"),
                money(total)
            ),
        );
        Ok(
            json!({"integrity": integrity_facts(&integrity), "equal": same, "contents": contents.map(|c| c.facts())}),
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

    fn ledger(&self) -> Outcome<Ledger> {
        let state = self.store.state();
        Ok(state
            .image(self.volume, self.checkpoint)
            .map(|image| image.ledger)
            .ok_or_else(|| lost("the checkpoint's image"))?)
    }

    fn audit_rows(&self) -> Outcome<Vec<log::Row>> {
        let filter = log::Filter {
            volume: Some(self.volume),
            ..log::Filter::default()
        };
        Ok(log::rows(&self.store, &filter)
            .take(ROWS_SHOWN)
            .collect::<Result<_, _>>()?)
    }

    /// The database's bytes, as they are now.
    fn file(&self) -> Outcome<Vec<u8>> {
        let state = self.store.state();
        let live = &state
            .volume(self.volume)
            .ok_or_else(|| lost("the volume"))?
            .live;
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

fn entries(number: u64) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { "entry" } else { "entries" }
    )
}

/// Cents as money, `200,123,456.78`.
fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!(
        "{sign}{}.{:02}",
        count(cents.unsigned_abs() / 100),
        cents.unsigned_abs() % 100
    )
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn shortened(text: &str) -> String {
    clipped(text, 48)
}

fn clipped(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        text.to_owned()
    } else {
        text.chars().take(columns - 1).chain(['…']).collect()
    }
}

fn ledger_line(ledger: Ledger) -> String {
    let Ledger {
        copied_out,
        handed_in,
        handed_down,
        released,
    } = ledger;
    format!(
        "ledger: {} out + {} in − {} down − {} released = {} owned",
        count(copied_out),
        count(handed_in),
        count(handed_down),
        count(released),
        count(ledger.owned())
    )
}

fn ledger_facts(ledger: Ledger) -> Value {
    json!({
        "copied_out": ledger.copied_out,
        "handed_in": ledger.handed_in,
        "handed_down": ledger.handed_down,
        "released": ledger.released,
        "owned": ledger.owned(),
    })
}

fn integrity_facts(integrity: &Integrity) -> Value {
    json!({"ok": integrity.ok, "problems": integrity.problems, "first": integrity.first})
}

fn merged(first: impl Into<Value>, second: Value) -> Value {
    match (first.into(), second) {
        (Value::Object(mut all), Value::Object(more)) => {
            all.extend(more);
            Value::Object(all)
        }
        (first, _) => first,
    }
}
