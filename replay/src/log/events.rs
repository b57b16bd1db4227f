//! The log as it is: one row an event, nothing collapsed, with the event's fields.

use super::back::{Logged, NewestFirst, newest_first};
use super::filter::{Chosen, Filter};
use super::labels::{Labels, actor_value, cause_name};
use super::touch;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use strand_engine::{
    Actor, Cause, CheckpointId, Error, Event, EventTime, NewBody, Seq, Shift, Source, Store,
};
use strand_journal::{Frame, FrameIter, Start};

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Its number.
    pub seq: Seq,
    /// Its time, in ns since the Unix epoch.
    pub time: EventTime,
    /// Who did it.
    pub actor: Arc<Actor>,
    /// Its kind's stable name.
    pub kind: &'static str,
    /// The volume's name, where it concerns one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The file's path, where it concerns one and a path is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its number of payload blocks.
    pub blocks: u64,
    /// It ends a command: a commit boundary.
    pub last: bool,
    /// Its fields: numbers, text, lists. File names are text as [`crate::paths::text`] gives it.
    pub fields: Map<String, Value>,
}

enum Order {
    NewestFirst(NewestFirst),
    OldestFirst {
        frames: FrameIter,
        events: std::vec::IntoIter<Logged>,
        after: Seq,
    },
}

/// The events of a store, one at a time. Ends after an error.
pub struct Events {
    order: Order,
    chosen: Chosen,
    labels: Labels,
    failed: bool,
}

/// The events that `filter` chooses, newest first.
#[must_use]
pub fn events(store: &Store, filter: &Filter) -> Events {
    Events::new(store, filter, Order::NewestFirst(newest_first(store)))
}

/// The events after number `after` that `filter` chooses, oldest first: what a follower asks for again and again, with the last
/// number it saw.
///
/// # Errors
/// What finding the place in the journal gives.
pub fn events_after(store: &Store, filter: &Filter, after: Seq) -> Result<Events, Error> {
    let reader = store.journal().reader();
    let mut start = reader.origin();
    if after > 0 {
        for frame in reader.frames_back() {
            let frame = frame.map_err(Error::Journal)?;
            if frame.last() <= after {
                start = behind(&frame);
                break;
            }
        }
    }
    Ok(Events::new(
        store,
        filter,
        Order::OldestFirst {
            frames: reader.frames(start),
            events: Vec::new().into_iter(),
            after,
        },
    ))
}

/// The place behind a frame.
pub(crate) fn behind(frame: &Frame) -> Start {
    Start {
        number: frame.next_number(),
        segment: frame.segment,
        block: frame.end_block(),
        previous_block: frame.block,
        chain: frame.chain,
        time: frame.last_time,
        epoch: frame.epoch,
    }
}

impl Events {
    fn new(store: &Store, filter: &Filter, order: Order) -> Self {
        let state = store.state();
        Self {
            order,
            chosen: Chosen::new(filter, &state),
            labels: Labels::new(state),
            failed: false,
        }
    }

    fn read(&mut self) -> Result<Option<Logged>, Error> {
        match &mut self.order {
            Order::NewestFirst(source) => source.next().transpose(),
            Order::OldestFirst {
                frames,
                events,
                after,
            } => loop {
                if let Some(logged) = events.by_ref().find(|l| l.seq > *after) {
                    return Ok(Some(logged));
                }
                let Some(frame) = frames.next() else {
                    return Ok(None);
                };
                *events = super::back::read_all(&frame.map_err(Error::Journal)?)?.into_iter();
            },
        }
    }

    fn row(&mut self, logged: &Logged) -> EventRow {
        let volume = logged.event.volume();
        let file = volume.zip(logged.event.file());
        EventRow {
            seq: logged.seq,
            time: logged.time,
            actor: self.labels.actor(logged.actor),
            kind: logged.event.kind(),
            volume: volume.map(|v| self.labels.volume(v)),
            path: file
                .and_then(|(v, ino)| self.labels.path(v, ino))
                .map(|path| crate::paths::text(&path)),
            blocks: logged.blocks,
            last: logged.last,
            fields: fields(&logged.event, &self.labels),
        }
    }
}

impl Iterator for Events {
    type Item = Result<EventRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.read() {
                Ok(Some(logged)) => {
                    let newest_first = matches!(self.order, Order::NewestFirst(_));
                    if newest_first && self.chosen.is_past(logged.time) {
                        self.failed = true;
                    } else if self.chosen.matches(&logged) {
                        return Some(Ok(self.row(&logged)));
                    }
                }
                Ok(None) => self.failed = true,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// An event's fields under their own names, with names beside numbers where that helps.
fn fields(event: &Event, labels: &Labels) -> Map<String, Value> {
    if let Event::DigestRecorded { at, digest } = event {
        // JSON numbers do not hold 128 bits.
        return Map::from_iter([
            ("at".into(), json!(at)),
            ("digest".into(), json!(format!("{digest:032x}"))),
        ]);
    }
    let mut fields = match serde_json::to_value(event) {
        Ok(Value::Object(variant)) => match variant.into_iter().next() {
            Some((_, Value::Object(fields))) => fields,
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    for (key, value) in &mut fields {
        match key.as_str() {
            "name" | "from_name" | "to_name" | "a_name" | "b_name" | "value" => {
                bytes_to_text(value)
            }
            "paths" => value
                .as_array_mut()
                .into_iter()
                .flatten()
                .for_each(bytes_to_text),
            _ => {}
        }
    }
    match event {
        Event::CopiedOut { cause, .. }
        | Event::CopiedOutScope { cause, .. }
        | Event::ChangeMarked { cause, .. } => name_cause(&mut fields, *cause),
        Event::CloneCreated { source, .. }
        | Event::FileRestored { source, .. }
        | Event::FilesRolledBack { source, .. } => {
            fields.insert("source".into(), source_value(*source, labels));
        }
        Event::RolledBack { volumes, .. } => {
            let volumes = volumes.iter().map(|(v, source)| json!({"volume": labels.volume(*v), "source": source_value(*source, labels)}));
            fields.insert("volumes".into(), volumes.collect());
        }
        Event::ActorSeen { who, .. } => {
            fields.insert("who".into(), actor_value(who));
        }
        Event::Created { body, .. } => {
            fields.insert("body".into(), body_value(body));
        }
        Event::AttributesSet { .. } => {
            if let Some(Value::Object(said)) = fields.get_mut("set") {
                said.retain(|_, value| !value.is_null());
            }
        }
        Event::Renamed { over, .. } => {
            let over = over.map(|(ino, kept)| json!({"ino": ino, "kept": kept}));
            fields.insert("over".into(), over.into());
        }
        Event::CheckpointCreated { volumes, .. } => {
            let names = volumes.iter().map(|id| labels.volume(*id));
            fields.insert("volumes".into(), names.collect());
        }
        Event::Settled { shifts, .. } => {
            fields.insert(
                "shifts".into(),
                shifts
                    .iter()
                    .map(|shift| shift_value(shift, labels))
                    .collect(),
            );
        }
        _ => {}
    }
    for key in ["checkpoint", "before"] {
        let id = fields.get(key).and_then(Value::as_u64);
        if let Some(id) = id.and_then(|id| u32::try_from(id).ok()) {
            let name = labels.checkpoint(CheckpointId(id));
            fields.insert(format!("{key}_name"), name.into());
        }
    }
    fields
}

fn bytes_to_text(value: &mut Value) {
    let Some(array) = value.as_array() else {
        return;
    };
    let bytes: Option<Vec<u8>> = array
        .iter()
        .map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok()))
        .collect();
    if let Some(bytes) = bytes {
        *value = Value::String(crate::paths::text(&bytes));
    }
}

fn name_cause(fields: &mut Map<String, Value>, cause: Cause) {
    fields.insert("cause".into(), json!(cause_name(cause)));
}

fn body_value(body: &NewBody) -> Value {
    match body {
        NewBody::File => json!({"kind": "file"}),
        NewBody::Dir => json!({"kind": "directory"}),
        NewBody::Symlink(target) => {
            json!({"kind": "symlink", "target": crate::paths::text(target)})
        }
        NewBody::Fifo => json!({"kind": "fifo"}),
        NewBody::Socket => json!({"kind": "socket"}),
        NewBody::Char(device) => json!({"kind": "char", "device": device}),
        NewBody::Block(device) => json!({"kind": "block", "device": device}),
    }
}

fn source_value(source: Source, labels: &Labels) -> Value {
    match source {
        Source::Live(volume) => json!({"volume": labels.volume(volume)}),
        Source::Checkpoint(volume, checkpoint) => {
            json!({"volume": labels.volume(volume), "checkpoint": labels.checkpoint(checkpoint)})
        }
        Source::Position(volume, seq) => json!({"volume": labels.volume(volume), "seq": seq}),
    }
}

fn shift_value(shift: &Shift, labels: &Labels) -> Value {
    let kind = touch::shift_kind(shift);
    match shift {
        Shift::CopiedOut { to, blocks }
        | Shift::HandedIn { to, blocks }
        | Shift::Marked { to, blocks } => {
            json!({"kind": kind, "to": labels.checkpoint(*to), "blocks": blocks})
        }
        Shift::HandedDown { from, to, blocks } => {
            json!({"kind": kind, "from": labels.checkpoint(*from), "to": labels.checkpoint(*to), "blocks": blocks})
        }
        Shift::Released { from, blocks } | Shift::Unmarked { from, blocks } => {
            json!({"kind": kind, "from": labels.checkpoint(*from), "blocks": blocks})
        }
    }
}
