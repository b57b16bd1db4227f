//! `strand write`, `rm`, `mkdir`, `mv` and `truncate`: changing a volume's files without a mount.

use crate::args::files::{Mkdir, Mv, Rm, Truncate, Write};
use crate::context::{Context, Opened, volume};
use crate::error::{Outcome, on_path, refuse};
use crate::interrupt::{self, Listening};
use crate::output::{units, words};
use crate::tree::{self, Last};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{getgid, getuid};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use strand_engine::{
    Body, Bytes, Command, Fileset, Ino, Kind, MAX_FILE_SIZE, NewBody, Refusal, Store, VolumeId,
};

/// Permission bits of a file that `write` makes.
const FILE_MODE: u32 = 0o644;
/// Permission bits of a directory that `mkdir` makes.
const DIR_MODE: u32 = 0o755;
/// Bytes read from the input and written as one command.
const CHUNK: usize = 1 << 20;
/// Bytes written between two commits of one `write`.
const COMMIT_EVERY: u64 = 64 << 20;
/// How long an input is waited for between two looks at whether the command is to stop.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// `write`
pub(crate) fn write(context: &mut Context, args: Write) -> Outcome {
    if args.offset > MAX_FILE_SIZE {
        return refuse(
            Refusal::new(
                Kind::TooLarge,
                format!("cannot write at offset {}", args.offset),
            )
            .why(format!("a file has at most {MAX_FILE_SIZE} bytes")),
        );
    }
    let from = args
        .input
        .clone()
        .unwrap_or_else(|| "standard input".into());
    // Without a buffer in between: what is there to read is what poll says.
    let opened = match &args.input {
        Some(path) => File::open(path),
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    let mut input = opened.map_err(on_path("open", &from))?;
    // The first bytes are read before the store is locked: whoever pipes slowly holds up nobody before they begin.
    let mut buffer = vec![0; CHUNK];
    let mut filled = fill(&mut input, &mut buffer, &from)?;
    let store = context.write()?;
    let listening = Listening::start();
    let id = volume(&store.state(), &args.volume)?.id;
    let (ino, made) = open_or_make(context, &store, id, &args.path)?;
    let (mut offset, mut uncommitted) = (args.offset, 0);
    let mut passed = BTreeMap::new();
    loop {
        if filled > 0 {
            let done = store.write(context.actor(), id, ino, offset, &buffer[..filled])?;
            for (name, blocks) in words::passed(&store.state(), &done.events) {
                *passed.entry(name).or_insert(0) += blocks;
            }
            offset += filled as u64;
            uncommitted += filled as u64;
            if uncommitted >= COMMIT_EVERY {
                store.commit(done.ticket)?;
                uncommitted = 0;
            }
        }
        if interrupt::asked() {
            store.sync()?;
            let stays = format!(
                "the first {} bytes are written and stay",
                offset - args.offset
            );
            return interrupt::check("writing", &stays);
        }
        if filled == 0 {
            break;
        }
        filled = fill(&mut input, &mut buffer, &from)?;
    }
    store.sync()?;
    drop(listening);
    context.close(store)?;
    let bytes = offset - args.offset;
    if context.out.json {
        let object = json!({
            "volume": args.volume, "path": args.path.to_string_lossy(), "created": made, "offset": args.offset, "bytes": bytes,
            "passed": words::passed_json(&passed),
        });
        return context
            .out
            .object(units::with_hex(object, &[("path", &args.path)]));
    }
    let new = if made { " (a new file)" } else { "" };
    let text = words::passed_text(&passed);
    let path = units::rooted(args.path.as_bytes());
    context.out.line(format!(
        "wrote {} to {path}{new}{text}",
        units::counted(bytes, "byte")
    ))
}

/// Fills the buffer, to the end of the input or until the command is asked to stop: an input that stalls holds nobody.
fn fill(input: &mut File, buffer: &mut [u8], from: &Path) -> Outcome<usize> {
    let mut filled = 0;
    while filled < buffer.len() && !interrupt::asked() {
        let mut waiting = [PollFd::new(input, PollFlags::IN)];
        match poll(&mut waiting, Some(&LOOK_EVERY)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(on_path("read", from)(error.into())),
        }
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(on_path("read", from)(error)),
        }
    }
    Ok(filled)
}

fn open_or_make(
    context: &Context,
    store: &Opened,
    id: VolumeId,
    path: &OsStr,
) -> Outcome<(Ino, bool)> {
    let tree = live(store, id)?;
    if tree::find(&tree, path, Last::Follow).is_ok() {
        return Ok((tree::file(&tree, path)?.0, false));
    }
    let (dir, name) = tree::place(&tree, path)?;
    if tree.child(dir, &name).is_some() {
        // A link that leads nowhere: the error of following it says so.
        return Ok((tree::file(&tree, path)?.0, false));
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let body = NewBody::File;
    store.submit(
        context.actor(),
        Command::Create {
            volume: id,
            dir,
            name: name.clone(),
            body,
            mode: FILE_MODE,
            uid,
            gid,
        },
    )?;
    match live(store, id)?.child(dir, &name) {
        Some(ino) => Ok((ino, true)),
        None => refuse(Refusal::new(
            Kind::Stale,
            format!("{} is gone again", units::rooted(path.as_bytes())),
        )),
    }
}

/// The live tree of a volume as it is now.
pub(crate) fn live(store: &Store, id: VolumeId) -> Outcome<Fileset> {
    match store.state().volume(id) {
        Some(volume) => Ok(volume.live.clone()),
        None => refuse(Refusal::new(Kind::Stale, "the volume is gone")),
    }
}

/// `rm`
pub(crate) fn rm(context: &mut Context, args: Rm) -> Outcome {
    let store = context.write()?;
    let listening = Listening::start();
    let id = volume(&store.state(), &args.volume)?.id;
    let mut removed = 0;
    let mut passed = BTreeMap::new();
    for path in &args.paths {
        let tree = live(&store, id)?;
        let (dir, name) = tree::place(&tree, path)?;
        let (_, inode) = tree::find(&tree, &entry(path), Last::Keep)?;
        if inode.is_dir() && !args.recursive {
            return refuse(
                Refusal::new(
                    Kind::IsADirectory,
                    format!("{} is a directory", units::rooted(path.as_bytes())),
                )
                .next("add -r to remove it with all that is in it"),
            );
        }
        for (dir, name, is_dir) in below(&tree, dir, name) {
            let done = store.submit(
                context.actor(),
                Command::Unlink {
                    volume: id,
                    dir,
                    name,
                    dir_wanted: is_dir,
                },
            )?;
            for (name, blocks) in words::passed(&store.state(), &done.events) {
                *passed.entry(name).or_insert(0) += blocks;
            }
            removed += 1;
            if interrupt::asked() {
                store.sync()?;
                return interrupt::check(
                    "removing",
                    &format!(
                        "{} are removed, the rest stays",
                        units::counted(removed, "file")
                    ),
                );
            }
        }
    }
    store.sync()?;
    store.settle()?;
    drop(listening);
    context.close(store)?;
    if context.out.json {
        return context.out.object(json!({"volume": args.volume, "removed": removed, "passed": words::passed_json(&passed)}));
    }
    context.out.line(format!(
        "removed {}{}",
        units::counted(removed, "file"),
        words::passed_text(&passed)
    ))
}

/// A path without its trailing slashes: the entry itself, not what a link leads to.
fn entry(path: &OsStr) -> OsString {
    let bytes = path.as_bytes();
    let end = bytes.len() - bytes.iter().rev().take_while(|b| **b == b'/').count();
    OsString::from_vec(bytes[..end].to_vec())
}

/// An entry and all entries below it, each directory after what is in it.
fn below(tree: &Fileset, dir: Ino, name: Bytes) -> Vec<(Ino, Bytes, bool)> {
    let mut found = Vec::new();
    let mut stack = vec![(dir, name)];
    while let Some((dir, name)) = stack.pop() {
        let Some(ino) = tree.child(dir, &name) else {
            continue;
        };
        let names = tree.inode(ino).and_then(|i| i.names().cloned());
        found.push((dir, name, names.is_some()));
        stack.extend(names.into_iter().flatten().map(|(name, _)| (ino, name)));
    }
    found.reverse();
    found
}

/// `mkdir`
pub(crate) fn mkdir(context: &mut Context, args: Mkdir) -> Outcome {
    let store = context.write()?;
    let id = volume(&store.state(), &args.volume)?.id;
    let mut made = 0;
    for path in &args.paths {
        let bytes = path.as_bytes();
        let ends = bytes
            .iter()
            .enumerate()
            .filter(|(i, b)| **b == b'/' && *i > 0)
            .map(|(i, _)| i);
        let ends: Vec<usize> = if args.parents {
            ends.chain([bytes.len()]).collect()
        } else {
            vec![bytes.len()]
        };
        for end in ends {
            let part = OsStr::from_bytes(&bytes[..end]);
            let tree = live(&store, id)?;
            if args.parents
                && tree::find(&tree, part, Last::Follow).is_ok_and(|(_, inode)| inode.is_dir())
            {
                continue;
            }
            let (dir, name) = tree::place(&tree, part)?;
            let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
            let body = NewBody::Dir;
            store.submit(
                context.actor(),
                Command::Create {
                    volume: id,
                    dir,
                    name,
                    body,
                    mode: DIR_MODE,
                    uid,
                    gid,
                },
            )?;
            made += 1;
        }
    }
    store.sync()?;
    context.close(store)?;
    if context.out.json {
        return context
            .out
            .object(json!({"volume": args.volume, "made": made}));
    }
    context.out.line(match made {
        1 => "made 1 directory".to_owned(),
        n => format!("made {} directories", units::count(n)),
    })
}

/// `mv`
pub(crate) fn mv(context: &mut Context, args: Mv) -> Outcome {
    let store = context.write()?;
    let id = volume(&store.state(), &args.volume)?.id;
    let tree = live(&store, id)?;
    let (from_dir, from_name) = tree::place(&tree, &args.from)?;
    tree::find(&tree, &entry(&args.from), Last::Keep)?;
    let into = tree::find(&tree, &args.to, Last::Follow)
        .ok()
        .filter(|(_, inode)| inode.is_dir() && !args.exchange);
    let (to_dir, to_name) = match into {
        Some((dir, _)) => (dir, from_name.clone()),
        None => tree::place(&tree, &args.to)?,
    };
    let command = Command::Rename {
        volume: id,
        from_dir,
        from_name,
        to_dir,
        to_name: to_name.clone(),
        no_replace: args.no_replace,
        exchange: args.exchange,
    };
    let done = store.run(context.actor(), command)?;
    store.settle()?;
    let state = store.state();
    let passed = words::passed(&state, &done.events);
    let now_at = state
        .volume(id)
        .and_then(|v| v.live.path_of(v.live.child(to_dir, &to_name)?))
        .unwrap_or_default();
    context.close(store)?;
    if context.out.json {
        let object = json!({
            "volume": args.volume, "from": args.from.to_string_lossy(), "to": String::from_utf8_lossy(&now_at),
            "exchanged": args.exchange, "seq": done.last, "passed": words::passed_json(&passed),
        });
        let paths = [
            ("from", args.from.as_os_str()),
            ("to", OsStr::from_bytes(&now_at)),
        ];
        return context.out.object(units::with_hex(object, &paths));
    }
    let verb = if args.exchange { "exchanged" } else { "moved" };
    let with = if args.exchange { "with" } else { "to" };
    let (from, to) = (units::rooted(args.from.as_bytes()), units::rooted(&now_at));
    context.out.line(format!(
        "{verb} {from} {with} {to}{}",
        words::passed_text(&passed)
    ))
}

/// `truncate`
pub(crate) fn truncate(context: &mut Context, args: Truncate) -> Outcome {
    let store = context.write()?;
    let id = volume(&store.state(), &args.volume)?.id;
    let (ino, inode) = tree::file(&live(&store, id)?, &args.path)?;
    let Body::File(file) = &inode.body else {
        return refuse(Refusal::new(Kind::Unsupported, "it is no file"));
    };
    let done = store.truncate(context.actor(), id, ino, args.size)?;
    store.commit(done.ticket)?;
    store.settle()?;
    let passed = words::passed(&store.state(), &done.events);
    context.close(store)?;
    if context.out.json {
        let object = json!({
            "volume": args.volume, "path": args.path.to_string_lossy(), "size_before": file.size, "size": args.size,
            "passed": words::passed_json(&passed),
        });
        return context
            .out
            .object(units::with_hex(object, &[("path", &args.path)]));
    }
    let (before, after) = (units::size(file.size), units::size(args.size));
    let path = units::rooted(args.path.as_bytes());
    context.out.line(format!(
        "{path}: {before} → {after}{}",
        words::passed_text(&passed)
    ))
}
