//! `strand serve` and `stop`: a store in live use, and its end.

use super::mount::{mount_point, read_write};
use crate::args::live::{Serve, Stop, ViewAt};
use crate::context::Context;
use crate::error::{Outcome, refuse};
use crate::interrupt::{self, Listening};
use crate::{opening, view};
use rustix::process::getuid;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use strand_engine::{Kind, OpenOptions, Refusal, Store, SystemClock};
use strand_journal::FileDisk;
use strand_serve::control::Client;
use strand_serve::daemon::{Daemon, DaemonOptions};
use strand_serve::{LiveOptions, MountRequest};

/// `serve`
pub(crate) fn run(context: &mut Context, args: Serve) -> Outcome {
    if args.background {
        // The shell that started `strand mount` does not take this process with it. One that leads its session already needs none.
        let _ = rustix::process::setsid();
    }
    let path = context.store_path()?.to_owned();
    if let Some(daemon) = Client::connect(&path)? {
        return refuse(served_already(&path, &daemon));
    }
    let store = open(context, &path)?;
    // From here on a signal ends the daemon in good order.
    let listening = Listening::start();
    let options = DaemonOptions {
        live: LiveOptions {
            commit_every: args.commit_every,
            ..LiveOptions::default()
        },
        metrics: args.metrics,
        until_unmounted: args.background,
    };
    let daemon = Daemon::start(store, &path, options)?;
    let mounted = args
        .mount
        .iter()
        .try_for_each(|at| mount(context, &daemon, at, args.allow_other));
    if let Err(failure) = mounted.and_then(|()| say(context, &path, &daemon)) {
        // What was mounted before goes again; the failure itself is told.
        if let Err(error) = daemon.serve(&|| true) {
            tracing::warn!(%error, "the store was not closed in good order");
        }
        return Err(failure);
    }
    daemon.serve(&interrupt::asked)?;
    drop(listening);
    Ok(())
}

fn open(context: &Context, path: &Path) -> Outcome<Store> {
    let disk = FileDisk::open(path).map_err(|error| opening::no_directory(path, &error))?;
    let options = OpenOptions {
        lock_timeout: context.global.lock_timeout,
        background: true,
        state_every: crate::context::STATE_EVERY,
        ..OpenOptions::read_write()
    };
    Store::open(Arc::new(disk), Arc::new(SystemClock::default()), options)
        .map_err(|error| opening::not_opened(path, &error).into())
}

fn mount(context: &Context, daemon: &Daemon, at: &ViewAt, allow_other: bool) -> Outcome {
    let store = daemon.live().store();
    let view = view::resolve(context, store, &at.view)?;
    let (dir, path) = mount_point(&at.dir)?;
    let request = MountRequest {
        source: view.source(),
        label: view.label(),
        at: dir,
        path,
        uid: getuid().as_raw(),
        read_only: view.image.is_some(),
        allow_other,
    };
    daemon.mount(request).map(drop).map_err(Into::into)
}

/// What runs now, for people and for whoever waits for it to be ready.
fn say(context: &mut Context, path: &Path, daemon: &Daemon) -> Outcome {
    let (pid, mounts) = (std::process::id(), daemon.live().mounts());
    let metrics = daemon.metrics_at().map(|at| at.to_string());
    if context.out.json {
        let mounts: Vec<_> = mounts
            .iter()
            .map(|m| json!({"view": m.label, "dir": m.path.to_string_lossy(), "read_only": m.read_only}))
            .collect();
        context.out.object(json!({
            "store": path.to_string_lossy(), "pid": pid, "mounts": mounts, "metrics": metrics, "cleared": daemon.found(),
        }))?;
        return context.out.flush();
    }
    for text in daemon.found() {
        context.out.line(text)?;
    }
    context
        .out
        .line(format!("serving {} (pid {pid})", path.display()))?;
    for m in mounts {
        context.out.line(format!(
            "  {} on {} ({})",
            m.label,
            m.path.display(),
            read_write(m.read_only)
        ))?;
    }
    if let Some(at) = metrics {
        context
            .out
            .line(format!("  metrics on http://{at}/metrics"))?;
    }
    context.out.flush()
}

fn served_already(path: &Path, daemon: &Client) -> Refusal {
    Refusal::new(
        Kind::Locked,
        format!("the store {} is served already", path.display()),
    )
    .why(format!("pid {} serves it", daemon.pid()))
    .next("strand mount VIEW DIR uses that daemon; strand stop ends it")
}

/// `stop`
pub(crate) fn stop(context: &mut Context, args: &Stop) -> Outcome {
    let path = context.store_path()?.to_owned();
    let Some(daemon) = Client::connect(&path)? else {
        return refuse(nobody(&path));
    };
    let pid = daemon.pid();
    daemon.stop(args.force)?;
    if context.out.json {
        return context
            .out
            .object(json!({"store": path.to_string_lossy(), "pid": pid, "stopped": true}));
    }
    context
        .out
        .line(format!("stopped pid {pid}: {} is at rest", path.display()))
}

/// No daemon serves the store.
fn nobody(path: &Path) -> Refusal {
    Refusal::new(
        Kind::NotFound,
        format!("nobody serves the store {}", path.display()),
    )
    .why("it is at rest")
    .next("strand mount VIEW DIR, or strand serve")
}
