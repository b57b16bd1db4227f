//! What `strand status` says of the daemon that serves the store; at rest there is nothing to say.

use super::mount;
use crate::context::{Context, Opened};
use crate::error::Outcome;
use crate::output::units;
use serde_json::{Value, json};
use strand_serve::control::Status;

/// The daemon of an opened store, where one serves it.
pub(super) fn of(store: &Opened) -> Outcome<Option<Status>> {
    Ok(store.daemon().map(|daemon| daemon.status()).transpose()?)
}

fn operations(status: &Status) -> (u64, f64) {
    let count = status.figures.ops.iter().map(|op| op.count).sum();
    let seconds = status.figures.up_millis as f64 / 1000.0;
    let rate = if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    };
    (count, rate)
}

/// For people: two lines.
pub(super) fn lines(context: &mut Context, status: &Status) -> Outcome {
    let since = units::time(status.since);
    let (pid, clients) = (
        status.pid,
        units::counted(u64::from(status.clients), "client"),
    );
    context.out.line(format!(
        "served    by strand[{pid}] since {since}, {clients}"
    ))?;
    let (count, rate) = operations(status);
    let (operations, unflushed) = (
        units::counted(count, "operation"),
        units::size(status.unflushed_bytes),
    );
    context.out.line(format!(
        "live      {operations}, {rate:.1}/s since then; {unflushed} not flushed yet"
    ))
}

/// For people: the mounts, below the volumes.
pub(super) fn mounts(context: &mut Context, status: &Status) -> Outcome {
    if status.mounts.is_empty() {
        return Ok(());
    }
    context.out.line("")?;
    mount::table(&status.mounts).print(&mut context.out)
}

/// For programs.
pub(super) fn as_json(status: &Status) -> Value {
    let (count, rate) = operations(status);
    let mounts: Vec<Value> = status.mounts.iter().map(mount::as_json).collect();
    json!({
        "pid": status.pid, "program": status.program, "since": units::json_time(status.since), "clients": status.clients,
        "unflushed_bytes": status.unflushed_bytes, "operations": count, "operations_per_second": rate, "mounts": mounts,
    })
}
