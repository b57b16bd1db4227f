//! What the recorded journal says about space to come: how much of a volume changes within a stretch of time, and what a schedule of
//! checkpoints would have taken.
//!
//! `turnover` follows the live tree of a volume commit by commit and tells which places change and which versions it loses; `windows` and `simulate` count them.
//! Time is elapsed time: a pause counts as an hour at most, a jump of the clock as nothing.

mod simulate;
mod turnover;
mod windows;

pub use simulate::{MAX_KEPT, MAX_TAKEN, Sample, Simulation, simulate};
pub use windows::{Counts, Forecast, forecast};

use strand_engine::{Kind, Refusal, State, VolumeId};

fn no_volume() -> Refusal {
    Refusal::new(Kind::NotFound, "there is no such volume").next("strand volume list")
}

/// Blocks that the live tree of a volume maps.
fn mapped(state: &State, volume: VolumeId) -> Result<u64, Refusal> {
    let found = state.volume(volume).ok_or_else(no_volume)?;
    Ok(found.live.blocks)
}
