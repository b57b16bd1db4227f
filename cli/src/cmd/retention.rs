//! `strand retention …`: how far back every commit of a volume can be viewed.

use crate::args::schedule::{Limit, RetentionNoun, RetentionSet, RetentionVerb, Show};
use crate::confirm::confirm;
use crate::context::{Context, volume};
use crate::error::Outcome;
use crate::output::table::{Align, Table};
use crate::output::units;
use serde_json::{Value, json};
use strand_engine::duration;
use strand_engine::{Command, EventTime, Retention, Store, Volume};

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: RetentionNoun) -> Outcome {
    match noun.verb {
        None => show(context, &Show { volume: None }),
        Some(RetentionVerb::Show(args)) => show(context, &args),
        Some(RetentionVerb::Set(args)) => set(context, &args),
    }
}

fn set(context: &mut Context, args: &RetentionSet) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, &args.volume)?;
    let mut retention = Retention::default();
    for limit in &args.keep {
        match limit {
            Limit::Age(age) => retention.age = Some(*age),
            Limit::Bytes(bytes) => retention.bytes = Some(*bytes),
            Limit::Default => {}
        }
    }
    let command = Command::RetentionSet {
        volume: found.id,
        retention,
    };
    // What cannot be done is refused before anyone is asked about it.
    let changes = !store.plan(context.actor(), command.clone())?.is_empty();
    let (before, after) = (store.reach(found.retention), store.reach(retention));
    if changes && shrinks(&before, &after) {
        confirm(
            context,
            &format!("shrink the history window of {}", args.volume),
            &format!(
                "it is {}; what lies further back than {} can then be given up",
                words(&before),
                words(&after)
            ),
        )?;
    }
    let done = store.run(context.actor(), command)?;
    let state = store.state();
    let found = volume(&state, &args.volume)?;
    if context.out.json {
        let mut object = as_json(&store, found);
        object["seq"] = done.last.into();
        context.close(store)?;
        return context.out.object(object);
    }
    let table = table(&store, &[found.as_ref()]);
    context.close(store)?;
    table.print(&mut context.out)
}

fn shrinks(before: &Retention, after: &Retention) -> bool {
    let less = |before: Option<u64>, after: Option<u64>| {
        after.is_some_and(|after| before.is_none_or(|before| after < before))
    };
    less(before.age, after.age) || less(before.bytes, after.bytes)
}

fn words(reach: &Retention) -> String {
    let age = reach.age.map(duration);
    let bytes = reach.bytes.map(units::size);
    let limits: Vec<String> = age.into_iter().chain(bytes).collect();
    limits.join(" or ")
}

fn show(context: &mut Context, args: &Show) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let chosen: Vec<&Volume> = match &args.volume {
        Some(name) => vec![volume(&state, name)?.as_ref()],
        None => state.volumes.values().map(AsRef::as_ref).collect(),
    };
    if context.out.json {
        let rows: Vec<Value> = chosen.iter().map(|v| as_json(&store, v)).collect();
        return context.out.object(json!({"windows": rows}));
    }
    if chosen.is_empty() {
        return context.out.line("no volumes: strand volume create NAME");
    }
    table(&store, &chosen).print(&mut context.out)
}

/// When a volume's window begins now.
pub(crate) fn begins(store: &Store, volume: &Volume) -> Option<EventTime> {
    if volume.history == volume.created {
        return Some(volume.created_time);
    }
    let found = store.boundary_at_or_before(volume.history).ok()?;
    Some(found.1)
}

fn table(store: &Store, volumes: &[&Volume]) -> Table {
    let mut table = Table::new(&[
        ("VOLUME", Align::Flexible),
        ("KEEP", Align::Left),
        ("REACHES BACK TO", Align::Left),
        ("SEQ", Align::Right),
    ]);
    for v in volumes {
        let kept = words(&store.reach(v.retention));
        let kept = match v.retention == Retention::default() {
            true => format!("{kept} (default)"),
            false => kept,
        };
        table.row(vec![
            v.name.to_string(),
            kept,
            begins(store, v).map(units::short_time).unwrap_or_default(),
            v.history.to_string(),
        ]);
    }
    table
}

fn as_json(store: &Store, volume: &Volume) -> Value {
    let kept = store.reach(volume.retention);
    json!({
        "volume": volume.name.as_ref(), "keep_seconds": kept.age.map(|ns| ns / 1_000_000_000), "keep_bytes": kept.bytes,
        "default": volume.retention == Retention::default(), "reaches_seq": volume.history,
        "reaches_time": begins(store, volume).map(units::json_time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_in_either_way_is_a_shorter_window() {
        let window = |age, bytes| Retention { age, bytes };
        let usual = window(Some(10), None);
        assert!(!shrinks(&usual, &usual));
        assert!(shrinks(&usual, &window(Some(9), None)));
        assert!(shrinks(&usual, &window(Some(11), Some(5))));
        assert!(!shrinks(&usual, &window(Some(11), None)));
        assert!(!shrinks(&window(Some(10), Some(5)), &window(None, Some(6))));
        assert_eq!(
            words(&window(Some(24 * 3_600_000_000_000), Some(1 << 30))),
            "1d or 1.0 GiB"
        );
    }
}
