//! `strand mount` and `umount`: views of a store as directories.

use crate::args::live::{Mount, Umount};
use crate::context::Context;
use crate::error::{Outcome, on_path, refuse};
use crate::opened::Opened;
use crate::output::table::{Align, Table};
use crate::view::{self, Image, View};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use strand_engine::{Checkpoint, Command, Kind, Refusal, Source, State, Volume};
use strand_serve::control::message::{MountPoint, Mounted};
use strand_serve::control::{Client, Mounting};
use strand_serve::mountinfo::{self, store_mounts};

/// Where a daemon in the background writes what it has to say, in the store's directory.
const LOG: &str = "serve.log";
/// A longer log begins anew with the next daemon.
const MAX_LOG: u64 = 1 << 20;
/// A daemon in the background is asked so often whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Besides the time for the lock, a daemon may take so long to open its store.
const START: Duration = Duration::from_secs(120);
/// Shadows of one checkpoint.
const MAX_SHADOWS: u32 = 999;

/// `mount`
pub(crate) fn run(context: &mut Context, args: Mount) -> Outcome {
    let (Some(text), Some(dir)) = (&args.view, &args.dir) else {
        return list(context);
    };
    let path = context.store_path()?.to_owned();
    // The mount point is opened here, by the user who asks, and passed: the daemon opens no path. What a daemon that died left mounted there is taken away by the
    // next one, before it answers.
    let found = mount_point(dir);
    if !is_left_by_the_dead(dir)
        && let Err(error) = found
    {
        return Err(error);
    }
    let (daemon, started) = match Client::connect(&path)? {
        Some(daemon) => (daemon, false),
        None => (start(context, &path)?, true),
    };
    let found = found.or_else(|_| mount_point(dir));
    let mounted = found.and_then(|(at, point)| mount(context, &daemon, &args, text, &at, point));
    if mounted.is_err() && started {
        // A daemon that was started for this mount alone has nothing to do; the failure is what is told.
        if let Err(refusal) = daemon.stop(false) {
            tracing::debug!(%refusal, "the daemon stays");
        }
    }
    let (point, shadow) = mounted?;
    if context.out.json {
        return context.out.object(json!({
            "view": point.label, "dir": point.path.to_string_lossy(), "read_only": point.read_only, "shadow": shadow,
        }));
    }
    if let Some(name) = &shadow {
        context.out.line(format!(
            "made the shadow {name}: it stays until strand clone remove {name}"
        ))?;
    }
    context.out.line(format!(
        "mounted {} on {} ({})",
        point.label,
        point.path.display(),
        read_write(point.read_only)
    ))
}

fn mount(
    context: &Context,
    daemon: &Client,
    args: &Mount,
    text: &str,
    at: &File,
    path: PathBuf,
) -> Outcome<(MountPoint, Option<String>)> {
    let store = if args.rw {
        context.write()?
    } else {
        context.read()?
    };
    let view = view::resolve(context, &store, text)?;
    let (source, label, shadow) = match &view.image {
        None => (view.source(), view.label(), None),
        Some(Image::Checkpoint(checkpoint)) if args.rw => {
            let name = make_shadow(context, &store, &view, checkpoint)?;
            let state = store.state();
            let made = crate::context::volume(&state, &name)?;
            (Source::Live(made.id), name.clone(), Some(name))
        }
        Some(_) if args.rw => {
            return refuse(
                Refusal::new(Kind::NotAllowed, format!("cannot mount {text} for writing"))
                    .why("the past does not change")
                    .next(format!(
                        "strand clone create NAME --from {}, and mount that",
                        view.label()
                    )),
            );
        }
        Some(_) => (view.source(), view.label(), None),
    };
    let point = MountPoint {
        source,
        label,
        path,
        read_only: args.read_only || !matches!(source, Source::Live(_)),
        allow_other: args.allow_other,
    };
    let mounted = daemon.mount(Mounting {
        point,
        at: at.as_fd(),
    })?;
    context.close(store)?;
    Ok((mounted, shadow))
}

/// The next free `NAME_wrNNN`: a clone of the checkpoint's image, to be mounted in its place.
fn make_shadow(
    context: &Context,
    store: &Opened,
    view: &View,
    checkpoint: &Checkpoint,
) -> Outcome<String> {
    let state = store.state();
    let Some(name) = free_shadow(&state, &view.volume, checkpoint) else {
        return refuse(
            Refusal::new(
                Kind::Exists,
                format!(
                    "the checkpoint {} has {MAX_SHADOWS} shadows",
                    checkpoint.name
                ),
            )
            .next("remove some: strand clone list"),
        );
    };
    let source = view.source();
    let command = Command::CloneCreate {
        name: name.clone(),
        source,
    };
    store.run(context.actor(), command)?;
    Ok(name)
}

/// One more than the highest that was given: a name that was used and removed does not come back while others stand.
fn free_shadow(state: &State, volume: &Volume, checkpoint: &Checkpoint) -> Option<String> {
    // Of a checkpoint with several members each volume has shadows of its own name's.
    let base = if checkpoint.volumes.len() > 1 {
        format!("{}_{}", checkpoint.name, volume.name)
    } else {
        checkpoint.name.to_string()
    };
    (1..=MAX_SHADOWS)
        .map(|number| format!("{base}_wr{number:03}"))
        .find(|name| state.volume_named(name).is_none())
}

/// For reading, or for writing too.
pub(super) fn read_write(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "read-write" }
}

/// Whether something is mounted there that nobody serves any more.
fn is_left_by_the_dead(dir: &Path) -> bool {
    let looked = std::fs::metadata(dir);
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::NotConnected)
}

/// A directory to mount on, opened, and its path.
pub(super) fn mount_point(dir: &Path) -> Outcome<(File, PathBuf)> {
    let path = dir.canonicalize().map_err(on_path("mount on", dir))?;
    let at = File::open(&path).map_err(on_path("mount on", dir))?;
    let metadata = at.metadata().map_err(on_path("mount on", dir))?;
    if !metadata.is_dir() {
        return refuse(
            Refusal::new(
                Kind::NotADirectory,
                format!("cannot mount on {}", dir.display()),
            )
            .why("it is no directory")
            .next("name an empty directory"),
        );
    }
    Ok((at, path))
}

/// Starts a daemon in the background, and waits until it serves.
fn start(context: &Context, store: &Path) -> Outcome<Client> {
    let path = store.join(LOG);
    let mut log = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| crate::opening::no_directory(store, &error))?;
    let mut before = log.metadata().map_err(on_path("read", &path))?.len();
    if before > MAX_LOG {
        log.set_len(0).map_err(on_path("write", &path))?;
        before = 0;
    }
    let store = store.canonicalize().map_err(on_path("find", store))?;
    let program = std::env::current_exe().map_err(on_path("find", Path::new("strand")))?;
    let to_log = |log: &File| log.try_clone().map_err(on_path("write", &path));
    let mut child = std::process::Command::new(&program)
        .args(["serve", "--background", "--lock-timeout"])
        .arg(format!("{}ms", context.global.lock_timeout.as_millis()))
        .arg("--store")
        .arg(&store)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(to_log(&log)?)
        .stderr(to_log(&log)?)
        .spawn()
        .map_err(on_path("start", &program))?;
    let until = Instant::now() + context.global.lock_timeout + START;
    loop {
        if let Some(daemon) = Client::connect(&store)? {
            return Ok(daemon);
        }
        if let Some(ended) = child.try_wait().map_err(on_path("start", &program))? {
            let mut said = String::new();
            log.seek(SeekFrom::Start(before))
                .and_then(|_| log.read_to_string(&mut said))
                .map_err(on_path("read", &path))?;
            return refuse(why_not(&said, ended.code(), &path));
        }
        if Instant::now() >= until {
            return refuse(stuck(&mut child, &path));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn stuck(child: &mut Child, log: &Path) -> Refusal {
    let refusal = Refusal::new(Kind::Busy, "the daemon does not get ready")
        .next(format!("see {}, then try again", log.display()));
    match child.kill() {
        Ok(()) => refusal.why("it was ended again"),
        Err(error) => refusal.why(error.to_string()),
    }
}

/// What the daemon said before it ended, as its own refusal.
fn why_not(said: &str, code: Option<i32>, log: &Path) -> Refusal {
    let kind = match code {
        Some(3) => Kind::Damaged,
        Some(4) => Kind::Locked,
        _ => Kind::Io,
    };
    let mut refusal = Refusal::new(kind, "the daemon does not start");
    for line in said.lines() {
        if let Some(message) = line.strip_prefix("strand: ") {
            refusal = Refusal::new(kind, message);
        } else if let Some(why) = line.strip_prefix("  why:  ") {
            refusal = refusal.why(why);
        } else if let Some(next) = line.strip_prefix("  next: ") {
            refusal = refusal.next(next);
        }
    }
    refusal
        .next
        .get_or_insert_with(|| format!("see {}", log.display()));
    refusal
}

/// `mount` alone.
fn list(context: &mut Context) -> Outcome {
    let path = context.store_path()?.to_owned();
    let mounts = match Client::connect(&path)? {
        Some(daemon) => daemon.mounts()?,
        None => Vec::new(),
    };
    if context.out.json {
        let mounts: Vec<_> = mounts.iter().map(as_json).collect();
        return context.out.object(json!({"mounts": mounts}));
    }
    if mounts.is_empty() {
        return context.out.line("nothing is mounted");
    }
    table(&mounts).print(&mut context.out)
}

/// A mount, for `--json`.
pub(super) fn as_json(mount: &Mounted) -> serde_json::Value {
    json!({
        "view": mount.label, "dir": mount.path.to_string_lossy(), "read_only": mount.read_only,
        "handles": mount.handles, "writers": mount.writers,
    })
}

/// Mounts, for people.
pub(super) fn table(mounts: &[Mounted]) -> Table {
    let mut table = Table::new(&[
        ("MOUNTED", Align::Flexible),
        ("ON", Align::Flexible),
        ("MODE", Align::Left),
        ("HANDLES", Align::Right),
        ("WRITING", Align::Right),
    ]);
    for mount in mounts {
        table.row(vec![
            mount.label.clone(),
            mount.path.display().to_string(),
            read_write(mount.read_only).to_owned(),
            mount.handles.to_string(),
            mount.writers.to_string(),
        ]);
    }
    table
}

/// `umount`
pub(crate) fn umount(context: &mut Context, args: &Umount) -> Outcome {
    // The mount of a daemon that died cannot be looked into: its path is taken as it is.
    let absolute = std::path::absolute(&args.dir).map_err(on_path("unmount", &args.dir))?;
    let point = args.dir.canonicalize().unwrap_or(absolute);
    let mounts = store_mounts().map_err(on_path("read", Path::new("/proc/self/mountinfo")))?;
    let found = mounts.iter().rfind(|mount| mount.point == point);
    let Some(found) = found else {
        return refuse(
            Refusal::new(
                Kind::NotFound,
                format!("no view is mounted on {}", args.dir.display()),
            )
            .next("strand mount lists the mounts"),
        );
    };
    match Client::connect(&found.store)? {
        Some(daemon) => daemon.unmount(&found.point)?,
        None => {
            for (path, taken) in mountinfo::detach_stale(&found.store) {
                taken.map_err(on_path("unmount", &path))?;
            }
        }
    }
    if context.out.json {
        return context
            .out
            .object(json!({"dir": point.to_string_lossy(), "unmounted": true}));
    }
    context.out.line(format!("unmounted {}", point.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_start_is_quoted() {
        let said =
            "INFO x\nstrand: the store is in use\n  why:  strand[7] holds it\n  next: wait\n";
        let refusal = why_not(said, Some(4), Path::new("/s/serve.log"));
        assert_eq!(refusal.kind, Kind::Locked);
        assert_eq!(refusal.message, "the store is in use");
        assert_eq!(refusal.why.as_deref(), Some("strand[7] holds it"));
        assert_eq!(refusal.next.as_deref(), Some("wait"));
        let refusal = why_not("", None, Path::new("/s/serve.log"));
        assert_eq!(refusal.next.as_deref(), Some("see /s/serve.log"));
    }
}
