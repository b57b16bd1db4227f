//! Views that are kept readable for one client, no longer than it is there.

use std::collections::HashMap;
use std::time::Duration;
use strand_engine::{Actor, Error, Kind, Lease, Refusal, Seq, Source, Store};

/// The most views that are kept readable for one client.
const MOST_LEASES: usize = 16;
/// The tree of a past position takes memory of its own, some 16 bytes a mapped block: no more are kept for clients beyond so many times
/// the blocks of all live volumes.
const MOST_TIMES: u64 = 4;
/// A smaller store counts as one of so many blocks (16 GiB; 64 MB of memory).
const LEAST_BLOCKS: u64 = 4 << 20;

/// So many bytes are kept of what a client says it does, and of its name: all leases together fit into one answer.
const MOST_SAID: usize = 256;

/// The views of one client.
#[derive(Debug, Default)]
pub(super) struct Leases(HashMap<Source, Kept>);

#[derive(Debug)]
struct Kept {
    lease: Lease,
    /// Where its tree was taken.
    boundary: Seq,
}

impl Leases {
    /// Keeps a view readable; gives the boundary at which its tree was taken. Of a view that the client keeps already the same tree is kept on, for the
    /// time it says now: of a live volume another one may be there, of a position the history may have been given up.
    ///
    /// # Errors
    /// As [`Store::lease_of`]; [`Kind::Busy`] where too much is kept already.
    pub(super) fn keep(
        &mut self,
        store: &Store,
        source: Source,
        (by, actor): (&str, &Actor),
        time: Duration,
    ) -> Result<Seq, Error> {
        self.0
            .retain(|_, kept| store.still_leased(&kept.lease).is_ok());
        if let Some(kept) = self.0.get(&source) {
            store.extend_lease(&kept.lease, time)?;
            return Ok(kept.boundary);
        }
        let cannot = |why: String| {
            Refusal::new(Kind::Busy, "too many views are kept readable")
                .why(why)
                .next("try again when one of those who read has ended")
        };
        if self.0.len() >= MOST_LEASES {
            return Err(cannot(format!("this client keeps {MOST_LEASES} already")).into());
        }
        let position = matches!(source, Source::Position(..));
        if position && at_positions(store) >= live(store).saturating_mul(MOST_TIMES) {
            let why = "the trees of past positions that others read take too much memory";
            return Err(cannot(why.to_owned()).into());
        }
        let cut = |text: &str| text[..text.floor_char_boundary(MOST_SAID)].to_owned();
        let (by, name) = (cut(by), cut(&actor.name));
        let who = format!("{by} by {name}[{}]", actor.pid);
        let (boundary, lease) = store.lease_of(source, who, Some(time))?;
        self.0.insert(source, Kept { lease, boundary });
        Ok(boundary)
    }
}

/// Blocks of the positions that are kept readable, for whomever.
fn at_positions(store: &Store) -> u64 {
    let leases = store.leases().into_iter();
    leases
        .filter(|lease| matches!(lease.source, Source::Position(..)))
        .fold(0, |sum, lease| sum.saturating_add(lease.blocks))
}

/// Blocks of all live trees.
fn live(store: &Store) -> u64 {
    let state = store.state();
    let blocks = state.volumes.values().map(|volume| volume.live.blocks);
    blocks.fold(0, u64::saturating_add).max(LEAST_BLOCKS)
}
