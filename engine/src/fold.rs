//! Folding the journal: the one way from bytes to state. Recovery, views, replay and verification all come through here.
//!
//! A record's bytes are `varint(actor × 2 + last)` and the postcard form of the [`Event`]. An event that goes back to an earlier position
//! needs the state there: a fold that meets one it has not kept says which ([`Folder::missing`]), and is done again with those kept.

use crate::admit::admit;
use crate::damage::Damage;
use crate::event::{Event, Placed};
use crate::evolve::evolve;
use crate::ids::{ActorId, Seq};
use crate::state::State;
use crate::views::Views;
use std::collections::BTreeSet;
use strand_journal::{Entry, Frame, Reader, Start};

/// A decoded record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decoded {
    /// Who did it.
    pub actor: ActorId,
    /// The last event of its command.
    pub last: bool,
    /// What happened.
    pub event: Event,
}

/// Decodes a record.
///
/// # Errors
/// [`Damage`] for bytes that no event has.
pub fn decode(entry: &Entry<'_>) -> Result<Decoded, Damage> {
    let bad =
        |what: &str| Damage::new(format!("a record that cannot be read: {what}")).at(entry.number);
    let (tag, rest) = take_varint(entry.bytes).ok_or_else(|| bad("its first number"))?;
    let actor = u32::try_from(tag >> 1).map_err(|_| bad("its actor"))?;
    let (event, rest) =
        postcard::take_from_bytes::<Event>(rest).map_err(|e| bad(&e.to_string()))?;
    if !rest.is_empty() {
        return Err(bad("bytes behind its end"));
    }
    Ok(Decoded {
        actor: ActorId(actor),
        last: tag & 1 == 1,
        event,
    })
}

/// Encodes a record at the end of `out`.
pub(crate) fn encode(
    actor: ActorId,
    last: bool,
    event: &Event,
    out: &mut Vec<u8>,
) -> Result<(), postcard::Error> {
    let mut tag = u64::from(actor.0) << 1 | u64::from(last);
    while tag >= 0x80 {
        out.push(tag as u8 | 0x80);
        tag >>= 7;
    }
    out.push(tag as u8);
    postcard::to_io(event, out).map(|_| ())
}

/// The bytes that an event takes in a record, without its payload and the few of the record's own head.
#[must_use]
pub fn record_bytes(event: &Event) -> u64 {
    let mut bytes = Vec::new();
    // A vector takes whatever an event has.
    let _ = encode(ActorId(1), true, event, &mut bytes);
    bytes.len() as u64
}

fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (i == 0 || *byte != 0).then_some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// A fold in progress.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The state so far.
    pub state: State,
    /// Positions whose state is to be kept, for events that go back to them.
    pins: BTreeSet<Seq>,
    views: Views,
    /// Positions that events went back to and that were not kept.
    missing: BTreeSet<Seq>,
    /// The first damage met. Nothing is folded after it.
    damage: Option<Damage>,
    /// Stop after this event.
    until: Option<Seq>,
}

impl Folder {
    /// A fold that goes on from `state`, keeping the states at `pins`.
    #[must_use]
    pub fn new(state: State, pins: BTreeSet<Seq>, until: Option<Seq>) -> Self {
        let mut views = Views::none();
        if pins.contains(&state.seq) {
            views.0.insert(state.seq, state.clone());
        }
        Self {
            state,
            pins,
            views,
            missing: BTreeSet::new(),
            damage: None,
            until,
        }
    }

    /// Positions that this fold should have kept; the state is of no use while there are any.
    #[must_use]
    pub fn missing(&self) -> &BTreeSet<Seq> {
        &self.missing
    }

    /// The damage that ended this fold, if any.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Says whether the fold has reached its end.
    #[must_use]
    pub fn done(&self) -> bool {
        self.damage.is_some() || self.until.is_some_and(|until| self.state.seq >= until)
    }

    /// Folds a frame. Trouble is kept, not returned: [`Folder::damage`], [`Folder::missing`].
    pub fn frame(&mut self, frame: &Frame, on: &mut dyn FnMut(&State, &Placed<'_>)) {
        self.frame_behind(frame, 0, on);
    }

    /// As [`Folder::frame`], passing over the events up to a number: the state has them already.
    pub(crate) fn frame_behind(
        &mut self,
        frame: &Frame,
        known: Seq,
        on: &mut dyn FnMut(&State, &Placed<'_>),
    ) {
        for entry in frame.entries() {
            if self.done() {
                return;
            }
            if entry.as_ref().is_ok_and(|entry| entry.number <= known) {
                continue;
            }
            let folded = match &entry {
                Ok(entry) => self.entry(entry, on),
                Err(error) => Err(Damage::new(error.to_string()).at(self.state.seq + 1)),
            };
            if let Err(damage) = folded {
                let offset = u64::from(frame.block) * strand_journal::BLOCK_SIZE as u64;
                self.damage = Some(damage.in_file(format!("segment {}", frame.segment), offset));
            }
        }
    }

    fn entry(
        &mut self,
        entry: &Entry<'_>,
        on: &mut dyn FnMut(&State, &Placed<'_>),
    ) -> Result<(), Damage> {
        let decoded = decode(entry)?;
        if !self.missing.is_empty() {
            self.look_ahead(&decoded.event);
            return Ok(());
        }
        let placed = Placed {
            seq: entry.number,
            time: entry.time,
            actor: decoded.actor,
            last: decoded.last,
            event: &decoded.event,
            first: entry.first,
            crcs: entry.crcs,
        };
        match admit(&self.state, &placed, &self.views) {
            Ok(()) => {}
            Err(Damage {
                needs_view: Some(seq),
                ..
            }) => {
                self.missing.insert(seq);
                self.look_ahead(&decoded.event);
                return Ok(());
            }
            Err(damage) => return Err(damage),
        }
        on(&self.state, &placed);
        evolve(&mut self.state, &placed, &self.views);
        if self.pins.contains(&placed.seq) {
            self.views.0.insert(placed.seq, self.state.clone());
        }
        Ok(())
    }

    /// One pin is missing, so the fold will be done again: collect the others on the way.
    fn look_ahead(&mut self, event: &Event) {
        self.missing.extend(event.positions());
    }
}

/// Folds frames from the journal, as often as it takes to have every state that events go back to. `bases` gives states to begin with:
/// it is asked for one at or before a position, and answers with where the store's events begin where it has no other. The place that it gives with a state
/// may lie before it: the events up to the state's are passed over.
///
/// # Errors
/// [`crate::Error::Damage`] where an event cannot be read or admitted, [`crate::Error::Journal`] where a frame cannot.
pub fn fold_from(
    reader: &Reader,
    bases: &mut dyn FnMut(Seq) -> Result<(State, Start), crate::Error>,
    until: Option<Seq>,
    on: &mut dyn FnMut(&State, &Placed<'_>),
) -> Result<State, crate::Error> {
    let mut pins = BTreeSet::new();
    loop {
        let first = pins.first().copied().or(until).unwrap_or(u64::MAX);
        let (state, start) = bases(first)?;
        let known = state.seq;
        let mut folder = Folder::new(state, pins.clone(), until);
        for frame in reader.frames(start) {
            if folder.done() {
                break;
            }
            folder.frame_behind(&frame?, known, on);
        }
        if let Some(damage) = folder.damage {
            return Err(damage.into());
        }
        if folder.missing.is_empty() {
            let reached = folder.state.seq;
            return match until {
                Some(until) if reached != until => Err(Damage::new(format!(
                    "the journal has no event {until} to stop at, the fold ended at {reached}"
                ))
                .into()),
                _ => Ok(folder.state),
            };
        }
        let known = pins.len();
        pins.append(&mut folder.missing);
        if pins.len() == known {
            return Err(
                Damage::new("an event goes back to a position that cannot be folded").into(),
            );
        }
    }
}

/// Folds a journal that still has its first event from there to an event (or its end), calling `on` with the state before each event. Where events go back to
/// earlier positions the fold runs again, and `on` sees events again from the first on.
///
/// # Errors
/// As [`fold_from`].
pub fn fold_prefix(
    reader: &Reader,
    until: Option<Seq>,
    on: &mut dyn FnMut(&State, &Placed<'_>),
) -> Result<State, crate::Error> {
    fold_from(
        reader,
        &mut |_| Ok((State::empty(), reader.origin())),
        until,
        on,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_minimal_and_bounded() {
        assert_eq!(take_varint(&[5]), Some((5, &[][..])));
        assert_eq!(take_varint(&[0x85, 0x01, 9]), Some((0x85, &[9][..])));
        assert_eq!(take_varint(&[0x85, 0x00]), None);
        assert_eq!(take_varint(&[0xff; 9]), None);
        assert_eq!(take_varint(&[]), None);
    }

    #[test]
    fn a_record_round_trips() {
        let event = Event::VolumeRemoved {
            volume: crate::VolumeId(7),
        };
        let mut bytes = Vec::new();
        encode(ActorId(300), true, &event, &mut bytes).expect("a vector takes bytes");
        let (tag, rest) = take_varint(&bytes).expect("encoded above");
        assert_eq!((tag >> 1, tag & 1), (300, 1));
        assert_eq!(postcard::from_bytes::<Event>(rest), Ok(event));
    }
}
