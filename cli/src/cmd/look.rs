//! `strand ls`, `cat` and `stat`: reading a view.

use crate::args::files::{Cat, Ls, Stat};
use crate::context::Context;
use crate::error::{Outcome, refuse};
use crate::output::{units, words};
use crate::tree::{self, Last};
use crate::view;
use serde_json::{Map, Value, json};
use std::os::unix::ffi::OsStrExt;
use strand_engine::{BLOCK, Body, Fileset, Ino, Inode, Kind, Refusal};

/// Bytes handed to standard output at once.
const CHUNK: usize = 1 << 20;

/// `ls`
pub(crate) fn ls(context: &mut Context, args: Ls) -> Outcome {
    let store = context.read()?;
    let view = view::resolve(context, &store, &args.view)?;
    let tree = view.open(&store)?;
    let (ino, inode) = tree::find(&tree, &args.path, Last::Follow)?;
    let mut entries = Vec::new();
    match inode.names() {
        None => entries.push((args.path.as_bytes().to_vec(), ino)),
        Some(_) => collect(&tree, ino, Vec::new(), args.recursive, &mut entries)?,
    }
    if context.out.json {
        let rows: Vec<Value> = entries
            .iter()
            .filter_map(|(name, ino)| Some(entry_json("name", name, *ino, tree.inode(*ino)?)))
            .collect();
        let mut object = Map::new();
        object.insert("view".into(), view.json());
        units::json_path(&mut object, "path", args.path.as_bytes());
        object.insert("entries".into(), rows.into());
        return context.out.object(object.into());
    }
    if !args.long {
        for (name, _) in &entries {
            context.out.line(units::path(name))?;
        }
        return Ok(());
    }
    let rows: Vec<[String; 7]> = entries
        .iter()
        .filter_map(|(name, ino)| Some(long_row(name, tree.inode(*ino)?)))
        .collect();
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
    let (links, uid, gid, size) = (width(1), width(2), width(3), width(4));
    for row in &rows {
        let [mode, l, u, g, s, time, name] = row;
        context.out.line(format!(
            "{mode} {l:>links$} {u:>uid$} {g:>gid$} {s:>size$} {time} {name}"
        ))?;
    }
    Ok(())
}

fn collect(
    tree: &Fileset,
    dir: Ino,
    prefix: Vec<u8>,
    recursive: bool,
    into: &mut Vec<(Vec<u8>, Ino)>,
) -> Outcome {
    // An explicit stack: a tree may be deeper than this thread's.
    let mut stack = vec![(dir, prefix)];
    while let Some((dir, prefix)) = stack.pop() {
        let Some(names) = tree.inode(dir).and_then(|i| i.names()) else {
            continue;
        };
        for (name, ino) in names {
            let path = if prefix.is_empty() {
                name.to_vec()
            } else {
                [prefix.as_slice(), b"/", name].concat()
            };
            into.push((path.clone(), *ino));
            if recursive && tree.inode(*ino).is_some_and(|i| i.is_dir()) {
                stack.push((*ino, path));
            }
        }
    }
    into.sort();
    Ok(())
}

fn long_row(name: &[u8], inode: &Inode) -> [String; 7] {
    let time = u64::try_from(inode.mtime)
        .map_or_else(|_| units::file_time(inode.mtime), units::short_time);
    let mut name = units::path(name);
    if let Body::Symlink(target) = &inode.body {
        name = format!("{name} -> {}", units::path(target));
    }
    let size = match inode.body {
        Body::Char(device) | Body::Block(device) => device_text(device),
        _ => inode.size().to_string(),
    };
    [
        words::mode(inode),
        inode.nlink.to_string(),
        inode.uid.to_string(),
        inode.gid.to_string(),
        size,
        time,
        name,
    ]
}

fn device_text(device: u64) -> String {
    format!(
        "{},{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    )
}

/// An inode for programs, its name or path under `key`.
fn entry_json(key: &str, name: &[u8], ino: Ino, inode: &Inode) -> Value {
    let mut object = Map::new();
    units::json_path(&mut object, key, name);
    let rest = json!({
        "ino": ino.0, "kind": words::kind(inode), "mode": inode.mode, "nlink": inode.nlink, "uid": inode.uid, "gid": inode.gid,
        "size": inode.size(), "allocated": inode.blocks() * BLOCK,
        "atime": units::json_file_time(inode.atime), "mtime": units::json_file_time(inode.mtime), "ctime": units::json_file_time(inode.ctime),
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    match &inode.body {
        Body::Symlink(target) => units::json_path(&mut object, "target", target),
        Body::Char(device) | Body::Block(device) => {
            drop(object.insert("device".into(), (*device).into()))
        }
        _ => {}
    }
    Value::Object(object)
}

/// `cat`
pub(crate) fn cat(context: &mut Context, args: Cat) -> Outcome {
    if context.out.json {
        return refuse(
            Refusal::new(Kind::Usage, "cat prints a file as it is")
                .why("it has no JSON form")
                .next("leave --json out"),
        );
    }
    let store = context.read()?;
    let view = view::resolve(context, &store, &args.view)?;
    let reading = store.reading(view.source(), "a cat")?;
    let tree = reading.open(&store)?;
    let (ino, inode) = tree::file(&tree, &args.path)?;
    let mut reader = store.reader(&tree, ino)?;
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    while offset < inode.size() {
        let read = reader.read(offset, &mut buffer)?;
        if read == 0 {
            break;
        }
        context.out.raw(&buffer[..read])?;
        reading.goes_on()?;
        offset += read as u64;
    }
    Ok(())
}

/// `stat`
pub(crate) fn stat(context: &mut Context, args: Stat) -> Outcome {
    let store = context.read()?;
    let view = view::resolve(context, &store, &args.view)?;
    let tree = view.open(&store)?;
    let (ino, inode) = tree::find(&tree, &args.path, Last::Keep)?;
    let xattrs = inode.xattrs.as_deref();
    if context.out.json {
        let mut entry = entry_json("path", args.path.as_bytes(), ino, &inode);
        entry["view"] = view.json();
        let rows = xattrs.into_iter().flatten().map(|(name, value)| {
            let mut object = Map::new();
            units::json_path(&mut object, "name", name);
            object.insert("value_hex".into(), units::hex(value).into());
            Value::Object(object)
        });
        entry["xattrs"] = rows.collect();
        return context.out.object(entry);
    }
    let head = context.out.bold(&units::rooted(args.path.as_bytes()));
    context.out.line(format!(
        "{head}  {} of {}, inode {ino}",
        words::kind(&inode),
        view.label()
    ))?;
    match &inode.body {
        Body::File(file) => {
            let mapped = units::counted(file.map.len(), "block");
            context.out.line(format!(
                "  size      {} ({} bytes), {mapped} mapped",
                units::size(file.size),
                units::count(file.size)
            ))?;
        }
        Body::Symlink(target) => context
            .out
            .line(format!("  target    {}", units::path(target)))?,
        Body::Dir(names) => context
            .out
            .line(format!("  entries   {}", units::count(names.len() as u64)))?,
        Body::Char(device) | Body::Block(device) => context
            .out
            .line(format!("  device    {}", device_text(*device)))?,
        Body::Fifo | Body::Socket => {}
    }
    context.out.line(format!(
        "  mode      {} ({:04o}), {}",
        words::mode(&inode),
        inode.mode,
        units::counted(inode.nlink.into(), "link")
    ))?;
    context
        .out
        .line(format!("  owner     uid {}, gid {}", inode.uid, inode.gid))?;
    for (label, time) in [
        ("modified", inode.mtime),
        ("changed ", inode.ctime),
        ("accessed", inode.atime),
    ] {
        context
            .out
            .line(format!("  {label}  {}", units::file_time(time)))?;
    }
    for (name, value) in xattrs.into_iter().flatten() {
        context.out.line(format!(
            "  xattr     {} = {}",
            units::path(name),
            units::path(value)
        ))?;
    }
    Ok(())
}
