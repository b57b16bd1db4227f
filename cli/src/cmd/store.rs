//! `strand init`, `info` and `status`: the store as a whole.

mod condition;

pub(crate) use condition::health;

use super::{job, quota, served, volume};
use crate::args::store::{Demo, Init};
use crate::context::{Context, inside_store};
use crate::demo::DemoOptions;
use crate::error::{Failure, Outcome, on_path, refuse};
use crate::output::table::{Align, Table};
use crate::output::{units, words};
use condition::{Verified, is_clean};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use strand_engine::{Change, InitOptions, Kind, Refusal, State, Store, SystemClock, What};
use strand_journal::{
    Disk, FORMAT_VERSION, FileDisk, MAX_SEGMENT_SIZE, MIN_SEGMENT_SIZE, Space, StoreFile, StoreId,
};

/// `demo`
pub(crate) fn demo(context: &mut Context, args: Demo) -> Outcome {
    let options = DemoOptions {
        keep: args.keep,
        json: context.out.json,
        colour: context.out.colour,
        actor: context.actor().clone(),
    };
    crate::demo::run(options, context.out.writer())
}

/// `init`
pub(crate) fn init(context: &mut Context, args: Init) -> Outcome {
    check_init(&args)?;
    let fresh = !args.dir.exists();
    let disk = FileDisk::create(&args.dir).map_err(on_path("make a store in", &args.dir))?;
    let free = disk.free_bytes().ok();
    let id = random_id().map_err(on_path("read", Path::new("/dev/urandom")))?;
    let options = InitOptions {
        segment_size: args.segment_size,
        capacity: args.capacity,
        store: id,
    };
    let made = Store::init(
        Arc::new(disk),
        Arc::new(SystemClock::default()),
        options,
        context.actor(),
    );
    let store = match made {
        Ok(store) => store,
        Err(error) => {
            if fresh {
                // Nothing was in it but what we put there.
                let _ = fs::remove_dir_all(&args.dir);
            }
            return Err(too_small(&args, free, error));
        }
    };
    store.close()?;
    if context.out.json {
        return context.out.object(json!({
            "store": args.dir.to_string_lossy(), "id": id.to_string(), "format_version": FORMAT_VERSION,
            "segment_size": args.segment_size, "capacity": args.capacity,
        }));
    }
    let dir = args.dir.display();
    context.out.line(format!(
        "made a store in {dir} (id {id}, segments of {})",
        units::size(args.segment_size)
    ))?;
    context.out.line(format!(
        "next: export STRAND_STORE={dir}; strand volume create NAME"
    ))
}

/// A disk without room for the first segment: says how much it takes, and how to need less.
fn too_small(args: &Init, free: Option<u64>, error: strand_engine::Error) -> Failure {
    if error.kind() != Kind::NoSpace {
        return error.into();
    }
    let has = free.map_or_else(String::new, |free| {
        format!("; the disk has {}", units::size(free))
    });
    let next = if args.segment_size > MIN_SEGMENT_SIZE {
        "choose a larger disk, or smaller segments: --segment-size 1MiB"
    } else {
        "choose a larger disk"
    };
    Refusal::new(
        Kind::NoSpace,
        format!("cannot make a store in {}", args.dir.display()),
    )
    .why(format!(
        "its first segment takes {}{has}",
        units::size(args.segment_size)
    ))
    .next(next)
    .into()
}

fn check_init(args: &Init) -> Outcome {
    let no = |kind, why: String| {
        Refusal::new(
            kind,
            format!("cannot make a store in {}", args.dir.display()),
        )
        .why(why)
    };
    let size = args.segment_size;
    if !size.is_power_of_two() || !(MIN_SEGMENT_SIZE..=MAX_SEGMENT_SIZE).contains(&size) {
        let why = format!(
            "a segment of {} is not a power of two from 64 KiB to 1 GiB",
            units::size(size)
        );
        return refuse(no(Kind::Invalid, why).next("leave --segment-size out: 64 MiB serves most"));
    }
    if let Some(capacity) = args.capacity.filter(|c| *c < 4 * size) {
        let why = format!(
            "a capacity of {} is less than four segments of {}",
            units::size(capacity),
            units::size(size)
        );
        return refuse(
            no(Kind::Invalid, why).next("choose a larger --capacity or a smaller --segment-size"),
        );
    }
    if let Some(store) = inside_store(&args.dir) {
        let why = format!("{} is a store already", store.display());
        return refuse(no(Kind::Exists, why).next(format!("strand -s {} status", store.display())));
    }
    match fs::read_dir(&args.dir) {
        Ok(mut entries) => match entries.next() {
            Some(_) => refuse(
                no(Kind::NotEmpty, "the directory is not empty".into())
                    .next("choose a new or an empty directory"),
            ),
            None => Ok(()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(on_path("make a store in", &args.dir)(error)),
    }
}

/// 16 bytes of the system's randomness: ids of stores never meet.
fn random_id() -> std::io::Result<StoreId> {
    use std::io::Read;
    let mut id = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(StoreId(id))
}

/// `info`
pub(crate) fn info(context: &mut Context) -> Outcome {
    let store = context.read()?;
    let (state, head, space) = (
        store.state(),
        store.journal().head(),
        store.journal().space(),
    );
    let file = StoreFile::read(store.disk().as_ref()).map_err(strand_engine::Error::from)?;
    let path = context.store_path()?.display().to_string();
    let opening = store.opening();
    let disk = super::space::on_disk(context.store_path()?)?;
    if context.out.json {
        return context.out.object(json!({
            "store": path, "id": file.store.to_string(), "format_version": FORMAT_VERSION, "created": units::json_time(file.created),
            "segment_size": file.segment_size, "capacity": file.capacity, "segments": space.segments, "used_bytes": space.used_bytes,
            "archived_segments": space.archived_segments, "archives_bytes": space.archive_bytes, "audit_bytes": state.audit,
            "first_seq": state.horizon.max(1), "disk_bytes": disk,
            "free_bytes": store.writable_bytes(), "full": store.writable_bytes() == 0,
            "position": state.boundary, "time": units::json_time(state.time), "epoch": head.epoch, "flushed": head.flushed, "chain": head.chain.to_string(),
            "clean": is_clean(opening), "state_file": opening.state_file, "folded_events": opening.folded,
        }));
    }
    let capacity = file
        .capacity
        .map_or_else(|| "what the disk has".into(), units::size);
    let clean = if is_clean(opening) {
        "closed in good order"
    } else {
        "not closed in good order: recovered at every opening until written again"
    };
    let state_file = opening
        .state_file
        .map_or_else(|| "none".into(), |seq| format!("seq {seq}"));
    for (label, text) in [
        ("store", path),
        ("id", file.store.to_string()),
        ("format", format!("version {FORMAT_VERSION}")),
        ("created", units::time(file.created)),
        ("capacity", capacity),
        (
            "used",
            format!(
                "{} in {} of {}",
                units::size(space.used_bytes),
                units::counted(space.segments, "segment"),
                units::size(file.segment_size)
            ),
        ),
        ("archives", archives(&state, &space)),
        ("on disk", units::size(disk)),
        ("free", room(&store)),
        ("position", words::position(state.boundary, state.time)),
        ("flushed", format!("seq {}", head.flushed)),
        ("epoch", head.epoch.to_string()),
        ("chain head", head.chain.to_string()),
        (
            "state file",
            format!(
                "{state_file}; {} folded at this opening",
                units::counted(opening.folded, "event")
            ),
        ),
        ("last close", clean.into()),
    ] {
        context.out.line(format!("{label:<11} {text}"))?;
    }
    Ok(())
}

/// Events whose blocks' space was given back, in words.
fn archives(state: &State, space: &Space) -> String {
    let mut text = match space.archived_segments {
        0 => "none: no space was given back yet".to_owned(),
        count => format!(
            "the events of {}, {}",
            units::counted(count, "segment"),
            units::size(space.archive_bytes)
        ),
    };
    if state.horizon > 1 {
        text += &format!("; those before seq {} were moved away", state.horizon);
    }
    if let Some(bytes) = state.audit {
        text += &format!("; {} are kept", units::size(bytes));
    }
    text
}

/// How much can still be written, in words.
fn room(store: &Store) -> String {
    match store.writable_bytes() {
        0 => "full: what is left is kept for removals".to_owned(),
        bytes => format!("{} free", units::size(bytes)),
    }
}

/// `status`
pub(crate) fn status(context: &mut Context) -> Outcome {
    let store = context.read_as_it_is()?;
    let state = store.state();
    let (space, (well, health)) = (store.journal().space(), health(&store));
    let verified = Verified::of(&store);
    let served = served::of(&store)?;
    let path = context.store_path()?.display().to_string();
    let last = state.checkpoints.values().next_back();
    let undo = state.changes.iter().rev().find(|c| c.undone.is_none());
    if context.out.json {
        let volumes: Vec<Value> = state
            .volumes
            .values()
            .map(|v| volume::as_json(&state, v))
            .collect();
        let mut object = json!({
            "store": path, "healthy": well, "health": health, "used_bytes": space.used_bytes,
            "free_bytes": store.writable_bytes(), "full": store.writable_bytes() == 0, "last_verify": verified.json(), "capacity": space.capacity, "position": state.boundary, "time": units::json_time(state.time), "volumes": volumes, "quotas": quota::limited(&state), "jobs": job::running_json(&store)?,
            "last_checkpoint": last.map(|c| json!({"name": c.name.as_ref(), "seq": c.seq, "time": units::json_time(c.time)})),
            "undo": undo.map(|c| json!({"seq": c.seq, "what": change(&state, c)})),
        });
        if let Some(status) = &served {
            object["served"] = served::as_json(status);
        }
        context.out.object(object)?;
        return ended(well);
    }
    let health = context.out.tinted(well, &health);
    context.out.line(format!("store     {path}: {health}"))?;
    if let Some(status) = &served {
        served::lines(context, status)?;
    }
    let of = space
        .capacity
        .map_or_else(String::new, |c| format!(" of {}", units::size(c)));
    context.out.line(format!(
        "space     {}{of} used, {}",
        units::size(space.used_bytes),
        room(&store)
    ))?;
    quota::lines(context, &state)?;
    job::lines(context, &store)?;
    context.out.line(format!(
        "position  {}",
        words::position(state.boundary, state.time)
    ))?;
    let (sound, text) = verified.text();
    let text = if sound {
        text
    } else {
        context.out.tinted(false, &text)
    };
    context.out.line(format!("last verify      {text}"))?;
    let last = last.map_or_else(
        || "none".into(),
        |c| format!("{}, {}", c.name, units::time(c.time)),
    );
    context.out.line(format!("last checkpoint  {last}"))?;
    let undo = undo.map_or_else(
        || "nothing".into(),
        |c| format!("{} (seq {})", change(&state, c), c.seq),
    );
    context.out.line(format!("undo reverses    {undo}"))?;
    if state.volumes.is_empty() {
        context.out.line("no volumes: strand volume create NAME")?;
    } else {
        context.out.line("")?;
        status_table(&state).print(&mut context.out)?;
    }
    if let Some(status) = &served {
        served::mounts(context, status)?;
    }
    ended(well)
}

fn ended(well: bool) -> Outcome {
    if well {
        Ok(())
    } else {
        Err(crate::error::Failure::Said(Kind::Damaged.exit_code()))
    }
}

/// Volumes that `status` shows; the rest is counted, so that it stays one screen.
const STATUS_VOLUMES: usize = 14;

fn status_table(state: &State) -> Table {
    let mut table = Table::new(&[
        ("VOLUME", Align::Flexible),
        ("FILES", Align::Right),
        ("MAPPED", Align::Right),
        ("OWNED", Align::Right),
        ("LAST CHECKPOINT", Align::Flexible),
        ("CHANGED", Align::Left),
    ]);
    for v in state.volumes.values().take(STATUS_VOLUMES) {
        let (files, blocks) = crate::tree::totals(&v.live);
        let latest = v
            .images
            .keys()
            .next_back()
            .and_then(|id| state.checkpoints.get(id));
        table.row(vec![
            v.name.to_string(),
            units::count(files),
            units::blocks_size(blocks),
            volume::owned_text(v),
            latest.map(|c| c.name.to_string()).unwrap_or_default(),
            units::short_time(v.changed),
        ]);
    }
    if state.volumes.len() > STATUS_VOLUMES {
        let more = format!("… {} more", state.volumes.len() - STATUS_VOLUMES);
        table.row(vec![
            more,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    table
}

/// An administrative change in a few words.
pub(crate) fn change(state: &State, change: &Change) -> String {
    let names = change.volumes.iter().map(|id| {
        let volume = state
            .volumes
            .get(id)
            .or_else(|| state.removed_volumes.get(id));
        volume.map_or_else(|| format!("(volume {id})"), |v| v.name.to_string())
    });
    let names: Vec<String> = names.collect();
    let volumes = crate::context::list(names.iter().map(String::as_str));
    let checkpoint = |id| {
        let found = state
            .removed_checkpoints
            .get(id)
            .or_else(|| state.checkpoints.get(id));
        found.map_or_else(|| format!("(checkpoint {id})"), |c| c.name.to_string())
    };
    match &change.what {
        What::RolledBack { .. } => format!("the rollback of {volumes}"),
        What::Reset { .. } => format!("the reset of {volumes}"),
        What::FilesRolledBack { paths, .. } => {
            format!(
                "the rollback of {} of {volumes}",
                units::counted(paths.len() as u64, "path")
            )
        }
        What::VolumeRenamed { from, to, .. } | What::CheckpointRenamed { from, to, .. } => {
            format!("the renaming of {from} to {to}")
        }
        What::VolumeRemoved { .. } => format!("the removal of the volume {volumes}"),
        What::CheckpointRemoved { checkpoint: id } => {
            format!("the removal of the checkpoint {}", checkpoint(id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_too_small_is_told_how_much_is_needed() {
        let args = Init {
            dir: "tank".into(),
            segment_size: 64 << 20,
            capacity: None,
        };
        let full = Refusal::new(Kind::NoSpace, "full").into();
        let Failure::Refused(refusal) = too_small(&args, Some(40 << 20), full) else {
            panic!("a refusal");
        };
        assert_eq!(refusal.kind, Kind::NoSpace);
        let why = refusal.why.unwrap_or_default();
        assert!(
            why.contains("64.0 MiB") && why.contains("40.0 MiB"),
            "{why}"
        );
        assert!(refusal.next.is_some_and(|n| n.contains("--segment-size")));
    }
}
