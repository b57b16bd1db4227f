//! `strand space reclaim`: gives space back, here or in the daemon.

use crate::args::space::Reclaim as Args;
use crate::cmd::job;
use crate::confirm::confirm;
use crate::context::Context;
use crate::error::{Outcome, refuse};
use crate::output::units;
use serde_json::json;
use strand_engine::jobs::JobKind;
use strand_engine::{Kind, LeftAlone, ReclaimOptions, Reclaimed, Refusal};
use strand_serve::control::message::{Work, WorkDone};

/// Runs it.
pub(super) fn run(context: &mut Context, args: &Args) -> Outcome {
    let store = context.write()?;
    if args.background && store.daemon().is_none() {
        return refuse(
            Refusal::new(Kind::NotAllowed, "cannot reclaim in the background")
                .why("the store is at rest: nothing goes on when this command ends")
                .next("leave --background out, or serve the store: strand serve"),
        );
    }
    if args.now {
        confirm(
            context,
            "give up the history",
            "no volume can be viewed as it was before now any more, but for its checkpoints; earlier changes cannot be undone",
        )?;
    }
    let before = store.journal().space().used_bytes;
    let done = match store.daemon() {
        None => {
            let options = ReclaimOptions {
                rate: args.rate,
                now: args.now,
                ..ReclaimOptions::default()
            };
            job::here(&store, JobKind::Reclaim, "reclaiming", |store| {
                store.reclaim(&options)
            })?
        }
        Some(daemon) => {
            let work = Work::Reclaim {
                rate: args.rate,
                now: args.now,
            };
            let begun = daemon.start(work, None)?;
            if args.background {
                context.close(store)?;
                return began(context, begun.id);
            }
            let (ended, done) = job::follow(daemon, begun, "reclaiming", true)?;
            let WorkDone::Reclaimed(done) = job::outcome(&ended, done)? else {
                return refuse(Refusal::new(Kind::Io, "the daemon did something else"));
            };
            store.look_again()?;
            done
        }
    };
    context.close(store)?;
    if context.out.json {
        let left = done
            .left_alone
            .iter()
            .map(|left| json!({"segment": left.segment, "why": left.why}));
        let left: Vec<_> = left.collect();
        context.out.object(json!({
            "segments": done.segments, "bytes_freed": done.bytes_freed, "bytes_copied": done.bytes_copied, "used_before_bytes": before,
            "history_seq": done.history, "left_alone": left, "scattered_bytes": done.scattered, "cancelled": done.cancelled,
        }))?;
    } else {
        in_words(context, args, &done)?;
    }
    match done.cancelled {
        true => refuse(
            Refusal::new(Kind::Interrupted, "the reclaim was told to end")
                .why("what it gave back stays so"),
        ),
        false => Ok(()),
    }
}

fn in_words(context: &mut Context, args: &Args, done: &Reclaimed) -> Outcome {
    if let Some(seq) = done.history {
        context
            .out
            .line(format!("the history window begins at seq {seq} now"))?;
    }
    context.out.line(match done.segments {
        0 if done.cancelled => "nothing was given back".to_owned(),
        0 if done.scattered == 0 => "nothing to give back".to_owned(),
        0 if args.now => format!(
            "nothing to give back: {} lies scattered among too much that is alive",
            units::size(done.scattered)
        ),
        0 => format!(
            "nothing to give back yet: {} lies scattered in segments that are more than half alive\n  \
             it goes when room runs low, or now, with the history: strand space reclaim --now",
            units::size(done.scattered)
        ),
        segments => format!(
            "gave back {} in {}; {} of living blocks copied",
            units::size(done.bytes_freed),
            units::counted(segments, "segment"),
            units::size(done.bytes_copied)
        ),
    })?;
    for LeftAlone { segment, why } in &done.left_alone {
        context
            .out
            .line(format!("  segment {segment} stays: {why}"))?;
    }
    Ok(())
}

fn began(context: &mut Context, id: u64) -> Outcome {
    if context.out.json {
        return context.out.object(json!({"job": id}));
    }
    context
        .out
        .line(format!("job {id} has begun: strand job wait {id}"))
}
