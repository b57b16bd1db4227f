//! `strand schedule …`: checkpoints by the clock, and what they would cost.

use crate::args::schedule::{Noun, Set, Show, Verb};
use crate::context::{Context, volume};
use crate::error::Outcome;
use crate::output::table::{Align, Table};
use crate::output::units;
use serde_json::{Value, json};
use std::sync::Arc;
use strand_engine::duration;
use strand_engine::schedule::is_scheduled_name;
use strand_engine::{BLOCK, Checkpoint, Command, Schedule, State, Volume};
use strand_replay::forecast::{Sample, simulate};

/// Rows of a simulation that are shown to people; `--json` has them all.
const ROWS: usize = 12;

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        None => show(context, &Show { volume: None }),
        Some(Verb::Show(args)) => show(context, &args),
        Some(Verb::Set(args)) => set(context, &args),
        Some(Verb::Clear(args)) => clear(context, &args.volume),
        Some(Verb::Plan(args)) => plan(context, &args),
    }
}

fn schedule(args: &Set) -> Schedule {
    Schedule {
        every: args.every,
        keep: args.keep.0.clone(),
    }
}

fn set(context: &mut Context, args: &Set) -> Outcome {
    let store = context.write()?;
    let schedule = schedule(args);
    let command = Command::ScheduleSet {
        volume: volume(&store.state(), &args.volume)?.id,
        schedule: Some(schedule.clone()),
    };
    let done = store.run(context.actor(), command)?;
    let served = store.daemon().is_some();
    context.close(store)?;
    if context.out.json {
        return context.out.object(json!({"volume": args.volume, "schedule": as_json(&schedule), "running": served, "seq": done.last}));
    }
    context
        .out
        .line(format!("checkpoints of {}: {schedule}", args.volume))?;
    resting(context, served)
}

/// A schedule that nobody runs is no schedule.
fn resting(context: &mut Context, served: bool) -> Outcome {
    if served {
        return Ok(());
    }
    context
        .out
        .line("nothing is taken until a daemon serves the store: strand serve")
}

fn clear(context: &mut Context, name: &str) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, name)?;
    let left = taken(&state, found).count() as u64;
    let command = Command::ScheduleSet {
        volume: found.id,
        schedule: None,
    };
    let done = store.run(context.actor(), command)?;
    context.close(store)?;
    if context.out.json {
        return context.out.object(
            json!({"volume": name, "schedule": null, "checkpoints": left, "seq": done.last}),
        );
    }
    if done.events.is_empty() {
        return context.out.line(format!("{name} has no schedule"));
    }
    let taken = match left {
        0 => "it has left no checkpoints".to_owned(),
        1 => "the checkpoint that it took stays".to_owned(),
        left => format!("the {left} checkpoints that it took stay"),
    };
    context
        .out
        .line(format!("the schedule of {name} is ended; {taken}"))
}

/// The checkpoints that a volume's schedule has taken, oldest first.
fn taken<'a>(state: &'a State, of: &Volume) -> impl Iterator<Item = &'a Arc<Checkpoint>> {
    let id = of.id;
    let all = state.checkpoints.values();
    all.filter(move |c| c.volumes == [id] && is_scheduled_name(&c.name))
}

fn show(context: &mut Context, args: &Show) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let served = store.daemon().is_some();
    let chosen: Vec<&Arc<Volume>> = match &args.volume {
        Some(name) => vec![volume(&state, name)?],
        None => {
            let volumes = state.volumes.values();
            volumes.filter(|v| v.schedule.is_some()).collect()
        }
    };
    if context.out.json {
        let rows = chosen.iter().map(|v| {
            let last = taken(&state, v).last();
            json!({
                "volume": v.name.as_ref(), "schedule": v.schedule.as_ref().map(as_json), "checkpoints": taken(&state, v).count(),
                "last": last.map(|c| json!({"name": c.name.as_ref(), "seq": c.seq, "time": units::json_time(c.time)})),
            })
        });
        let rows: Vec<Value> = rows.collect();
        return context
            .out
            .object(json!({"schedules": rows, "running": served}));
    }
    if chosen.is_empty() {
        return context
            .out
            .line("no schedules: strand schedule set VOL --every 15m --keep 4h:all,2d:hourly");
    }
    let mut table = Table::new(&[
        ("VOLUME", Align::Flexible),
        ("EVERY", Align::Right),
        ("KEEP", Align::Flexible),
        ("TAKEN", Align::Right),
        ("LAST", Align::Left),
    ]);
    for v in &chosen {
        let (every, keep) = match &v.schedule {
            Some(schedule) => (duration(schedule.every), keep_text(schedule)),
            None => ("never".into(), String::new()),
        };
        let last = taken(&state, v).last();
        table.row(vec![
            v.name.to_string(),
            every,
            keep,
            units::count(taken(&state, v).count() as u64),
            last.map(|c| units::short_time(c.time)).unwrap_or_default(),
        ]);
    }
    table.print(&mut context.out)?;
    resting(
        context,
        served || chosen.iter().all(|v| v.schedule.is_none()),
    )
}

fn keep_text(schedule: &Schedule) -> String {
    let steps: Vec<String> = schedule.keep.iter().map(ToString::to_string).collect();
    steps.join(",")
}

fn as_json(schedule: &Schedule) -> Value {
    let seconds = |ns: u64| ns / 1_000_000_000;
    let keep: Vec<Value> = schedule
        .keep
        .iter()
        .map(|keep| json!({"age_seconds": seconds(keep.age), "every_seconds": seconds(keep.every)}))
        .collect();
    json!({"every_seconds": seconds(schedule.every), "keep": keep, "text": schedule.to_string()})
}

fn plan(context: &mut Context, args: &Set) -> Outcome {
    let store = context.read()?;
    let schedule = schedule(args);
    let id = volume(&store.state(), &args.volume)?.id;
    let found = simulate(&store, id, &schedule)?;
    let sample = |s: &Sample| {
        json!({
            "time": units::json_time(s.time), "elapsed_seconds": s.elapsed / 1_000_000_000, "checkpoints": s.checkpoints,
            "owned_bytes": s.owned.saturating_mul(BLOCK),
        })
    };
    if context.out.json {
        let samples: Vec<Value> = found.samples.iter().map(sample).collect();
        return context.out.object(json!({
            "volume": args.volume, "schedule": as_json(&schedule), "recorded_seconds": found.recorded / 1_000_000_000,
            "taken": found.taken, "thinned": found.thinned, "peak": sample(&found.peak), "end": sample(&found.end),
            "mean_bytes": found.mean.saturating_mul(BLOCK), "mapped_bytes": found.mapped.saturating_mul(BLOCK), "samples": samples,
        }));
    }
    let (peak, end) = (&found.peak, &found.end);
    let checkpoints = |count| units::counted(count, "checkpoint");
    let recorded = units::span(found.recorded);
    context.out.line(format!(
        "{}: {schedule}, had it been set {recorded} ago",
        args.volume
    ))?;
    for (label, text) in [
        (
            "taken",
            format!(
                "{}, {} thinned out again",
                checkpoints(found.taken),
                units::count(found.thinned)
            ),
        ),
        (
            "now",
            format!(
                "{} would own {}",
                checkpoints(end.checkpoints),
                units::blocks_size(end.owned)
            ),
        ),
        (
            "at most",
            format!(
                "{}, {} of what is mapped",
                units::blocks_size(peak.owned),
                units::percent(peak.owned, found.mapped)
            ),
        ),
        (
            "",
            format!(
                "by {} at {}",
                checkpoints(peak.checkpoints),
                units::time(peak.time)
            ),
        ),
        ("on average", units::blocks_size(found.mean)),
    ] {
        context.out.line(format!("  {label:<11} {text}"))?;
    }
    if found.samples.len() < 2 {
        return Ok(());
    }
    context.out.line("")?;
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("CHECKPOINTS", Align::Right),
        ("OWNED", Align::Right),
    ]);
    // Of neighbours that share a row, the one that owns most is told: the peak is always there.
    for row in found
        .samples
        .chunks(found.samples.len().div_ceil(ROWS))
        .filter_map(|part| part.iter().max_by_key(|s| s.owned))
    {
        table.row(vec![
            units::short_time(row.time),
            units::count(row.checkpoints),
            units::blocks_size(row.owned),
        ]);
    }
    table.print(&mut context.out)
}
