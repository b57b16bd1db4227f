//! Confirmation, asked only where nothing can bring a thing back.

use crate::context::Context;
use crate::error::{Outcome, refuse};
use std::io::{self, BufRead, IsTerminal, Write};
use strand_engine::{Kind, Refusal};

/// Asks on a terminal, or takes `--yes`; else refuses. `what` is what would be done, as in `remove the checkpoint monday`.
pub(crate) fn confirm(context: &Context, what: &str, loses: &str) -> Outcome {
    if context.global.yes {
        return Ok(());
    }
    let refusal = Refusal::new(Kind::Unconfirmed, format!("did not {what}")).why(loses);
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() || context.global.json {
        return refuse(refusal.next("confirm it with --yes"));
    }
    let mut err = io::stderr().lock();
    let _ = write!(err, "strand: {what}? {loses}. [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        refuse(refusal)
    }
}
