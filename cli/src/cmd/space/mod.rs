//! `strand space …`: who owns what, what is given back, and what will be needed.

mod defrag;
mod forecast;
mod freed;
mod reclaim;
mod show;

pub(super) use freed::Freed;
pub(super) use show::on_disk;

use crate::args::space::{Noun, Verb};
use crate::context::Context;
use crate::error::Outcome;

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        None | Some(Verb::Show) => show::run(context),
        Some(Verb::Reclaim(args)) => reclaim::run(context, &args),
        Some(Verb::Defrag(args)) => defrag::run(context, &args),
        Some(Verb::Forecast(args)) => forecast::run(context, &args),
    }
}
