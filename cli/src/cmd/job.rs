//! `strand job …`: what works in the background. At rest nothing does.

use crate::args::space::{JobId, JobNoun, JobVerb, JobWait};
use crate::context::{Context, Opened};
use crate::error::{Failure, Outcome, refuse};
use crate::interrupt::{self, Listening};
use crate::output::progress::Progress;
use crate::output::table::{Align, Table};
use crate::output::units;
use serde_json::{Value, json};
use std::time::Duration;
use strand_engine::{Error, JobKind, Kind, Refusal, Store};
use strand_serve::control::Client;
use strand_serve::control::message::{Job, WorkDone};

/// The daemon is asked so often how far a job is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Work in this process may be done sooner.
const SHORT: Duration = Duration::from_millis(1);

/// Runs it.
pub(crate) fn run(context: &mut Context, noun: JobNoun) -> Outcome {
    match noun.verb {
        None | Some(JobVerb::List) => list(context),
        Some(JobVerb::Wait(args)) => wait(context, &args),
        Some(JobVerb::Cancel(args)) => cancel(context, &args),
    }
}

fn jobs(daemon: Option<&Client>) -> Outcome<Vec<Job>> {
    Ok(daemon.map(Client::jobs).transpose()?.unwrap_or_default())
}

fn list(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let jobs = jobs(store.daemon())?;
    let served = store.daemon().is_some();
    print(context, &jobs, served)
}

fn print(context: &mut Context, jobs: &[Job], served: bool) -> Outcome {
    if context.out.json {
        let rows: Vec<Value> = jobs.iter().map(as_json).collect();
        return context.out.object(json!({"jobs": rows}));
    }
    if jobs.is_empty() {
        return context.out.line(match served {
            true => "no jobs",
            false => "no jobs: nothing works in the background while the store is at rest",
        });
    }
    let mut table = Table::new(&[
        ("JOB", Align::Right),
        ("KIND", Align::Left),
        ("OF", Align::Flexible),
        ("STATE", Align::Left),
        ("DONE", Align::Right),
        ("STARTED", Align::Left),
    ]);
    for job in jobs {
        let state = match &job.why {
            Some(why) => format!("{}: {why}", job.state),
            None => job.state.clone(),
        };
        table.row(vec![
            job.id.to_string(),
            job.kind.clone(),
            units::path(job.what.as_bytes()),
            state,
            match job.total {
                0 => units::size(job.done),
                total => units::percent(job.done.min(total), total),
            },
            units::short_time(job.started),
        ]);
    }
    table.print(&mut context.out)
}

fn as_json(job: &Job) -> Value {
    json!({
        "id": job.id, "kind": job.kind, "what": job.what, "state": job.state, "done": job.done, "total": job.total,
        "started": units::json_time(job.started), "why": job.why,
    })
}

/// For `status`: the jobs that work, as many as a screen has room for.
pub(super) fn lines(context: &mut Context, store: &Opened) -> Outcome {
    const SHOWN: usize = 3;
    let running = running(store)?;
    for job in running.iter().take(SHOWN) {
        let part = match job.total {
            0 => units::size(job.done),
            total => units::percent(job.done.min(total), total),
        };
        let (id, kind, what) = (job.id, &job.kind, units::path(job.what.as_bytes()));
        context.out.line(format!(
            "job       {id}: {kind} of {what}, {part} done, {}",
            job.state
        ))?;
    }
    match running.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => context
            .out
            .line(format!("job       … {more} more: strand job list")),
    }
}

/// For `status --json`: the jobs that work.
pub(super) fn running_json(store: &Opened) -> Outcome<Vec<Value>> {
    Ok(running(store)?.iter().map(as_json).collect())
}

fn running(store: &Opened) -> Outcome<Vec<Job>> {
    let mut jobs = jobs(store.daemon())?;
    jobs.retain(|job| !job.ended);
    Ok(jobs)
}

fn wait(context: &mut Context, args: &JobWait) -> Outcome {
    let store = context.read()?;
    let Some(daemon) = store.daemon() else {
        return match args.id {
            Some(id) => refuse(no_job(id)),
            None => print(context, &[], false),
        };
    };
    let chosen: Vec<Job> = match args.id {
        Some(id) => vec![daemon.wait_job(id, Duration::ZERO)?.0],
        None => jobs(Some(daemon))?,
    };
    let mut ended = Vec::new();
    for job in chosen {
        ended.push(match job.ended {
            true => job,
            false => follow(daemon, job, "waiting", false)?.0,
        });
    }
    print(context, &ended, true)
}

fn cancel(context: &mut Context, args: &JobId) -> Outcome {
    let store = context.write()?;
    let Some(daemon) = store.daemon() else {
        return refuse(no_job(args.id));
    };
    let job = daemon.cancel_job(args.id)?;
    context.close(store)?;
    if context.out.json {
        return context.out.object(json!({"job": as_json(&job)}));
    }
    context.out.line(match job.ended {
        true => format!("job {} had ended: {}", job.id, job.state),
        false => format!("job {} ends as soon as it can; what it did stays", job.id),
    })
}

fn no_job(id: u64) -> Refusal {
    Refusal::new(Kind::NotFound, format!("there is no job {id}"))
        .why("nothing works in the background while the store is at rest")
        .next("strand serve")
}

/// Waits for a job of the daemon, and shows how far it is. Ctrl-C ends the wait, and with `own` the job too.
pub(super) fn follow(
    daemon: &Client,
    job: Job,
    what: &'static str,
    own: bool,
) -> Outcome<(Job, Option<WorkDone>)> {
    let listening = Listening::start();
    let progress = Progress::bytes(what, job.total);
    let found = loop {
        let (now, done) = daemon.wait_job(job.id, LOOK_EVERY)?;
        progress.set_total(now.total);
        progress.set(now.done);
        if now.ended {
            break (now, done);
        }
        if interrupt::asked() {
            if own {
                daemon.cancel_job(job.id)?;
            }
            interrupt::check(what, "what it did so far stays")?;
        }
    };
    drop(listening);
    Ok(found)
}

/// Works in this process, on a store at rest, and shows how far it is. Ctrl-C tells the job to end.
pub(super) fn here<T: Send>(
    store: &Opened,
    kind: JobKind,
    what: &'static str,
    work: impl FnOnce(&Store) -> Result<T, Error> + Send,
) -> Outcome<T> {
    let listening = Listening::start();
    let progress = Progress::bytes(what, 0);
    let store: &Store = store;
    let done = std::thread::scope(|scope| {
        let worker = scope.spawn(move || work(store));
        let mut pause = SHORT;
        while !worker.is_finished() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_EVERY);
            let jobs = store.jobs().list();
            if let Some(job) = jobs.iter().rev().find(|job| job.kind == kind) {
                progress.set_total(job.total);
                progress.set(job.done);
                if interrupt::asked() {
                    store.jobs().cancel(job.id);
                }
            }
        }
        worker.join()
    });
    drop(listening);
    match done {
        Ok(done) => Ok(done?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// What came of a job that this command began.
pub(super) fn outcome(job: &Job, done: Option<WorkDone>) -> Outcome<WorkDone> {
    match done {
        Some(WorkDone::Failed(refused)) => Err(Failure::from(Refusal::from(refused))),
        Some(done) => Ok(done),
        None => refuse(
            Refusal::new(
                Kind::Io,
                format!("nobody knows what came of job {}", job.id),
            )
            .next("strand job list"),
        ),
    }
}
