//! A store beside its writer: read in another process than the one that holds it, up to a position which that process said is
//! durable. What the writer carried out for this reader can be taken over before it is durable, from the writer's answer.

use super::open::{begins_at, newest_state};
use super::{Done, OpenOptions, Opening, Store, background, open::base_for};
use crate::admit::admit;
use crate::clock::Clock;
use crate::damage::Damage;
use crate::error::Error;
use crate::event::Placed;
use crate::evolve::evolve;
use crate::fold::{Folder, fold_from};
use crate::ids::{ActorId, EventTime, Seq};
use crate::refusal::{Kind, Refusal};
use crate::state::State;
use crate::statefile::STATE_DIR;
use crate::views::Views;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use strand_journal::{Access, BlockAddr, Crcs, Disk, Durable, Journal};

/// How often the state files are listed again because the writer pruned them meanwhile.
const TRIES: usize = 8;

/// Asks the writer for a position that is durable; `None` where it does not answer.
pub(super) type Asking = Box<dyn Fn() -> Option<Durable> + Send + Sync>;

/// Where the events of a command went: what a reader beside the writer needs to fold them before it can read them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    /// Who did it.
    pub actor: ActorId,
    /// One for each event.
    pub steps: Vec<Step>,
}

/// Where one event went.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its time.
    pub time: EventTime,
    /// The address of its first payload block, or the one it would have.
    pub first: u64,
    /// The crc32 of each payload block, little-endian, one after the other.
    pub crcs: Vec<u8>,
}

impl Store {
    /// Opens a store that another process holds, for reading up to `until`, which that process said is durable. Nothing is locked,
    /// made or written; what the writer adds meanwhile is not seen before [`Store::follow`].
    ///
    /// # Errors
    /// [`Error::Journal`] where the journal cannot be read up to there, [`Error::Damage`] where its events do not end there.
    pub fn open_beside(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: OpenOptions,
        until: &Durable,
    ) -> Result<Store, Error> {
        let options = OpenOptions {
            access: Access::ReadOnly,
            state_every: 0,
            ..options
        };
        let mut bad = Vec::new();
        let mut below = until.number.saturating_add(1);
        loop {
            let base = if options.ignore_state_files {
                None
            } else {
                state_before(&*disk, below, &mut bad)?
            };
            let from_file = base.is_some();
            let (found, state, start) = match base {
                Some((state, start)) => (Some(state.seq), state, Some(start)),
                None => super::open::first_state(&*disk)?,
            };
            let mut folder = Folder::new(state, BTreeSet::new(), None);
            let opened = Journal::open_beside(disk.clone(), start, until, &mut |frame| {
                folder.frame(frame, &mut |_, _| {});
                Ok(())
            });
            let journal =
                match opened {
                    Ok(journal) => journal,
                    Err(strand_journal::Error::BadStart { .. }) if from_file => {
                        below = found.unwrap_or(0);
                        bad.push(format!(
                            "the state file at {below} does not belong to this journal"
                        ));
                        continue;
                    }
                    // The writer moves events away.
                    Err(
                        strand_journal::Error::BadStart { .. } | strand_journal::Error::Damaged(_),
                    ) if !from_file && !begins_at(&*disk, start)? => continue,
                    Err(error) => return Err(error.into()),
                };
            let mut damage = folder.damage().cloned();
            let mut state = folder.state.clone();
            if damage.is_none() && !folder.missing().is_empty() {
                match whole(&*disk, &journal) {
                    Ok(folded) => state = folded,
                    Err(Error::Damage(met)) => damage = Some(met),
                    Err(error) => return Err(error),
                }
            }
            if damage.is_none() {
                ends_at(&state, until)?;
            }
            let opening = Opening {
                recovery: None,
                state_file: found,
                bad_state_files: bad,
                folded: state.seq.saturating_sub(found.unwrap_or(0)),
                damage,
            };
            let state_files = background::StateFiles::none();
            return Ok(Self::assemble(
                disk,
                clock,
                journal,
                state,
                opening,
                options,
                state_files,
            ));
        }
    }

    /// How a reader beside the writer asks it how far it is. Where a version lies elsewhere by now, the reader then follows, and finds it.
    /// Once for each store; later ones change nothing.
    pub fn ask_the_writer(&self, asking: impl Fn() -> Option<Durable> + Send + Sync + 'static) {
        // A second one is as good as the first.
        let _ = self.asking.set(Box::new(asking));
    }

    /// Sees what the writer has done meanwhile, where this reader can ask for it; says whether there was anything.
    pub(super) fn look_again(&self) -> bool {
        let Some(until) = self.asking.get().and_then(|asking| asking()) else {
            return false;
        };
        let before = self.state().seq;
        match self.follow(&until, &mut |_, _| {}) {
            Ok(()) => self.state().seq > before,
            Err(error) => {
                tracing::warn!(%error, "what the writer did meanwhile cannot be read");
                false
            }
        }
    }

    /// Goes on to `until`, in a store opened by [`Store::open_beside`]; `on` sees each event that the state did not have, with the
    /// state before it. Where the store is there already, nothing happens.
    ///
    /// # Errors
    /// As [`Store::open_beside`]; the store then stands where it stood.
    pub fn follow(
        &self,
        until: &Durable,
        on: &mut dyn FnMut(&State, &Placed<'_>),
    ) -> Result<(), Error> {
        let _one = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.state();
        let from = before.seq;
        let mut folder = Folder::new(before, BTreeSet::new(), None);
        self.journal.follow(until, &mut |frame| {
            folder.frame_behind(frame, from, on);
            Ok(())
        })?;
        if let Some(damage) = folder.damage() {
            return Err(damage.clone().into());
        }
        let state = if folder.missing().is_empty() {
            folder.state
        } else {
            // An event goes back to a position that was not kept: folded again, with those.
            let reached = folder.state.seq;
            let mut rest = |state: &State, placed: &Placed<'_>| {
                if placed.seq > reached {
                    on(state, placed);
                }
            };
            // Not from a state file behind that: `on` wants every event.
            let mut bases = |first: Seq| base_for(&*self.disk, &self.journal, first.min(reached));
            fold_from(&self.journal.reader(), &mut bases, None, &mut rest)?
        };
        if state.seq >= until.number {
            self.take_state(state);
            return Ok(());
        }
        ends_at(&state, until)
    }

    fn take_state(&self, state: State) {
        self.present.set(&state.places);
        self.lock().state = state;
    }

    /// Takes over what the writer carried out for this reader, before it is durable: the state follows at once, its blocks can be
    /// read after [`Store::follow`]. `false` where something else stands between, and the reader has to follow.
    ///
    /// # Errors
    /// [`Error::Damage`] for events that cannot be folded here: the answer is no answer of this store's writer.
    pub fn take_over(&self, done: &Done) -> Result<bool, Error> {
        let _one = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if done.events.is_empty() && done.last < done.first {
            return Ok(true);
        }
        let mut state = self.state();
        let whole = done.events.len() == done.trail.steps.len()
            && done.first.checked_add(done.events.len() as u64) == done.last.checked_add(1);
        if !whole || state.seq.checked_add(1) != Some(done.first) {
            return Ok(state.seq >= done.last);
        }
        let views = Views::none();
        for (i, (event, step)) in done.events.iter().zip(&done.trail.steps).enumerate() {
            let placed = Placed {
                seq: done.first + i as u64,
                time: step.time,
                actor: done.trail.actor,
                last: i + 1 == done.events.len(),
                event,
                first: BlockAddr(step.first),
                crcs: Crcs::from_le_bytes(&step.crcs),
            };
            match admit(&state, &placed, &views) {
                Ok(()) => {}
                Err(Damage {
                    needs_view: Some(_),
                    ..
                }) => return Ok(false),
                Err(damage) => return Err(damage.into()),
            }
            evolve(&mut state, &placed, &views);
        }
        self.take_state(state);
        Ok(true)
    }
}

/// The state at the journal's end, with every position kept that an event goes back to.
fn whole(disk: &dyn Disk, journal: &Journal) -> Result<State, Error> {
    let mut bases = |first: Seq| base_for(disk, journal, first);
    fold_from(&journal.reader(), &mut bases, None, &mut |_, _| {})
}

/// The position that was promised has to be the end of a command.
fn ends_at(state: &State, until: &Durable) -> Result<(), Error> {
    if state.seq == until.number && state.boundary == state.seq {
        return Ok(());
    }
    Err(Refusal::new(
        Kind::Damaged,
        format!("the journal cannot be read up to seq {}", until.number),
    )
    .why(format!("it ends at seq {}", state.boundary))
    .next("strand verify --data says how far")
    .into())
}

/// The newest good state file below a position. One that is gone by the time it is read was pruned by the writer, and is not bad.
fn state_before(
    disk: &dyn Disk,
    below: Seq,
    bad: &mut Vec<String>,
) -> Result<Option<(State, strand_journal::Start)>, Error> {
    let mut tries = 0;
    loop {
        let mut met = Vec::new();
        let found = newest_state(disk, below, &mut met)?;
        let before = met.len();
        met.retain(|text| {
            let name = text.split(':').next().unwrap_or_default();
            disk.open_read(&format!("{STATE_DIR}/{name}")).is_ok()
        });
        tries += 1;
        if met.len() == before || tries >= TRIES {
            bad.append(&mut met);
            return Ok(found);
        }
    }
}
