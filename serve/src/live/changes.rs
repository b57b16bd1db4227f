//! Changes of files that come without a mount and without handles, from clients of the control socket: they name volumes and inodes that
//! they have seen, and are refused where another tree was put there meanwhile.

use super::{Force, Live};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use strand_engine::{
    Actor, BLOCK, Block, Command, Done, Error, Ino, Kind, Refusal, Store, VolumeId,
};

/// Which trees a client knows: how often each volume's had been swapped when it looked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen(BTreeMap<VolumeId, u64>);

impl Live {
    /// The trees as they are now. Whoever looks at them after this names inodes that are there.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let gates = self.core.gates().clone();
        let swaps = |gate: &crate::core::Gate| *gate.read().unwrap_or_else(PoisonError::into_inner);
        Seen(gates.iter().map(|(v, gate)| (*v, swaps(gate))).collect())
    }

    /// Carries out a command on files of the trees that were seen, with the payload blocks that a write or a truncation needs, in order; not
    /// durable until [`Live::sync`]. A command that swaps trees goes the way of [`Live::run`].
    ///
    /// # Errors
    /// As [`Store::submit_with`]; [`Kind::Stale`] where the volume's tree was swapped since.
    pub fn submit(
        &self,
        seen: &Seen,
        actor: &Actor,
        command: Command,
        payload: &[Block],
    ) -> Result<Done, Error> {
        if command.swaps() {
            return self.run(actor, command, Force::No);
        }
        let store = self.store();
        let done = match tree_of(&command) {
            Some(volume) => self.inside(seen, volume, payload.len() as u64, &mut || {
                store.submit_with(actor, command.clone(), payload)
            })?,
            None => store.submit_with(actor, command, payload)?,
        };
        self.core.committer.note(payload.len() as u64 * BLOCK);
        self.touched(&done.events);
        Ok(done)
    }

    /// Changes the content of a file of the trees that were seen; not durable until [`Live::sync`]. `bytes` is what that may put in
    /// memory.
    ///
    /// # Errors
    /// What `how` gives; [`Kind::Stale`] where the volume's tree was swapped since.
    pub fn change(
        &self,
        seen: &Seen,
        (volume, ino): (VolumeId, Ino),
        bytes: u64,
        mut how: impl FnMut(&Store) -> Result<Done, Error>,
    ) -> Result<Done, Error> {
        let blocks = bytes.div_ceil(BLOCK);
        let done = self.inside(seen, volume, blocks, &mut || how(self.store()));
        // Also after an error: a long write may have got half-way.
        self.core.committer.note(bytes);
        self.rewritten(volume, ino);
        done
    }

    /// Does something while nobody swaps the volume's tree, if it is the one that was seen. Where there is no room for it (`blocks`), some is made while others may
    /// swap, and it is done again.
    fn inside<R>(
        &self,
        seen: &Seen,
        volume: VolumeId,
        blocks: u64,
        then: &mut dyn FnMut() -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.core
            .with_room(blocks, &mut || self.inside_now(seen, volume, then))
    }

    fn inside_now<R>(
        &self,
        seen: &Seen,
        volume: VolumeId,
        then: &mut dyn FnMut() -> Result<R, Error>,
    ) -> Result<R, Error> {
        // A gate stays: there is none for what is no volume.
        self.store().look(volume, |_| ())?;
        let gate = self.core.gate(volume);
        let swaps = gate.read().unwrap_or_else(PoisonError::into_inner);
        if *swaps != seen.0.get(&volume).copied().unwrap_or(0) {
            let stale = "cannot change files: the volume was set back meanwhile";
            return Err(Refusal::new(Kind::Stale, stale)
                .why("the files that this command knows are those from before")
                .next("run it again")
                .into());
        }
        then()
    }
}

/// The volume whose inodes a command names.
fn tree_of(command: &Command) -> Option<VolumeId> {
    match command {
        Command::Create { volume, .. }
        | Command::Link { volume, .. }
        | Command::Unlink { volume, .. }
        | Command::Rename { volume, .. }
        | Command::Write { volume, .. }
        | Command::Truncate { volume, .. }
        | Command::Preallocate { volume, .. }
        | Command::Share { volume, .. }
        | Command::SetAttributes { volume, .. }
        | Command::SetXattr { volume, .. }
        | Command::RemoveXattr { volume, .. } => Some(*volume),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LiveOptions;
    use std::sync::Arc;
    use strand_engine::{InitOptions, SystemClock};
    use strand_journal::{MemoryDisk, StoreId};

    #[test]
    fn what_is_no_volume_leaves_nothing_behind() {
        let init = InitOptions {
            segment_size: 64 << 10,
            capacity: None,
            store: StoreId([9; 16]),
        };
        let (disk, clock) = (Arc::new(MemoryDisk::new()), Arc::new(SystemClock::new()));
        let store = Store::init(disk, clock, init, &Actor::program()).unwrap();
        let live = Live::new(store, LiveOptions::default());
        let seen = live.seen();
        for volume in 100..110 {
            let (volume, ino) = (VolumeId(volume), Ino(1));
            let write = |store: &Store| store.write(&Actor::program(), volume, ino, 0, b"x");
            let refused = live.change(&seen, (volume, ino), 1, write).unwrap_err();
            assert_eq!(refused.kind(), Kind::NotFound);
        }
        assert_eq!(live.seen(), seen);
        live.close().unwrap();
    }
}
