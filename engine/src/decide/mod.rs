//! `decide`: the only code that says no. Pure and deterministic: the same state, views and request give the same events, always.

mod checkpoints;
mod content;
mod damaged;
mod files;
mod in_use;
mod quota;
mod restore;
mod rollback;
mod space;
mod undo;
mod volumes;
mod window;

pub(crate) use window::{in_reach, is_past};

use crate::command::{Command, Request};
use crate::event::{Actor, Event, Grade, MAX_TEXT};
use crate::ids::{CheckpointId, Ino, VolumeId};
use crate::refusal::{Kind, Refusal};
use crate::space::GiveUp;
use crate::state::{Checkpoint, Fileset, Inode, State, Volume};
use crate::views::Views;
use std::sync::Arc;

/// Mapped blocks of one command above which its copy-outs take the bulk form: counting them one by one would hold up everybody else.
pub const BULK_BLOCKS: u64 = 1024;

/// Journal blocks that an administrative command is reckoned to need at most (its frame's header, twice).
const ADMIN_BLOCKS: u64 = 4;

/// Bulk movements of one volume that may wait to be counted.
const MAX_WAITING: usize = 32_768;

/// Judges a command: the events that carry it out, or why not.
///
/// # Errors
/// A [`Refusal`] with its kind, what stands in the way and what to do next.
pub fn decide(state: &State, request: &Request<'_>, views: &Views) -> Result<Vec<Event>, Refusal> {
    if request.actor.grade == Grade::Command || request.command.is_administrative() {
        permitted(request.owner, request.actor)?;
    }
    keeps_its_own_books(request)?;
    enough_room(request)?;
    texts_fit(request.actor)?;
    let mut events = Vec::with_capacity(2);
    if !state.actor_ids.contains_key(request.actor) {
        events.push(Event::ActorSeen {
            actor: state.next_actor,
            who: request.actor.clone(),
        });
    }
    let decided = judge(state, request, views)?;
    let decided = quota::within(state, request, views, events.first(), decided)?;
    few_wait(state, &decided)?;
    damaged::refuse_bad(state, request, views, &decided)?;
    window::goes_back_in_reach(state, &decided)?;
    in_use::refuse_busy(state, request, &decided)?;
    if decided.is_empty() {
        return Ok(decided); // nothing to do is nothing to record
    }
    events.extend(decided);
    Ok(events)
}

fn judge(state: &State, request: &Request<'_>, views: &Views) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::CreateStore { program } => create_store(state, program),
        Command::VolumeCreate { .. }
        | Command::VolumeRename { .. }
        | Command::VolumeRemove { .. }
        | Command::CloneCreate { .. }
        | Command::CloneReset { .. } => volumes::judge(state, request, views),
        Command::Create { .. }
        | Command::Link { .. }
        | Command::Unlink { .. }
        | Command::Rename { .. }
        | Command::DropOrphan { .. } => files::judge(state, request),
        Command::Write { .. }
        | Command::Truncate { .. }
        | Command::Preallocate { .. }
        | Command::Share { .. }
        | Command::SetAttributes { .. }
        | Command::SetXattr { .. }
        | Command::RemoveXattr { .. } => content::judge(state, request),
        Command::CheckpointCreate { .. }
        | Command::CheckpointRemove { .. }
        | Command::CheckpointRename { .. }
        | Command::CheckpointHold { .. }
        | Command::CheckpointFlag { .. }
        | Command::CheckpointConvert { .. }
        | Command::Settle { .. } => checkpoints::judge(state, request),
        Command::QuotaSet {
            volume: id,
            quota,
            below_use,
        } => quota::set(volume(state, *id)?, *quota, *below_use),
        Command::Relocate { .. }
        | Command::ReclaimSegments { .. }
        | Command::RetentionSet { .. }
        | Command::ReleaseHistory { .. }
        | Command::CheckpointGiveUp { .. }
        | Command::GiveWay
        | Command::ScheduleSet { .. }
        | Command::MoveArchive { .. }
        | Command::AuditSet { .. } => space::judge(state, request),
        Command::Rollback { .. } | Command::RollbackAll { .. } | Command::RollbackFiles { .. } => {
            rollback::judge(state, request, views)
        }
        Command::Undo { volume } => undo::undo(state, request, *volume, views),
        Command::Redo { volume } => undo::redo(state, request, *volume, views),
        Command::RecordDigest { at, digest } => Ok(vec![Event::DigestRecorded {
            at: *at,
            digest: *digest,
        }]),
        Command::RecordClockJump { expected, found } => Ok(vec![Event::ClockJumped {
            expected: *expected,
            found: *found,
        }]),
        Command::RecordRefused {
            kind,
            message,
            count,
        } => Ok(vec![Event::Refused {
            kind: cut(kind),
            message: cut(message),
            count: *count,
        }]),
    }
}

/// A store in live use takes commands from its owner, from root and from the program itself. What comes through a mount is judged by
/// the permissions of the files there.
///
/// # Errors
/// [`Kind::Permission`].
pub fn permitted(owner: Option<u32>, actor: &Actor) -> Result<(), Refusal> {
    match owner {
        Some(owner) if actor.grade != Grade::Program && actor.uid != owner && actor.uid != 0 => {
            Err(
                Refusal::new(Kind::Permission, "the store may not be used by this user")
                    .why(format!(
                        "it belongs to uid {owner}, and uid {} asks",
                        actor.uid
                    ))
                    .next("run it as the owner of the store's directory"),
            )
        }
        _ => Ok(()),
    }
}

/// What the program records and gives up of itself is nobody else's to command: a digest that is made up would look like damage for ever, and a
/// copy of other bytes would be damage.
fn keeps_its_own_books(request: &Request<'_>) -> Result<(), Refusal> {
    let own = match &request.command {
        Command::CheckpointGiveUp { cause, .. } => *cause != GiveUp::Asked,
        Command::Settle { .. }
        | Command::RecordDigest { .. }
        | Command::RecordClockJump { .. }
        | Command::RecordRefused { .. }
        | Command::Relocate { .. }
        | Command::ReclaimSegments { .. }
        | Command::ReleaseHistory { .. }
        | Command::GiveWay
        | Command::MoveArchive { .. } => true,
        _ => false,
    };
    if own && request.actor.grade != Grade::Program {
        return Err(Refusal::new(
            Kind::NotAllowed,
            "the store keeps its books itself",
        ));
    }
    Ok(())
}

/// Bulk movements that wait to be counted keep old roots in memory, so there is a bound, below the one of `admit`.
fn few_wait(state: &State, events: &[Event]) -> Result<(), Refusal> {
    let crowded = events.iter().any(|event| match event {
        Event::CopiedOutScope { volume, .. } => state
            .volume(*volume)
            .is_some_and(|v| v.pending.len() >= MAX_WAITING),
        _ => false,
    });
    if crowded {
        return Err(
            Refusal::new(Kind::Busy, "too many bulk movements wait to be counted")
                .next("commit, then try again"),
        );
    }
    Ok(())
}

/// An actor is recorded as it is, or not at all: a cut one would never be found again among those seen.
fn texts_fit(actor: &Actor) -> Result<(), Refusal> {
    let texts = [&actor.name, &actor.command, &actor.login, &actor.reason];
    if texts.iter().any(|text| text.len() > MAX_TEXT) {
        return Err(Refusal::new(Kind::TooLarge, "the actor cannot be recorded")
            .why(format!("one of its texts has more than {MAX_TEXT} bytes"))
            .next("give a shorter reason"));
    }
    Ok(())
}

fn create_store(state: &State, program: &str) -> Result<Vec<Event>, Refusal> {
    if state.created.is_some() {
        return Err(Refusal::new(Kind::Exists, "the store exists"));
    }
    Ok(vec![Event::StoreCreated {
        program: cut(program),
    }])
}

/// Space is an input: what a command may take depends on what it is for. The last of the reserve is for removals, so that a full
/// store can always be emptied.
fn enough_room(request: &Request<'_>) -> Result<(), Refusal> {
    let reserve = request.reserve_blocks;
    let (need, keep) = match &request.command {
        Command::CheckpointRemove { .. }
        | Command::CheckpointConvert { .. }
        | Command::CheckpointGiveUp { .. }
        | Command::GiveWay
        | Command::ReleaseHistory { .. }
        | Command::ReclaimSegments { .. }
        | Command::MoveArchive { .. }
        | Command::VolumeRemove { .. }
        | Command::Settle { .. }
        | Command::DropOrphan { .. } => (1, 0),
        // What is copied is given back with its segment: space for it is set aside by whoever reclaims.
        Command::Relocate { births } => {
            let data = births
                .iter()
                .map(|(_, count)| u64::from(*count))
                .sum::<u64>();
            (data + data / 128 + 2, 0)
        }
        Command::RecordDigest { .. }
        | Command::RecordClockJump { .. }
        | Command::RecordRefused { .. } => (1, reserve / 2),
        Command::Unlink { .. }
        | Command::Rollback { .. }
        | Command::RollbackAll { .. }
        | Command::RollbackFiles { .. }
        | Command::Undo { .. }
        | Command::Redo { .. }
        | Command::CloneReset { .. } => (ADMIN_BLOCKS, reserve / 2),
        Command::Truncate { tail, .. } => (ADMIN_BLOCKS + u64::from(*tail), reserve / 2),
        Command::Write { runs, .. } => {
            let data = runs.iter().filter(|r| r.data);
            let data = data.fold(0_u64, |sum, run| sum.saturating_add(run.count));
            (data.saturating_add(data / 128).saturating_add(2), reserve)
        }
        Command::Preallocate { length, .. } => (
            (length / crate::block::BLOCK).saturating_add(ADMIN_BLOCKS),
            reserve,
        ),
        _ => (ADMIN_BLOCKS, reserve),
    };
    if request.free_blocks < need.saturating_add(keep) {
        return Err(Refusal::new(Kind::NoSpace, "the store is full")
            .why(format!(
                "{need} blocks are needed, {} are left beyond the reserve",
                request.free_blocks.saturating_sub(keep)
            ))
            .next("give the store more room, or remove checkpoints: strand checkpoint list"));
    }
    Ok(())
}

/// Cuts a text to what an event may hold, at a character.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn volume(state: &State, id: VolumeId) -> Result<&Arc<Volume>, Refusal> {
    state.volume(id).ok_or_else(|| {
        Refusal::new(Kind::NotFound, format!("there is no volume number {id}"))
            .next("strand volume list")
    })
}

fn checkpoint(state: &State, id: CheckpointId) -> Result<&Arc<Checkpoint>, Refusal> {
    state.checkpoints.get(&id).ok_or_else(|| {
        Refusal::new(
            Kind::NotFound,
            format!("there is no checkpoint number {id}"),
        )
        .next("strand checkpoint list")
    })
}

fn inode(tree: &Fileset, ino: Ino) -> Result<&Arc<Inode>, Refusal> {
    tree.inode(ino)
        .ok_or_else(|| Refusal::new(Kind::NotFound, "the file is not there"))
}

/// How the name of a safety image begins; no user may give such a name.
const AUTO_BEFORE: &str = "auto-before-";

/// Whether the program made that checkpoint, to keep the state before a rollback or a reset.
fn is_auto_before(name: &str) -> bool {
    name.starts_with(AUTO_BEFORE)
}

/// The name that a bulk command's safety image gets: `auto-before-SEQ`, the number of the command's first event.
fn auto_before(
    state: &State,
    volumes: Vec<VolumeId>,
    request: &Request<'_>,
    what: &str,
) -> (CheckpointId, Event) {
    let first = state.seq + 1;
    let event = Event::CheckpointCreated {
        checkpoint: state.next_checkpoint,
        name: format!("{AUTO_BEFORE}{first}"),
        volumes,
        removable: true,
        nomount: false,
        note: cut(&format!(
            "the state before {what}, by {}",
            request.actor.name
        )),
    };
    (state.next_checkpoint, event)
}
