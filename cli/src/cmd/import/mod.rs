//! `strand import`: a file or a tree into a volume. `content` brings the bytes of one file; here is the walk over the
//! source and what goes with every file: names, kinds, links, attributes, extended attributes.

mod content;
mod outside;
mod source;

use crate::args::files::Import;
use crate::context::{Context, Opened, inside_store, store_within, volume};
use crate::error::{Failure, Outcome, on_path, refuse};
use crate::interrupt::{self, Listening};
use crate::output::progress::Progress;
use crate::output::{units, words};
use crate::tree::{self, Last};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strand_engine::{
    BLOCK, Body, Bytes, Command, Ino, Inode, Kind, NewBody, Refusal, SetAttributes, VolumeId,
};

/// Commands placed between two commits, where they carry no data.
const COMMIT_EVERY: u64 = 8192;

/// What was done.
#[derive(Default)]
pub(super) struct Totals {
    files: u64,
    made: u64,
    bytes_read: u64,
    blocks_written: u64,
    blocks_same: u64,
    passed: BTreeMap<String, u64>,
}

/// One import.
pub(super) struct Importer<'a> {
    context: &'a Context,
    store: &'a Opened,
    volume: VolumeId,
    progress: Progress,
    totals: Totals,
    /// Files of the source that have several names: where the first one went.
    links: HashMap<(u64, u64), Ino>,
    uncommitted: u64,
}

/// Runs it.
pub(crate) fn run(context: &mut Context, args: Import) -> Outcome {
    let metadata = fs::symlink_metadata(&args.source).map_err(on_path("read", &args.source))?;
    if inside_store(&args.source).is_some() {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot import {}", args.source.display()),
            )
            .why("it lies in a store"),
        );
    }
    if let Some(store) = store_within(context, &args.source).filter(|_| metadata.is_dir()) {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot import {}", args.source.display()),
            )
            .why(format!("the store {} lies in it", store.display()))
            .next("import a directory beside it, or move the store away"),
        );
    }
    let store = context.write()?;
    let listening = Listening::start();
    let id = volume(&store.state(), &args.volume)?.id;
    let started = std::time::Instant::now();
    let progress = Progress::bytes("importing", outside::total_bytes(&args.source, &metadata));
    let mut import = Importer {
        context,
        store: &store,
        volume: id,
        progress,
        totals: Totals::default(),
        links: HashMap::new(),
        uncommitted: 0,
    };
    let ended = import.everything(&args, &metadata);
    let totals = import.totals;
    drop(import.progress);
    // What came in before an error or an interruption stays: it is made durable and counted.
    let synced = store.sync();
    drop(listening);
    match ended {
        Err(Failure::Refused(mut refusal)) if totals.made + totals.blocks_written > 0 => {
            let stays = match &synced {
                Ok(()) => format!(
                    "{} and {} are in and stay",
                    units::counted(totals.made, "new file"),
                    units::size(totals.blocks_written * BLOCK)
                ),
                Err(_) => "what was committed before stays, the rest is not in".to_owned(),
            };
            refusal.why = Some(
                refusal
                    .why
                    .map_or(stays.clone(), |why| format!("{why}; {stays}")),
            );
            return Err(Failure::Refused(refusal));
        }
        other => other?,
    }
    synced?;
    let taken = started.elapsed();
    context.close(store)?;
    report(context, &args, &totals, taken)
}

fn report(
    context: &mut Context,
    args: &Import,
    totals: &Totals,
    taken: std::time::Duration,
) -> Outcome {
    if context.out.json {
        let object = json!({
            "volume": args.volume, "source": args.source.to_string_lossy(), "files": totals.files, "created": totals.made,
            "bytes_read": totals.bytes_read, "blocks_written": totals.blocks_written, "blocks_unchanged": totals.blocks_same,
            "passed": words::passed_json(&totals.passed), "seconds": taken.as_secs_f64(),
        });
        let source = args.source.as_os_str();
        return context
            .out
            .object(units::with_hex(object, &[("source", source)]));
    }
    let (files, read) = (
        units::counted(totals.files, "file"),
        units::size(totals.bytes_read),
    );
    context.out.line(format!(
        "imported {files} ({}), {read} in {}",
        units::count(totals.made) + " new",
        units::seconds(taken)
    ))?;
    let (written, same) = (
        units::counted(totals.blocks_written, "block"),
        units::counted(totals.blocks_same, "block"),
    );
    context.out.line(format!(
        "wrote {written}; {same} the same already{}",
        words::passed_text(&totals.passed)
    ))
}

impl Importer<'_> {
    fn everything(&mut self, args: &Import, metadata: &Metadata) -> Outcome {
        let tree = super::change::live(self.store, self.volume)?;
        let dest = args.dest.clone();
        if metadata.is_dir() {
            let root = match dest {
                None => tree.root,
                Some(path) => match tree::find(&tree, &path, Last::Follow) {
                    Ok((ino, inode)) if inode.is_dir() => ino,
                    Ok(_) => return refuse(taken(path.as_bytes(), "it is no directory")),
                    Err(_) => {
                        let (dir, name) = tree::place(&tree, &path)?;
                        self.create(dir, name, NewBody::Dir, metadata)?
                    }
                },
            };
            return self.tree(&args.source, metadata, root);
        }
        let own_name = args.source.file_name().map_or(&b""[..], OsStrExt::as_bytes);
        let path = match dest {
            None => PathBuf::from("/").join(OsStr::from_bytes(own_name)),
            Some(path) => match tree::find(&tree, &path, Last::Follow) {
                Ok((_, inode)) if inode.is_dir() => {
                    Path::new(&path).join(OsStr::from_bytes(own_name))
                }
                _ => PathBuf::from(path),
            },
        };
        let (dir, name) = tree::place(&tree, path.as_os_str())?;
        self.entry(&args.source, metadata, dir, name).map(drop)
    }

    /// A directory's contents into `root`; attributes of directories last, when nothing more changes in them.
    fn tree(&mut self, source: &Path, metadata: &Metadata, root: Ino) -> Outcome {
        let mut directories = vec![(root, source.to_owned(), metadata.clone())];
        let mut next = 0;
        while next < directories.len() {
            let (dir, path) = (directories[next].0, directories[next].1.clone());
            next += 1;
            let mut entries: Vec<_> = fs::read_dir(&path)
                .and_then(Iterator::collect)
                .map_err(on_path("read", &path))?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let (path, name) = (entry.path(), entry.file_name());
                let metadata = fs::symlink_metadata(&path).map_err(on_path("read", &path))?;
                let ino = self.entry(&path, &metadata, dir, Bytes::from(name.as_bytes()))?;
                if metadata.is_dir() {
                    directories.push((ino, path, metadata));
                }
            }
        }
        for (ino, path, metadata) in directories.into_iter().rev() {
            self.attributes(ino, &path, &metadata)?;
        }
        Ok(())
    }

    /// One entry of the source, to `name` in `dir`. Directories are made, not filled.
    fn entry(&mut self, path: &Path, metadata: &Metadata, dir: Ino, name: Bytes) -> Outcome<Ino> {
        interrupt::check("importing", "a signal asked for it")?;
        let body = outside::body(path, metadata)?;
        let identity = (metadata.dev(), metadata.ino());
        let shared = !metadata.is_dir() && metadata.nlink() > 1;
        if let Some(first) = self.links.get(&identity).copied().filter(|_| shared) {
            return self.link(first, dir, name);
        }
        let existing = super::change::live(self.store, self.volume)?.child(dir, &name);
        let ino = match existing {
            Some(ino) => self.reuse(ino, dir, &name, body, path, metadata)?,
            None => self.create(dir, name, body, metadata)?,
        };
        self.totals.files += 1;
        if metadata.is_file() {
            content::bring(self, ino, path, metadata)?;
        }
        if !metadata.is_dir() {
            self.attributes(ino, path, metadata)?;
        }
        if shared {
            self.links.insert(identity, ino);
        }
        Ok(ino)
    }

    /// What stands there already serves where it is of the same kind; a link or a node that differs is made anew.
    fn reuse(
        &mut self,
        ino: Ino,
        dir: Ino,
        name: &Bytes,
        body: NewBody,
        path: &Path,
        metadata: &Metadata,
    ) -> Outcome<Ino> {
        let inode = self.inode(ino)?;
        let replaceable = match (&inode.body, &body) {
            (Body::File(_), NewBody::File) | (Body::Dir(_), NewBody::Dir) => return Ok(ino),
            (Body::Symlink(a), NewBody::Symlink(b)) if a == b => return Ok(ino),
            (Body::Char(a), NewBody::Char(b)) | (Body::Block(a), NewBody::Block(b)) if a == b => {
                return Ok(ino);
            }
            (Body::Fifo, NewBody::Fifo) | (Body::Socket, NewBody::Socket) => return Ok(ino),
            (Body::File(_) | Body::Dir(_), _) | (_, NewBody::File | NewBody::Dir) => false,
            _ => true,
        };
        if !replaceable {
            let tree = super::change::live(self.store, self.volume)?;
            let at = tree.path_of(ino).unwrap_or_default();
            return refuse(taken(
                &at,
                &format!(
                    "a {} stands there, {} is another kind",
                    words::kind(&inode),
                    path.display()
                ),
            ));
        }
        self.submit(Command::Unlink {
            volume: self.volume,
            dir,
            name: name.clone(),
            dir_wanted: false,
        })?;
        self.create(dir, name.clone(), body, metadata)
    }

    fn create(
        &mut self,
        dir: Ino,
        name: Bytes,
        body: NewBody,
        metadata: &Metadata,
    ) -> Outcome<Ino> {
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        self.submit(Command::Create {
            volume: self.volume,
            dir,
            name: name.clone(),
            body,
            mode,
            uid,
            gid,
        })?;
        self.totals.made += 1;
        match super::change::live(self.store, self.volume)?.child(dir, &name) {
            Some(ino) => Ok(ino),
            None => refuse(Refusal::new(
                Kind::Stale,
                format!("{} is gone again", units::path(&name)),
            )),
        }
    }

    fn link(&mut self, ino: Ino, dir: Ino, name: Bytes) -> Outcome<Ino> {
        self.totals.files += 1;
        match super::change::live(self.store, self.volume)?.child(dir, &name) {
            Some(there) if there == ino => return Ok(ino),
            Some(_) => self.submit(Command::Unlink {
                volume: self.volume,
                dir,
                name: name.clone(),
                dir_wanted: false,
            })?,
            None => self.totals.made += 1,
        }
        self.submit(Command::Link {
            volume: self.volume,
            ino,
            dir,
            name,
        })?;
        Ok(ino)
    }

    fn attributes(&mut self, ino: Ino, path: &Path, metadata: &Metadata) -> Outcome {
        let inode = self.inode(ino)?;
        let wanted = |new: u32, old: u32| (new != old).then_some(new);
        let time = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        let (atime, mtime) = (
            time(metadata.atime(), metadata.atime_nsec()),
            time(metadata.mtime(), metadata.mtime_nsec()),
        );
        let set = SetAttributes {
            mode: wanted(metadata.mode() & 0o7777, inode.mode).filter(|_| !metadata.is_symlink()),
            uid: wanted(metadata.uid(), inode.uid),
            gid: wanted(metadata.gid(), inode.gid),
            // The access time of a source moves with every reading, ours among them; alone it is no change worth an event.
            atime: (mtime != inode.mtime).then_some(atime),
            mtime: (mtime != inode.mtime).then_some(mtime),
        };
        if set != SetAttributes::default() {
            self.submit(Command::SetAttributes {
                volume: self.volume,
                ino,
                set,
            })?;
        }
        for (name, value) in outside::xattrs(path) {
            let same = inode
                .xattrs
                .as_ref()
                .and_then(|x| x.get(&*name))
                .is_some_and(|v| v[..] == value[..]);
            if !same {
                self.submit(Command::SetXattr {
                    volume: self.volume,
                    ino,
                    name: Bytes::from(name),
                    value: Bytes::from(value),
                    create: None,
                })?;
            }
        }
        Ok(())
    }

    fn inode(&self, ino: Ino) -> Outcome<std::sync::Arc<Inode>> {
        match super::change::live(self.store, self.volume)?.inode(ino) {
            Some(inode) => Ok(std::sync::Arc::clone(inode)),
            None => refuse(Refusal::new(
                Kind::Stale,
                "a file went away while it was imported",
            )),
        }
    }

    fn submit(&mut self, command: Command) -> Outcome {
        let done = self.store.submit(self.context.actor(), command)?;
        self.count(&done.events);
        self.uncommitted += 1;
        if self.uncommitted >= COMMIT_EVERY {
            self.store.commit(done.ticket)?;
            self.uncommitted = 0;
        }
        Ok(())
    }

    fn count(&mut self, events: &[strand_engine::Event]) {
        for (name, blocks) in words::passed(&self.store.state(), events) {
            *self.totals.passed.entry(name).or_insert(0) += blocks;
        }
    }
}

fn taken(path: &[u8], why: &str) -> Refusal {
    Refusal::new(Kind::Exists, format!("{} exists", units::rooted(path)))
        .why(why)
        .next("choose another DEST, or strand rm it first")
}
