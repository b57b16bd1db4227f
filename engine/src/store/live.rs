//! What live use needs of a store besides commands: glances at a volume that copy nothing, and commands cut into their steps, so that a
//! mount can hold its users off while trees are swapped, and no longer.

use super::{Done, Store};
use crate::command::{Command, Request};
use crate::decide::decide;
use crate::error::Error;
use crate::event::{Actor, Event};
use crate::ids::{Ino, VolumeId};
use crate::in_use::InUse;
use crate::refusal::{Kind, Refusal};
use crate::state::{Fileset, Volume};
use crate::views::Views;
use strand_journal::Access;

impl Store {
    /// The live tree of a volume as it is now, files that only handles keep included; cheap.
    #[must_use]
    pub fn live(&self, volume: VolumeId) -> Option<Fileset> {
        Some(self.lock().state.volume(volume)?.live.clone())
    }

    /// Looks at a volume under the lock: for a few look-ups, where a copy of the root would make the next change copy nodes.
    ///
    /// # Errors
    /// [`Error::Journal`] where the store is poisoned: what was not flushed is never shown as truth. [`Kind::NotFound`].
    pub fn look<R>(&self, volume: VolumeId, at: impl FnOnce(&Volume) -> R) -> Result<R, Error> {
        let inner = self.lock();
        self.still_true(&inner)?;
        match inner.state.volume(volume) {
            Some(found) => Ok(at(found)),
            None => Err(Refusal::new(Kind::NotFound, "the volume is not there").into()),
        }
    }

    /// As [`Store::open_handle`], where the inode is there; says whether it is.
    ///
    /// # Errors
    /// As [`Store::look`].
    pub fn open_existing(&self, volume: VolumeId, ino: Ino) -> Result<bool, Error> {
        let mut inner = self.lock();
        self.still_true(&inner)?;
        let there = inner
            .state
            .volume(volume)
            .is_some_and(|v| v.live.inode(ino).is_some());
        if there {
            *inner.handles.entry((volume, ino)).or_default() += 1;
            inner.open.insert((volume, ino));
        }
        Ok(there)
    }

    /// The first step of [`Store::run`]: the states that a command goes back to, folded. May take as long as the history is, and flushes.
    ///
    /// # Errors
    /// As [`Store::run`].
    pub fn prepare(&self, command: &Command) -> Result<Views, Error> {
        self.views_for(command)
    }

    /// As [`Store::plan`], with the states that [`Store::prepare`] gave; quick.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn plan_prepared(
        &self,
        actor: &Actor,
        command: Command,
        views: &Views,
    ) -> Result<Vec<Event>, Error> {
        let bad = self.known_bad();
        let inner = self.lock();
        let request = Request {
            actor,
            free_blocks: match self.options.access {
                Access::ReadOnly => u64::MAX, // a plan places nothing
                Access::ReadWrite => self.usable_blocks(),
            },
            reserve_blocks: self.reserve_blocks,
            open: &inner.open,
            owner: self.owner,
            bad: &bad,
            in_use: &self.in_use(),
            command,
        };
        Ok(decide(&inner.state, &request, views)?)
    }

    /// The second step of [`Store::run`]: decides, places and folds; quick, and not durable yet.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub fn submit_prepared(
        &self,
        actor: &Actor,
        command: Command,
        views: &Views,
    ) -> Result<Done, Error> {
        self.submit_views(actor, command, &[], views)
    }

    /// As [`Store::submit_prepared`], in live use: with what is mounted and who writes. Quick: where there is no room, none is made.
    ///
    /// # Errors
    /// As [`Store::submit`]; [`Kind::Busy`] where that stands in the way; [`Kind::NoSpace`], also where [`Store::make_dead_room`] would find some.
    pub fn submit_live(
        &self,
        actor: &Actor,
        command: Command,
        views: &Views,
        live: InUse,
    ) -> Result<Done, Error> {
        let in_use = InUse {
            held: self.in_use().held.clone(),
            ..live
        };
        let mut inner = self.lock();
        self.before_command(&mut inner)?;
        self.execute_plain(&mut inner, actor, command, &[], views, &in_use)
    }

    /// The last step of [`Store::run`]: durable.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn finish(&self, done: &Done, views: &Views) -> Result<(), Error> {
        self.commit(done.ticket)?;
        if !views.0.is_empty() {
            // A later opening would have to fold from before that position; a state file spares it that.
            self.state_files.write_soon(self);
        }
        Ok(())
    }
}
