//! `strand export`: a file or a tree of a view to the file system. It is built under a temporary name beside DEST and
//! renamed at the end: DEST is there whole, or not at all.

use crate::args::files::Export;
use crate::confirm::confirm;
use crate::context::{Context, Reading, inside_store, store_within};
use crate::error::{Outcome, on_path, refuse};
use crate::interrupt::{self, Listening};
use crate::output::progress::Progress;
use crate::output::units;
use crate::tree::{self, Last};
use crate::view;
use rustix::fs::{
    AtFlags, CWD, Dev, FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use serde_json::json;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strand_engine::{BLOCK, Body, FileBody, Fileset, Ino, Inode, Kind, Refusal, Store};

/// Bytes read and written at once.
const CHUNK: u64 = 1 << 20;

/// One export.
struct Exporter<'a> {
    store: &'a Store,
    reading: Reading<'a>,
    tree: &'a Fileset,
    progress: Progress,
    files: u64,
    bytes: u64,
    /// Attributes that this user, or that file system, could not keep.
    lost: u64,
    /// Where the first name of a file with several went.
    links: HashMap<Ino, PathBuf>,
}

/// Runs it.
pub(crate) fn run(context: &mut Context, args: Export) -> Outcome {
    let to_stdout = args.dest.as_os_str() == "-";
    if to_stdout {
        let cat = crate::args::files::Cat {
            view: args.view,
            path: args.path,
        };
        return super::look::cat(context, cat);
    }
    check_dest(&args)?;
    let store = context.read()?;
    keep_from_damage(context, &args)?;
    if args.dest.is_dir() && !args.dest.is_symlink() {
        replace_directory(context, &args.dest)?;
    }
    let view = view::resolve(context, &store, &args.view)?;
    let reading = store.reading(view.source(), "an export")?;
    let tree = reading.open(&store)?;
    if tree.nodata {
        return refuse(
            Refusal::new(Kind::NotAllowed, format!("cannot export {}", args.view))
                .why("the checkpoint is nodata: it remembers what changed, and keeps none of it")
                .next("strand checkpoint list shows which have data"),
        );
    }
    let (ino, inode) = tree::find(&tree, &args.path, Last::Keep)?;
    let listening = Listening::start();
    let started = std::time::Instant::now();
    let progress = Progress::bytes("exporting", allocated(&tree, ino));
    let mut export = Exporter {
        store: &store,
        reading,
        tree: &tree,
        progress,
        files: 0,
        bytes: 0,
        lost: 0,
        links: HashMap::new(),
    };
    let temporary = temporary_beside(&args.dest);
    let built = export
        .everything(ino, &inode, &temporary)
        .and_then(|()| publish(&temporary, &args));
    if built.is_err() {
        remove_any(&temporary);
    }
    let Exporter {
        files, bytes, lost, ..
    } = export;
    drop(listening);
    built?;
    let taken = started.elapsed();
    if context.out.json {
        let object = json!({
            "view": view.json(), "path": args.path.to_string_lossy(), "dest": args.dest.to_string_lossy(), "files": files,
            "bytes_written": bytes, "attributes_lost": lost, "seconds": taken.as_secs_f64(),
        });
        let paths = [
            ("path", args.path.as_os_str()),
            ("dest", args.dest.as_os_str()),
        ];
        return context.out.object(units::with_hex(object, &paths));
    }
    if lost > 0 {
        tracing::warn!("{lost} owners, extended attributes or device nodes could not be kept here");
    }
    let (from, counted) = (
        format!("{}:{}", view.label(), units::rooted(args.path.as_bytes())),
        units::counted(files, "file"),
    );
    context.out.line(format!(
        "exported {from} to {}: {counted}, {} in {}",
        args.dest.display(),
        units::size(bytes),
        units::seconds(taken)
    ))
}

/// What stands at DEST is not given up for what a damaged store still has.
fn keep_from_damage(context: &Context, args: &Export) -> Outcome {
    match context.damage() {
        Some(damage) if fs::symlink_metadata(&args.dest).is_ok() => {
            let mut refusal = damage.clone();
            refusal.message = format!(
                "did not replace {}: the store is damaged",
                args.dest.display()
            );
            refuse(refusal.next("choose a DEST that does not exist: what can be read goes there"))
        }
        _ => Ok(()),
    }
}

fn check_dest(args: &Export) -> Outcome {
    let dest = &args.dest;
    if let Some(store) = inside_store(dest) {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot export to {}", dest.display()),
            )
            .why(format!("it lies in the store {}", store.display())),
        );
    }
    if dest.file_name().is_none() {
        return refuse(
            Refusal::new(
                Kind::Invalid,
                format!("{} names no new file", dest.display()),
            )
            .next("give DEST a name of its own"),
        );
    }
    match fs::symlink_metadata(dest) {
        Ok(_) if !args.force => refuse(
            Refusal::new(Kind::Exists, format!("{} exists", dest.display()))
                .next("choose another DEST, or replace it with --force"),
        ),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on_path("write", dest)(error)),
        _ => Ok(()),
    }
}

/// A directory goes with all that is in it: that is asked, where there is anything.
fn replace_directory(context: &Context, dest: &Path) -> Outcome {
    if let Some(store) = store_within(context, dest) {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot replace {}", dest.display()),
            )
            .why(format!("the store {} lies in it", store.display())),
        );
    }
    let entries = fs::read_dir(dest).map_err(on_path("read", dest))?.count() as u64;
    if entries == 0 {
        return Ok(());
    }
    let loses = format!("{} in it would be gone", units::counted(entries, "name"));
    confirm(
        context,
        &format!("replace the directory {}", dest.display()),
        &loses,
    )
}

fn allocated(tree: &Fileset, ino: Ino) -> u64 {
    if ino == tree.root {
        tree.blocks * BLOCK
    } else {
        tree.inode(ino).map_or(0, |i| i.blocks() * BLOCK)
    }
}

fn temporary_beside(dest: &Path) -> PathBuf {
    let mut name = OsString::from(".strand-");
    name.push(std::process::id().to_string());
    name.push("-");
    let own = dest.file_name().unwrap_or_default().as_bytes();
    name.push(OsStr::from_bytes(&own[..own.len().min(200)]));
    dest.with_file_name(name)
}

fn remove_any(path: &Path) {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let _ = if is_dir {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
}

/// Gives what was built its name.
fn publish(temporary: &Path, args: &Export) -> Outcome {
    let dest = &args.dest;
    let rename = |flags| {
        rustix::fs::renameat_with(CWD, temporary, CWD, dest, flags).map_err(io::Error::from)
    };
    let exists = fs::symlink_metadata(dest).is_ok();
    if exists && args.force {
        rename(RenameFlags::EXCHANGE).map_err(on_path("replace", dest))?;
        remove_any(temporary);
    } else {
        rename(RenameFlags::NOREPLACE).map_err(on_path("write", dest))?;
    }
    Ok(())
}

impl Exporter<'_> {
    fn everything(&mut self, ino: Ino, inode: &Arc<Inode>, dest: &Path) -> Outcome {
        self.one(ino, inode, dest)?;
        let mut directories = Vec::new();
        if inode.is_dir() {
            directories.push((ino, dest.to_owned()));
        }
        let mut next = 0;
        while next < directories.len() {
            let (dir, path) = directories[next].clone();
            next += 1;
            let names = self
                .tree
                .inode(dir)
                .and_then(|i| i.names().cloned())
                .unwrap_or_default();
            for (name, child) in &names {
                let Some(inode) = self.tree.inode(*child).cloned() else {
                    continue;
                };
                let path = path.join(OsStr::from_bytes(name));
                self.one(*child, &inode, &path)?;
                if inode.is_dir() {
                    directories.push((*child, path));
                }
            }
        }
        // Times of a directory last: whatever is made in it moves them.
        for (ino, path) in directories.iter().rev() {
            if let Some(inode) = self.tree.inode(*ino).cloned() {
                self.attributes(&inode, path)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, ino: Ino, inode: &Inode, dest: &Path) -> Outcome {
        self.reading.goes_on()?;
        interrupt::check("exporting", "DEST is as it was")?;
        self.files += 1;
        if inode.nlink > 1 && !inode.is_dir() {
            if let Some(first) = self.links.get(&ino) {
                return fs::hard_link(first, dest).map_err(on_path("link", dest));
            }
            self.links.insert(ino, dest.to_owned());
        }
        match &inode.body {
            Body::Dir(_) => return fs::create_dir(dest).map_err(on_path("make", dest)),
            Body::File(file) => self.content(ino, file, dest)?,
            Body::Symlink(target) => {
                symlink(OsStr::from_bytes(target), dest).map_err(on_path("make", dest))?
            }
            Body::Fifo => self.node(dest, FileType::Fifo, 0)?,
            Body::Socket => self.node(dest, FileType::Socket, 0)?,
            Body::Char(device) => self.node(dest, FileType::CharacterDevice, *device)?,
            Body::Block(device) => self.node(dest, FileType::BlockDevice, *device)?,
        }
        self.attributes(inode, dest)
    }

    fn node(&mut self, dest: &Path, kind: FileType, device: Dev) -> Outcome {
        match rustix::fs::mknodat(CWD, dest, kind, Mode::from_raw_mode(0o600), device) {
            Ok(()) => Ok(()),
            // Only the superuser makes devices; the rest of the tree is worth having without.
            Err(rustix::io::Errno::PERM) => {
                self.lost += 1;
                Ok(())
            }
            Err(error) => Err(on_path("make", dest)(error.into())),
        }
    }

    fn content(&mut self, ino: Ino, file: &FileBody, dest: &Path) -> Outcome {
        let out = File::create_new(dest).map_err(on_path("make", dest))?;
        out.set_len(file.size).map_err(on_path("size", dest))?;
        let mut reader = self.store.reader(self.tree, ino)?;
        let mut buffer =
            vec![0; usize::try_from(CHUNK.min(file.size.next_multiple_of(BLOCK))).unwrap_or(0)];
        let mut at = 0;
        // Only mapped runs are written: holes stay holes.
        while let Some((first, _)) = file.map.next_at_or_after(at / BLOCK) {
            let start = first * BLOCK;
            let end = file
                .map
                .next_gap(first)
                .saturating_mul(BLOCK)
                .min(file.size);
            at = start;
            while at < end {
                self.reading.goes_on()?;
                interrupt::check("exporting", "DEST is as it was")?;
                let wanted = usize::try_from((end - at).min(CHUNK)).unwrap_or(buffer.len());
                let read = reader.read(at, &mut buffer[..wanted])?;
                if read == 0 {
                    return refuse(
                        Refusal::new(Kind::Damaged, format!("{} ends too early", dest.display()))
                            .next("strand verify --data"),
                    );
                }
                out.write_all_at(&buffer[..read], at)
                    .map_err(on_path("write", dest))?;
                self.progress.advance(read as u64);
                self.bytes += read as u64;
                at += read as u64;
            }
            if at >= file.size {
                break;
            }
            at = at.next_multiple_of(BLOCK);
        }
        Ok(())
    }

    fn attributes(&mut self, inode: &Inode, dest: &Path) -> Outcome {
        let owner = (
            Some(Uid::from_raw(inode.uid)),
            Some(Gid::from_raw(inode.gid)),
        );
        if rustix::fs::chownat(CWD, dest, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            self.lost += 1;
        }
        for (name, value) in inode.xattrs.as_deref().into_iter().flatten() {
            if rustix::fs::lsetxattr(dest, &name[..], value, XattrFlags::empty()).is_err() {
                self.lost += 1;
            }
        }
        let is_link = matches!(inode.body, Body::Symlink(_));
        if !is_link && fs::symlink_metadata(dest).is_ok() {
            // After the owner: changing that clears the set-id bits.
            let mode = Mode::from_raw_mode(inode.mode);
            rustix::fs::chmodat(CWD, dest, mode, AtFlags::empty())
                .map_err(|e| on_path("set the mode of", dest)(e.into()))?;
        }
        let times = Timestamps {
            last_access: timespec(inode.atime),
            last_modification: timespec(inode.mtime),
        };
        if rustix::fs::utimensat(CWD, dest, &times, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            self.lost += 1;
        }
        Ok(())
    }
}

fn timespec(ns: i64) -> Timespec {
    Timespec {
        tv_sec: ns.div_euclid(1_000_000_000),
        tv_nsec: ns.rem_euclid(1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_name_lies_beside_and_fits() {
        let long = PathBuf::from("/a").join("x".repeat(255));
        let temporary = temporary_beside(&long);
        assert_eq!(temporary.parent(), Some(Path::new("/a")));
        assert!(temporary.file_name().expect("a name").len() <= 255);
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = timespec(-1);
        assert_eq!((time.tv_sec, time.tv_nsec), (-1, 999_999_999));
    }
}
