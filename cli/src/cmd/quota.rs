//! `strand quota …`: what the checkpoints of a volume may own together.

use crate::args::quota::{Limit, Noun, OnFull, Set, Show, Verb};
use crate::confirm::confirm;
use crate::context::{Context, volume};
use crate::error::Outcome;
use crate::output::table::{Align, Table};
use crate::output::units;
use serde_json::{Value, json};
use strand_engine::quota::usage;
use strand_engine::{Command, Quota, State, Volume};

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: Noun) -> Outcome {
    match noun.verb {
        None => show(context, &Show { volume: None }),
        Some(Verb::Show(args)) => show(context, &args),
        Some(Verb::Set(args)) => {
            let name = args.volume.clone();
            change(context, &name, |quota| set(quota, &args))
        }
        Some(Verb::On(args)) => change(context, &args.volume, |quota| Quota { on: true, ..quota }),
        Some(Verb::Off(args)) => {
            change(context, &args.volume, |quota| Quota { on: false, ..quota })
        }
    }
}

fn set(quota: Quota, args: &Set) -> Quota {
    let new = |given: Option<Limit>, old| given.map_or(old, |limit| limit.0);
    let (hard, soft) = (new(args.hard, quota.hard), new(args.soft, quota.soft));
    Quota {
        hard,
        soft,
        on: hard.is_some() || soft.is_some(),
        fail_writes: args
            .on_full
            .map_or(quota.fail_writes, |what| what == OnFull::FailWrites),
    }
}

fn change(context: &mut Context, name: &str, to: impl FnOnce(Quota) -> Quota) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, name)?;
    let quota = to(found.quota);
    let command = |below_use| Command::QuotaSet {
        volume: found.id,
        quota,
        below_use,
    };
    // What cannot be done is refused before anyone is asked about it.
    store.plan(context.actor(), command(true))?;
    if quota.above_hard(found.images.owned()) {
        confirm(
            context,
            &format!("limit the checkpoints of {name}"),
            &format!(
                "they own {}: the next write gives some of them up for good",
                units::size(usage(found))
            ),
        )?;
    }
    let done = store.run(context.actor(), command(true))?;
    let state = store.state();
    context.close(store)?;
    let found = volume(&state, name)?;
    if context.out.json {
        let mut object = as_json(found);
        object["seq"] = done.last.into();
        return context.out.object(object);
    }
    table([found.as_ref()].into_iter()).print(&mut context.out)
}

fn show(context: &mut Context, args: &Show) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let chosen: Vec<&Volume> = match &args.volume {
        Some(name) => vec![volume(&state, name)?.as_ref()],
        None => state.volumes.values().map(AsRef::as_ref).collect(),
    };
    if context.out.json {
        let rows: Vec<Value> = chosen.into_iter().map(as_json).collect();
        return context.out.object(json!({"quotas": rows}));
    }
    table(chosen.into_iter()).print(&mut context.out)
}

/// For `status`: the volumes whose limits are enforced, as many as a screen has room for.
pub(super) fn lines(context: &mut Context, state: &State) -> Outcome {
    const SHOWN: usize = 4;
    let limited = || state.volumes.values().filter(|v| v.quota.on);
    for v in limited().take(SHOWN) {
        let limits = [("soft", v.quota.soft), ("hard", v.quota.hard)];
        let limits: Vec<String> = limits
            .iter()
            .filter_map(|(name, limit)| Some(format!("{name} {}", units::size((*limit)?))))
            .collect();
        let text = format!(
            "{}: its checkpoints own {} of {}",
            v.name,
            super::volume::owned_text(v),
            limits.join(", ")
        );
        let text = match state_of(v) {
            "on" => text,
            above => context.out.tinted(false, &format!("{text}: {above}")),
        };
        context.out.line(format!("quota     {text}"))?;
    }
    match limited().count() {
        count if count > SHOWN => context.out.line(format!(
            "quota     … of {} more: strand quota show",
            units::counted((count - SHOWN) as u64, "volume")
        )),
        _ => Ok(()),
    }
}

/// For `status --json`.
pub(super) fn limited(state: &State) -> Vec<Value> {
    let limited = state.volumes.values().filter(|v| v.quota.on);
    limited.map(|v| as_json(v)).collect()
}

fn table<'a>(volumes: impl Iterator<Item = &'a Volume>) -> Table {
    let mut table = Table::new(&[
        ("VOLUME", Align::Flexible),
        ("OWNED", Align::Right),
        ("SOFT", Align::Right),
        ("HARD", Align::Right),
        ("ON FULL", Align::Left),
        ("STATE", Align::Left),
    ]);
    for v in volumes {
        let limit = |limit: Option<u64>| limit.map_or_else(|| "none".into(), units::size);
        table.row(vec![
            v.name.to_string(),
            super::volume::owned_text(v),
            limit(v.quota.soft),
            limit(v.quota.hard),
            on_full(&v.quota).into(),
            state_of(v).into(),
        ]);
    }
    table
}

fn on_full(quota: &Quota) -> &'static str {
    if quota.fail_writes {
        "fail-writes"
    } else {
        "drop"
    }
}

fn state_of(volume: &Volume) -> &'static str {
    let (quota, owned) = (volume.quota, volume.images.owned());
    match () {
        () if !quota.on => "off",
        () if quota.above_hard(owned) => "above hard",
        () if quota.above_soft(owned) => "above soft",
        () => "on",
    }
}

fn as_json(volume: &Volume) -> Value {
    json!({
        "volume": volume.name.as_ref(), "owned_bytes": usage(volume), "settling": volume.settling(), "soft_bytes": volume.quota.soft,
        "hard_bytes": volume.quota.hard, "on": volume.quota.on, "on_full": on_full(&volume.quota), "state": state_of(volume),
    })
}
