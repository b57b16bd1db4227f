//! The log as a person reads it: newest first, everyday events collapsed into runs.

use super::back::{Logged, NewestFirst, newest_first};
use super::filter::{Chosen, Filter};
use super::labels::Labels;
use super::run::Run;
use super::{sentence, touch};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use strand_engine::{Actor, CheckpointId, Error, Event, EventTime, Seq, Store};

/// A run ends where its actor paused this long, in ns.
const GAP_NS: u64 = 2_000_000_000;
/// The most events of one row: a page of a journal that is all one run must not take a walk through the whole of it.
const RUN_EVENTS: u64 = 4096;
/// The most actors whose runs are open side by side.
const OPEN_RUNS: usize = 16;
/// The most paths that a row names.
const ROW_PATHS: usize = 4;

/// One line of the log: a command, or a run of everyday events of one actor on one volume.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Number of its first event.
    pub first_seq: Seq,
    /// Number of its last event.
    pub last_seq: Seq,
    /// Time of its first event, in ns since the Unix epoch.
    pub first_time: EventTime,
    /// Time of its last event.
    pub last_time: EventTime,
    /// Who did it.
    pub actor: Actor,
    /// The kind of event it is about.
    pub kind: &'static str,
    /// How many events of each kind it stands for.
    pub kinds: BTreeMap<&'static str, u64>,
    /// The volume, where it is about one.
    pub volume: Option<String>,
    /// Blocks written.
    pub blocks: u64,
    /// Files whose content changed.
    pub files: u64,
    /// What passed to checkpoints.
    pub passed: Vec<Passed>,
    /// What nodata checkpoints marked as changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<Passed>,
    /// Paths of the files, at most four.
    pub paths: Vec<String>,
    /// The whole in words, with the actor, without the time.
    pub text: String,
}

/// Versions that passed to one checkpoint, or that it marked.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Passed {
    /// The checkpoint's name.
    pub checkpoint: String,
    /// How many, in blocks.
    pub blocks: u64,
}

/// The rows of a store's log, newest first by their last event, read as they are asked for.
pub struct Rows {
    source: NewestFirst,
    chosen: Chosen,
    labels: Labels,
    /// Read already: the last event of the next older command.
    ahead: Option<Logged>,
    /// Runs that older events may still join, newest last event first.
    open: VecDeque<Run>,
    ready: VecDeque<Row>,
    failure: Option<Error>,
    ended: bool,
}

/// The rows that `filter` chooses, newest first.
///
/// What two actors do at the same time is told in two rows. A row stands for at most 4,096 events.
#[must_use]
pub fn rows(store: &Store, filter: &Filter) -> Rows {
    let state = store.state();
    Rows {
        source: newest_first(store),
        chosen: Chosen::new(filter, &state),
        labels: Labels::new(state),
        ahead: None,
        open: VecDeque::new(),
        ready: VecDeque::new(),
        failure: None,
        ended: false,
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(Ok(row));
            }
            if let Some(failure) = self.failure.take() {
                return Some(Err(failure));
            }
            if self.ended {
                return None;
            }
            match self.command() {
                Ok(Some(command)) => self.take(&command),
                Ok(None) => self.end(),
                Err(failure) => {
                    self.end();
                    self.failure = Some(failure);
                }
            }
        }
    }
}

impl Rows {
    /// The chosen events of the next older command that has any, newest first.
    fn command(&mut self) -> Result<Option<Vec<Logged>>, Error> {
        let mut command: Vec<Logged> = Vec::new();
        let mut inside = false;
        loop {
            let logged = match self.ahead.take() {
                Some(logged) => logged,
                None => match self.source.next().transpose()? {
                    Some(logged) => logged,
                    None => return Ok((!command.is_empty()).then_some(command)),
                },
            };
            if self.chosen.is_past(logged.time) {
                self.source = NewestFirst::none();
                return Ok((!command.is_empty()).then_some(command));
            }
            if logged.last && inside && !command.is_empty() {
                self.ahead = Some(logged);
                return Ok(Some(command));
            }
            inside = true;
            if self.chosen.matches(&logged) {
                command.push(logged);
            }
        }
    }

    fn take(&mut self, command: &[Logged]) {
        let only = self.chosen.filter.checkpoint;
        // The first sight of an actor says nothing beside what it did.
        let said = command
            .iter()
            .filter(|l| !matches!(l.event, Event::ActorSeen { .. }));
        let mut said: Vec<&Logged> = said.collect();
        if said.is_empty() {
            said = command.iter().collect();
        }
        // A scope event beside an everyday one stands for its copy-outs.
        let is_scope = |l: &&Logged| matches!(l.event, Event::CopiedOutScope { .. });
        if said
            .iter()
            .all(|l| touch::is_everyday(&l.event) || is_scope(l))
            && !said.iter().all(is_scope)
        {
            self.join(&said);
            return;
        }
        self.flush();
        let main = said
            .iter()
            .find(|l| sentence::is_main(&l.event))
            .or(said.first());
        let rolled_back = said
            .iter()
            .find(|l| matches!(l.event, Event::RolledBack { .. }));
        let (Some(main), Some((newest, older))) = (main, said.split_first()) else {
            return;
        };
        let mut run = Run::of(newest, only);
        older.iter().for_each(|l| run.add(l, only));
        let text =
            sentence::of_command(&run, main, rolled_back.map(|l| &l.event), &mut self.labels);
        let row = self.row(run, main.event.kind(), text);
        self.ready.push_back(row);
    }

    /// Adds an everyday command to the open run of its actor and volume, or opens one.
    fn join(&mut self, said: &[&Logged]) {
        let only = self.chosen.filter.checkpoint;
        let (Some(newest), Some(oldest)) = (said.first(), said.last()) else {
            return;
        };
        for run in &mut self.open {
            run.closed |= run.first_time.saturating_sub(newest.time) >= GAP_NS;
        }
        let volume = newest.event.volume();
        let mine = self
            .open
            .iter_mut()
            .find(|run| !run.closed && run.actor == newest.actor && run.volume == volume);
        match mine {
            Some(run) => said.iter().for_each(|l| run.add(l, only)),
            None => {
                let mut run = Run::of(newest, only);
                said.iter().skip(1).for_each(|l| run.add(l, only));
                self.open.push_back(run);
            }
        }
        for run in &mut self.open {
            run.closed |= run.events >= RUN_EVENTS && run.first_seq <= oldest.seq;
        }
        while self.open.front().is_some_and(|run| run.closed) || self.open.len() > OPEN_RUNS {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(run) = self.open.pop_front() {
            let (kind, text) = (
                sentence::kind_of_run(&run),
                sentence::of_run(&run, &mut self.labels),
            );
            let row = self.row(run, kind, text);
            self.ready.push_back(row);
        }
    }

    fn flush(&mut self) {
        while !self.open.is_empty() {
            self.release();
        }
    }

    fn end(&mut self) {
        self.flush();
        self.ended = true;
    }

    fn row(&mut self, run: Run, kind: &'static str, text: String) -> Row {
        let labels = &mut self.labels;
        let paths = match run.volume {
            Some(volume) => run
                .touched
                .iter()
                .take(ROW_PATHS)
                .map(|ino| labels.file(volume, *ino))
                .collect(),
            None => Vec::new(),
        };
        let by_name = |sums: &BTreeMap<CheckpointId, u64>, labels: &Labels| {
            sums.iter()
                .map(|(id, blocks)| Passed {
                    checkpoint: labels.checkpoint(*id),
                    blocks: *blocks,
                })
                .collect()
        };
        Row {
            first_seq: run.first_seq,
            last_seq: run.last_seq,
            first_time: run.first_time,
            last_time: run.last_time,
            actor: (*labels.actor(run.actor)).clone(),
            kind,
            volume: run.volume.map(|v| labels.volume(v)),
            blocks: run.written,
            files: run.files.len() as u64,
            passed: by_name(&run.passed, labels),
            marked: by_name(&run.marked, labels),
            paths,
            kinds: run.kinds,
            text,
        }
    }
}
