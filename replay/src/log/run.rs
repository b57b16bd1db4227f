//! Events that belong together, summed up.

use super::back::Logged;
use super::touch;
use std::collections::{BTreeMap, BTreeSet};
use strand_engine::{ActorId, CheckpointId, Event, EventTime, Ino, Seq, VolumeId};

/// The sums over some events of one actor. Events are added newest first.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    pub(crate) first_time: EventTime,
    pub(crate) last_time: EventTime,
    pub(crate) actor: ActorId,
    pub(crate) volume: Option<VolumeId>,
    pub(crate) events: u64,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// Blocks written, unmapped, shared.
    pub(crate) written: u64,
    pub(crate) punched: u64,
    pub(crate) shared: u64,
    /// Files whose content changed, and others.
    pub(crate) files: BTreeSet<Ino>,
    pub(crate) touched: BTreeSet<Ino>,
    pub(crate) passed: BTreeMap<CheckpointId, u64>,
    pub(crate) marked: BTreeMap<CheckpointId, u64>,
    /// The event that the run is about, as long as there is only one but for copy-outs.
    pub(crate) sole: Option<Event>,
    others: u64,
    /// Nothing may join any more.
    pub(crate) closed: bool,
}

impl Run {
    /// Of one event.
    pub(crate) fn of(logged: &Logged, only: Option<CheckpointId>) -> Self {
        let mut run = Self {
            first_seq: logged.seq,
            last_seq: logged.seq,
            first_time: logged.time,
            last_time: logged.time,
            actor: logged.actor,
            volume: logged.event.volume(),
            events: 0,
            kinds: BTreeMap::new(),
            written: 0,
            punched: 0,
            shared: 0,
            files: BTreeSet::new(),
            touched: BTreeSet::new(),
            passed: BTreeMap::new(),
            marked: BTreeMap::new(),
            sole: None,
            others: 0,
            closed: false,
        };
        run.add(logged, only);
        run
    }

    /// Adds an older event. `only` names the checkpoint that a filter asked for: what passed to others is not counted then.
    pub(crate) fn add(&mut self, logged: &Logged, only: Option<CheckpointId>) {
        let event = &logged.event;
        self.first_seq = self.first_seq.min(logged.seq);
        self.first_time = self.first_time.min(logged.time);
        self.last_seq = self.last_seq.max(logged.seq);
        self.last_time = self.last_time.max(logged.time);
        self.volume = self.volume.or_else(|| event.volume());
        self.events += 1;
        *self.kinds.entry(event.kind()).or_default() += 1;
        let add = |sums: &mut BTreeMap<CheckpointId, u64>, to, blocks| {
            if only.is_none_or(|wanted| wanted == to) {
                let sum: &mut u64 = sums.entry(to).or_default();
                *sum = sum.saturating_add(blocks);
            }
        };
        touch::passed(event, |to, blocks| add(&mut self.passed, to, blocks));
        touch::marked(event, |to, blocks| add(&mut self.marked, to, blocks));
        match event {
            Event::Written { .. } => self.written += logged.blocks,
            Event::Punched { range, .. } => self.punched = self.punched.saturating_add(range.count),
            Event::Shared { count, .. } => self.shared = self.shared.saturating_add(*count),
            _ => {}
        }
        if let Some(ino) = event.file() {
            self.touched.insert(ino);
            if touch::replaced(event, logged.blocks).is_some() {
                self.files.insert(ino);
            }
        }
        if !matches!(
            event,
            Event::CopiedOut { .. } | Event::CopiedOutScope { .. } | Event::ChangeMarked { .. }
        ) {
            self.others += 1;
            self.sole = (self.others == 1).then(|| event.clone());
        }
    }

    /// How often a kind occurs.
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}
