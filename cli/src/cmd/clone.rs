//! `strand clone …`: a clone is a volume wherever a VOL stands.

use super::volume::{as_json, origin, remove, table};
use crate::args::volume::{CloneCreate, CloneNoun, CloneVerb, Name};
use crate::context::{Context, volume};
use crate::error::{Outcome, refuse};
use crate::output::units;
use crate::view;
use serde_json::{Value, json};
use strand_engine::{Command, Kind, Refusal, What};

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: CloneNoun) -> Outcome {
    match noun.verb {
        None | Some(CloneVerb::List) => list(context),
        Some(CloneVerb::Create(args)) => create(context, args),
        Some(CloneVerb::Remove(args)) => remove(context, args, "clone"),
        Some(CloneVerb::Reset(args)) => reset(context, args),
    }
}

fn list(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let state = store.state();
    let clones = || state.volumes.values().filter(|v| v.origin.is_some());
    if context.out.json {
        let clones: Vec<Value> = clones().map(|v| as_json(&state, v)).collect();
        return context.out.object(json!({"clones": clones}));
    }
    let table = table(&state, clones().map(AsRef::as_ref));
    if table.is_empty() {
        return context
            .out
            .line("no clones: strand clone create NAME --from VIEW");
    }
    table.print(&mut context.out)
}

fn create(context: &mut Context, args: CloneCreate) -> Outcome {
    let store = context.write()?;
    let view = view::resolve(context, &store, &args.from)?;
    let done = store.run(
        context.actor(),
        Command::CloneCreate {
            name: args.name.clone(),
            source: view.source(),
        },
    )?;
    context.close(store)?;
    if context.out.json {
        let members = json!({"clone": args.name, "from": view.json(), "seq": done.last, "time": units::json_time(done.time)});
        return context.out.object(members);
    }
    context.out.line(format!(
        "made the clone {} from {} (0 bytes moved)",
        args.name,
        view.label()
    ))
}

fn reset(context: &mut Context, args: Name) -> Outcome {
    let store = context.write()?;
    let state = store.state();
    let found = volume(&state, &args.name)?;
    let Some(from) = found.origin.as_ref().map(|o| origin(&state, o)) else {
        return refuse(
            Refusal::new(Kind::NotAllowed, format!("{} is no clone", args.name))
                .why("only a clone remembers what it started from")
                .next(format!("strand rollback {} --to CHECKPOINT", args.name)),
        );
    };
    let done = store.run(context.actor(), Command::CloneReset { volume: found.id })?;
    store.settle()?;
    let state = store.state();
    let before = state
        .changes
        .iter()
        .rev()
        .find_map(|change| match change.what {
            What::Reset { before } if change.seq >= done.first => {
                state.checkpoints.get(&before).map(|c| c.name.to_string())
            }
            _ => None,
        });
    context.close(store)?;
    if context.out.json {
        return context
            .out
            .object(json!({"clone": args.name, "from": from, "before": before, "seq": done.last}));
    }
    let keeps = before
        .map(|b| format!("; {b} keeps what was"))
        .unwrap_or_default();
    context.out.line(format!(
        "{} is as {from} again{keeps}; strand undo {} reverses it",
        args.name, args.name
    ))
}
