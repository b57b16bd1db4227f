//! `strand space forecast`: how much changes within a time.

use crate::args::space::Forecast;
use crate::context::{Context, volume};
use crate::error::Outcome;
use crate::output::units;
use serde_json::json;
use strand_engine::BLOCK;
use strand_engine::duration;
use strand_replay::forecast::forecast;

/// The classic rule: a tenth of a file system is enough for the checkpoint of a backup window.
const RULE: u64 = 10;

/// Runs it.
pub(super) fn run(context: &mut Context, args: &Forecast) -> Outcome {
    let store = context.read()?;
    let id = volume(&store.state(), &args.volume)?.id;
    let found = forecast(&store, id, args.window)?;
    let whole = found.mapped.saturating_mul(BLOCK);
    if context.out.json {
        let bytes = |blocks: u64| blocks.saturating_mul(BLOCK);
        return context.out.object(json!({
            "volume": args.volume, "asked_seconds": args.window as f64 / 1e9, "window_seconds": found.window as f64 / 1e9,
            "recorded_seconds": found.recorded as f64 / 1e9, "windows": found.windows, "p50_bytes": bytes(found.changed.p50),
            "p95_bytes": bytes(found.changed.p95), "most_bytes": bytes(found.changed.most), "owned_p50_bytes": bytes(found.owned.p50),
            "owned_p95_bytes": bytes(found.owned.p95), "owned_most_bytes": bytes(found.owned.most), "mapped_bytes": whole, "rule_bytes": whole / RULE,
        }));
    }
    context.out.line(match found.window < args.window {
        true => format!(
            "{} has {} of history, less than {}: this is what changed in all of it",
            args.volume,
            units::span(found.recorded),
            duration(args.window)
        ),
        false => format!(
            "{}: what changes within {}, by {} of history",
            args.volume,
            duration(args.window),
            units::span(found.recorded)
        ),
    })?;
    let (changed, owned) = (found.changed, found.owned);
    for (label, blocks, owned) in [
        ("half of the time at most", changed.p50, owned.p50),
        ("95 % of the time at most", changed.p95, owned.p95),
        ("never more than", changed.most, owned.most),
    ] {
        context.out.line(format!(
            "  {label:<25} {:>10}  ({} of {}; a checkpoint comes to own {})",
            units::blocks_size(blocks),
            units::percent(blocks, found.mapped),
            units::size(whole),
            units::blocks_size(owned)
        ))?;
    }
    context.out.line(format!(
        "  {:<25} {:>10}",
        "the 10 % rule says",
        units::size(whole / RULE)
    ))
}
