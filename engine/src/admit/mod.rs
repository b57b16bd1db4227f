//! `admit`: whether an event may be folded at all. Pure and cheap; every fold asks it first, so that a hostile or damaged event stops
//! here and `evolve` can be total. It does not repeat `decide`'s rules (who may, is there room): only what keeps the state sound.

mod checkpoints;
mod files;
mod space;

use crate::damage::Damage;
use crate::event::{Event, MAX_TEXT, Placed};
use crate::state::State;
use crate::views::Views;

/// Latest time an event may have: the year 2262, where nanoseconds leave 63 bits.
pub const MAX_TIME: u64 = i64::MAX as u64;

type Admitted = Result<(), Damage>;

/// Says whether `placed` may be folded into `state`.
///
/// # Errors
/// [`Damage`] that names the rule broken and the event's number.
pub fn admit(state: &State, placed: &Placed<'_>, views: &Views) -> Result<(), Damage> {
    judge(state, placed, views).map_err(|damage| {
        if damage.seq.is_none() {
            damage.at(placed.seq)
        } else {
            damage
        }
    })
}

fn judge(state: &State, placed: &Placed<'_>, views: &Views) -> Admitted {
    require(
        placed.seq == state.seq + 1,
        "its number does not follow the one before",
    )?;
    require(
        placed.time > state.time && placed.time <= MAX_TIME,
        "its time does not follow the one before",
    )?;
    require(
        placed.crcs.is_empty() || placed.event.carries_blocks(),
        "it carries blocks that its kind does not have",
    )?;
    let introduced =
        matches!(placed.event, Event::ActorSeen { actor, .. } if *actor == placed.actor);
    require(
        introduced || state.actors.contains_key(&placed.actor) || state.created.is_none(),
        "an actor that was never seen",
    )?;
    let opens = matches!(
        placed.event,
        Event::StoreCreated { .. } | Event::ActorSeen { .. }
    );
    require(
        state.created.is_some() || opens,
        "a store begins with its creation",
    )?;
    match placed.event {
        Event::StoreCreated { program } => {
            require(state.created.is_none(), "a store is created once")?;
            text(program)
        }
        Event::ActorSeen { actor, who } => {
            require(
                *actor == state.next_actor && actor.0 < u32::MAX,
                "the actor's number is not the next one",
            )?;
            text(&who.name)
                .and(text(&who.command))
                .and(text(&who.login))
                .and(text(&who.reason))
        }
        Event::ClockJumped { .. } => Ok(()),
        Event::Refused { kind, message, .. } => text(kind).and(text(message)),
        Event::DigestRecorded { at, .. } => {
            require(*at < placed.seq, "a digest is recorded of what came before")
        }
        Event::Created { .. }
        | Event::Linked { .. }
        | Event::Unlinked { .. }
        | Event::Renamed { .. }
        | Event::Exchanged { .. }
        | Event::OrphanDropped { .. }
        | Event::Written { .. }
        | Event::Punched { .. }
        | Event::Truncated { .. }
        | Event::Preallocated { .. }
        | Event::Shared { .. }
        | Event::AttributesSet { .. }
        | Event::XattrSet { .. }
        | Event::XattrRemoved { .. }
        | Event::FileRestored { .. } => files::admit(state, placed, views),
        Event::Relocated { .. }
        | Event::SegmentsReclaimed { .. }
        | Event::RetentionSet { .. }
        | Event::HistoryReleased { .. }
        | Event::CheckpointGivenUp { .. }
        | Event::ScheduleSet { .. }
        | Event::ArchiveMoved { .. }
        | Event::AuditSet { .. } => space::admit(state, placed),
        _ => checkpoints::admit(state, placed, views),
    }
}

fn require(holds: bool, otherwise: &str) -> Admitted {
    if holds {
        Ok(())
    } else {
        Err(Damage::new(format!("an event that cannot be: {otherwise}")))
    }
}

fn some<T>(found: Option<T>, otherwise: &str) -> Result<T, Damage> {
    found.ok_or_else(|| Damage::new(format!("an event that cannot be: {otherwise}")))
}

fn text(text: &str) -> Admitted {
    require(text.len() <= MAX_TEXT, "a text is too long")
}
