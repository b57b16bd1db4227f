//! `strand space …`: who owns what, what is given back, and what will be needed.

mod forecast;
mod freed;

pub(super) use freed::Freed;

use crate::args::space::{Noun, Verb};
use crate::context::Context;
use crate::error::Outcome;

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        Verb::Forecast(args) => forecast::run(context, &args),
    }
}
