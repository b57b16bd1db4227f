//! Views: what `VOL`, `VOL@CHECKPOINT`, `VOL@seq:N` and `VOL@TIME` name. A position or a time is resolved to the commit
//! boundary at or before it, and said on standard error before the command acts.

use crate::context::{Context, checkpoint, list, missing, volume};
use crate::error::{Outcome, refuse};
use crate::output::units;
use crate::time;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use strand_engine::{
    Checkpoint, EventTime, Fileset, Kind, Refusal, Seq, Source, State, Store, Volume,
};

/// What comes after the `@`, or after `--to`.
#[derive(Clone, Debug)]
pub(crate) enum Image {
    /// A checkpoint.
    Checkpoint(Arc<Checkpoint>),
    /// A commit boundary.
    Position(Seq, EventTime),
}

/// A view that was found.
pub(crate) struct View {
    /// The volume.
    pub(crate) volume: Arc<Volume>,
    /// The image; `None`: live.
    pub(crate) image: Option<Image>,
}

impl View {
    /// As the engine takes it.
    pub(crate) fn source(&self) -> Source {
        source(&self.volume, self.image.as_ref())
    }

    /// The tree.
    pub(crate) fn open(&self, store: &Store) -> Outcome<Fileset> {
        Ok(store.view(self.source())?)
    }

    /// As one writes it.
    pub(crate) fn label(&self) -> String {
        match &self.image {
            None => self.volume.name.to_string(),
            Some(image) => format!("{}@{}", self.volume.name, image.label()),
        }
    }

    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("volume".into(), self.volume.name.as_ref().into());
        match &self.image {
            None => {}
            Some(Image::Checkpoint(c)) => {
                object.insert("checkpoint".into(), c.name.as_ref().into());
            }
            Some(Image::Position(seq, time)) => {
                object.insert("seq".into(), (*seq).into());
                object.insert("time".into(), units::json_time(*time).into());
            }
        }
        Value::Object(object)
    }
}

impl Image {
    /// As one writes it after `@` or `--to`.
    pub(crate) fn label(&self) -> String {
        match self {
            Image::Checkpoint(c) => c.name.to_string(),
            Image::Position(seq, _) => format!("seq:{seq}"),
        }
    }

    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        match self {
            Image::Checkpoint(c) => {
                json!({"checkpoint": c.name.as_ref(), "seq": c.seq, "time": units::json_time(c.time)})
            }
            Image::Position(seq, time) => json!({"seq": seq, "time": units::json_time(*time)}),
        }
    }
}

/// The engine's word for an image of a volume.
pub(crate) fn source(volume: &Volume, image: Option<&Image>) -> Source {
    match image {
        None => Source::Live(volume.id),
        Some(Image::Checkpoint(c)) => Source::Checkpoint(volume.id, c.id),
        Some(Image::Position(seq, _)) => Source::Position(volume.id, *seq),
    }
}

/// Resolves a view, and says what a position or a time resolved to.
pub(crate) fn resolve(context: &Context, store: &Store, text: &str) -> Outcome<View> {
    let state = store.state();
    let (name, after) = match text.split_once('@') {
        Some((name, after)) => (name, Some(after)),
        None => (text, None),
    };
    if name.is_empty() || after == Some("") {
        let (wanting, which) = if name.is_empty() {
            ("volume", "strand volume list".to_owned())
        } else {
            ("image", format!("strand checkpoint list --volume {name}"))
        };
        return refuse(
            Refusal::new(Kind::Invalid, format!("{text:?} names no {wanting}"))
                .why("a view is VOL, VOL@CHECKPOINT, VOL@seq:N or VOL@TIME")
                .next(which),
        );
    }
    let Some(after) = after else {
        return Ok(View {
            volume: Arc::clone(volume(&state, name)?),
            image: None,
        });
    };
    let image = resolve_image(context, store, &state, after)?;
    // The volume of a past position may have had another name, or be gone since: its name then is what counts.
    let volume = match (&image, state.volume_named(name)) {
        (_, Some(volume)) => Arc::clone(volume),
        (Image::Position(seq, _), None) => Arc::clone(
            volume_at(store, *seq, name)?
                .1
                .volume_named(name)
                .ok_or_else(|| gone(name))?,
        ),
        (Image::Checkpoint(_), None) => Arc::clone(self::volume(&state, name)?),
    };
    if let Image::Checkpoint(c) = &image {
        check_member(&state, &volume, c)?;
    }
    Ok(View {
        volume,
        image: Some(image),
    })
}

fn gone(name: &str) -> Refusal {
    missing("volume", name, [], "strand volume list")
}

fn volume_at(store: &Store, seq: Seq, name: &str) -> Outcome<(Seq, State)> {
    let state = store.state_at(seq)?;
    volume(&state, name)?;
    Ok((seq, state))
}

fn check_member(state: &State, volume: &Volume, checkpoint: &Checkpoint) -> Outcome {
    if checkpoint.volumes.contains(&volume.id) {
        return Ok(());
    }
    let members = checkpoint
        .volumes
        .iter()
        .filter_map(|id| state.volume(*id))
        .map(|v| v.name.as_ref());
    refuse(
        Refusal::new(
            Kind::NotFound,
            format!("{} keeps no image of {}", checkpoint.name, volume.name),
        )
        .why(format!("it was taken of {}", list(members)))
        .next(format!("strand checkpoint list --volume {}", volume.name)),
    )
}

/// Resolves what stands after `--to`: `CHECKPOINT`, `seq:N` or TIME.
pub(crate) fn resolve_image(
    context: &Context,
    store: &Store,
    state: &State,
    text: &str,
) -> Outcome<Image> {
    if let Some(number) = text.strip_prefix("seq:") {
        let Ok(seq) = number.parse::<Seq>() else {
            return refuse(
                Refusal::new(Kind::Invalid, format!("{text:?} is no position"))
                    .next("write seq:N, as strand log prints it"),
            );
        };
        let (seq, time) = store.boundary_at_or_before(seq)?;
        echo(context, seq, time);
        return Ok(Image::Position(seq, time));
    }
    if let Some(checkpoint) = state.checkpoint_named(text) {
        return Ok(Image::Checkpoint(Arc::clone(checkpoint)));
    }
    if !time::looks_like_time(text) {
        return Ok(Image::Checkpoint(Arc::clone(checkpoint(state, text)?)));
    }
    let at = resolve_time(state, text)?;
    let (seq, time) = store.boundary_at_time(at)?;
    echo(context, seq, time);
    Ok(Image::Position(seq, time))
}

/// Reads a time, and refuses what lies outside the reachable range.
pub(crate) fn resolve_time(state: &State, text: &str) -> Outcome<EventTime> {
    let now = jiff::Zoned::now();
    let at = time::parse(text, &now)?;
    let begins = state.created.unwrap_or(0);
    let out_of_range = |why: &str| {
        // Windows that moved on begin later, each volume's elsewhere.
        let moved = state.volumes.values().any(|v| v.history > v.created);
        let next = match moved {
            true => "strand retention show: how far back each volume can be viewed".to_owned(),
            false => format!(
                "choose a time from {} to {}",
                units::time(begins),
                units::time(state.time)
            ),
        };
        refuse(
            Refusal::new(
                Kind::OutOfRange,
                format!("{text:?} means {}, which is out of range", units::time(at)),
            )
            .why(why.to_owned())
            .next(next),
        )
    };
    // The journal's own time can run ahead of a clock that was put back.
    if at > units::now().max(state.time) {
        return out_of_range("it lies in the future");
    }
    if at < begins {
        return out_of_range("it lies before the store's beginning");
    }
    Ok(at)
}

fn echo(context: &Context, seq: Seq, time: EventTime) {
    if !context.global.json {
        eprintln!("→ seq {seq}, {}", units::time(time));
    }
}
