//! The steps of the demo, in order. Each does something to the store, compares what comes out with what was remembered, and says so.

use super::words::{
    audit_line, entries, integrity_facts, ledger_facts, ledger_line, merged, money, ms, shortened,
};
use super::{CHECKPOINT, Story, VOLUME, lost, open, sqlite};
use crate::demo::bank::{self, CARELESS_UPDATE};
use crate::demo::evidence;
use crate::demo::tell::{Line, Step};
use crate::error::Outcome;
use crate::output::units::{blocks_size, count, counted, seconds, size};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use strand_engine::numbers::rollback_numbers;
use strand_engine::{Command, Source};
use strand_replay::{check, log, verify};

/// Transfers after the checkpoint.
const TRANSFERS: u64 = 200;
/// Pages that the rogue scribbles on.
const SCRIBBLED: usize = 24;
/// The most bytes of one scribble.
const SCRIBBLE: u64 = 2048;
/// Audit rows that are shown; older ones are counted.
const ROWS_SHOWN: usize = 4;

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

impl Story {
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
        let (done, took, durable) = self.timed_apart(Command::CheckpointCreate {
            name: Some(CHECKPOINT.into()),
            volumes: vec![self.volume],
            nomount: false,
            removable: false,
            nodata: false,
            note: "the demo's".into(),
        })?;
        self.checkpoint = self
            .store
            .state()
            .checkpoint_named(CHECKPOINT)
            .map(|c| c.id)
            .ok_or_else(|| lost("the checkpoint"))?;
        let text = format!(
            "{CHECKPOINT}, in {} and durable after {}; no data moved. Balances are {} in all; every row is remembered (checksum {}).",
            seconds(took),
            seconds(durable),
            money(contents.total()),
            contents.checksum(),
        );
        let facts = json!({"checkpoint": CHECKPOINT, "seq": done.last, "ms": ms(took), "durable_ms": ms(durable), "contents": contents.facts()});
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
        let ledger = self.image()?.ledger;
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
            .volume()?
            .live
            .lookup(bank::PATH.as_bytes())
            .ok_or_else(|| lost("the database"))?;
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
        let ledger = self.image()?.ledger;
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
        let filter = log::Filter {
            volume: Some(self.volume),
            ..log::Filter::default()
        };
        let state = self.store.state();
        let since = state.checkpoints.get(&self.checkpoint).map_or(0, |c| c.seq);
        let rows: Vec<log::Row> = log::rows(&self.store, &filter)
            .take_while(|row| row.as_ref().map_or(true, |row| row.last_seq > since))
            .collect::<Result<_, _>>()?;
        lines.push(Line::Text(
            "The audit trail since the checkpoint, newest first:".into(),
        ));
        let (shown, older) = rows.split_at(rows.len().min(ROWS_SHOWN));
        lines.extend(shown.iter().map(|row| Line::Item(audit_line(row))));
        if !older.is_empty() {
            lines.push(Line::Item(format!(
                "and {}, with {} more",
                counted(older.len() as u64, "older row"),
                counted(blocks_passed(older), "block")
            )));
        }
        self.compare(
            &mut lines,
            blocks_passed(&rows) == total,
            &format!("Its rows add up to the same {}.", counted(total, "block")),
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
        let numbers = rollback_numbers(&self.volume()?.live, &self.image()?.root);
        let source = Source::Checkpoint(self.volume, self.checkpoint);
        let command = Command::Rollback {
            volume: self.volume,
            source,
            only: false,
        };
        let (done, took, durable) = self.timed_apart(command)?;
        let mut lines = vec![Line::Text(format!(
            "strand rollback {VOLUME} --to {CHECKPOINT}: {} back in {}, durable after {}.",
            counted(numbers.blocks, "block"),
            seconds(took),
            seconds(durable),
        ))];
        let remembered = self.at_checkpoint.clone();
        let facts = self.healthy(
            &mut lines,
            remembered.as_ref(),
            "as remembered at the checkpoint",
        )?;
        let timing = json!({"seq": done.last, "blocks": numbers.blocks, "ms": ms(took), "durable_ms": ms(durable)});
        Ok(Step {
            name: "rollback",
            lines,
            facts: merged(timing, facts),
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
            &format!("The wreck is back, byte for byte ({bytes}): a rollback loses nothing."),
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
            name: "precise",
            lines,
            facts,
        })
    }

    fn replay(&mut self) -> Outcome<Step> {
        self.store.settle()?;
        self.store.record_digest()?;
        self.store.sync()?;
        let report = check::replay_check(&self.store, None)?;
        let same = report.ok() && report.equals_store == Some(true);
        let mut lines = Vec::new();
        let text = format!(
            "{} folded again from the first one, in {}: the same state, digest {}.",
            counted(report.events, "event"),
            seconds(Duration::from_secs_f64(report.seconds)),
            report.digest,
        );
        self.compare(&mut lines, same, &text);
        let facts = json!({"replay": report, "equal": same});
        Ok(Step {
            name: "replay",
            lines,
            facts,
        })
    }

    fn verify(&mut self) -> Outcome<Step> {
        let options = verify::Options {
            data: true,
            from_scratch: true,
            anchor: None,
        };
        let started = Instant::now();
        let report = verify::verify(&self.store, &options, &|_| {})?;
        let took = started.elapsed();
        let mut lines = Vec::new();
        let totals = &report.totals;
        let text = format!(
            "strand verify --data: {} and {}; the chain, every checksum, every copy-out and the ledger hold ({}).",
            counted(totals.events, "event"),
            counted(totals.payload_blocks, "block"),
            seconds(took)
        );
        self.compare(&mut lines, report.ok(), &text);
        let facts = json!({"ok": report.ok(), "ms": ms(took), "findings": report.findings, "totals": report.totals});
        Ok(Step {
            name: "verify",
            lines,
            facts,
        })
    }
}

/// Before-images that passed to checkpoints in these rows, in blocks.
fn blocks_passed(rows: &[log::Row]) -> u64 {
    let passed = rows.iter().flat_map(|row| &row.passed);
    passed.map(|passed| passed.blocks).sum()
}
