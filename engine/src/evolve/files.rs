//! What happens inside a volume's tree.

use super::{stamp, use_ino, with_volume};
use crate::block::{BLOCK, BlockRef};
use crate::event::{Bytes, Event, NewBody, Placed, Source};
use crate::ids::Ino;
use crate::state::{Body, FileBody, Fileset, Inode, Names, Place, State, Volume, Xattrs};
use crate::views::Views;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn evolve(state: &mut State, placed: &Placed<'_>, views: &Views) {
    let now = stamp(placed);
    match placed.event {
        Event::Created {
            volume,
            dir,
            name,
            ino,
            body,
            mode,
            uid,
            gid,
        } => {
            use_ino(state, *ino);
            with_volume(state, *volume, |v| {
                create(
                    &mut v.live,
                    *dir,
                    name,
                    *ino,
                    new_inode(body, *dir, (*mode, *uid, *gid), now),
                    now,
                )
            });
        }
        Event::FileRestored {
            volume,
            ino,
            source,
            from,
            attributes,
        } => {
            let tree = views.tree(state, *source);
            with_volume(state, *volume, |v| {
                let Some(tree) = &tree else { return };
                v.bring_back(placed.seq, *source, tree);
                if let Some(from_inode) = tree.inode(*from) {
                    restore(v, *ino, *from, from_inode, *attributes, now);
                }
            });
        }
        event => {
            if let Some(id) = event.volume() {
                with_volume(state, id, |volume| {
                    volume.changed = placed.time;
                    in_volume(volume, placed, now);
                    close_scope(volume, event);
                });
            }
        }
    }
}

/// A scope opened just before an event that can be its cause ends with it.
fn close_scope(volume: &mut Volume, event: &Event) {
    let closes = matches!(
        event,
        Event::Unlinked { .. }
            | Event::Renamed { .. }
            | Event::OrphanDropped { .. }
            | Event::Punched { .. }
            | Event::Truncated { .. }
            | Event::Shared { .. }
    );
    if closes {
        super::checkpoints::close_scope(volume, |cause| cause != crate::event::Cause::FileRollback);
    }
}

fn in_volume(volume: &mut Volume, placed: &Placed<'_>, now: i64) {
    let tree = &mut volume.live;
    match placed.event {
        Event::Linked { dir, name, ino, .. } => {
            set_name(tree, *dir, name, *ino, now);
            inode(tree, *ino, |i| {
                i.nlink += 1;
                i.ctime = now;
                i.parent = *dir;
            });
            tree.orphans.remove(ino);
        }
        Event::Unlinked {
            dir,
            name,
            ino,
            keep,
            ..
        } => {
            clear_name(tree, *dir, name, now);
            drop_link(tree, *dir, *ino, *keep, now);
        }
        Event::Renamed {
            from_dir,
            from_name,
            to_dir,
            to_name,
            over,
            ..
        } => {
            let Some(moved) = tree.child(*from_dir, from_name) else {
                return;
            };
            clear_name(tree, *from_dir, from_name, now);
            if let Some((over, keep)) = over {
                clear_name(tree, *to_dir, to_name, now);
                drop_link(tree, *to_dir, *over, *keep, now);
            }
            set_name(tree, *to_dir, to_name, moved, now);
            move_parent(tree, moved, *from_dir, *to_dir, now);
        }
        Event::Exchanged {
            a_dir,
            a_name,
            b_dir,
            b_name,
            ..
        } => {
            let (Some(a), Some(b)) = (tree.child(*a_dir, a_name), tree.child(*b_dir, b_name))
            else {
                return;
            };
            set_name(tree, *a_dir, a_name, b, now);
            set_name(tree, *b_dir, b_name, a, now);
            move_parent(tree, a, *a_dir, *b_dir, now);
            move_parent(tree, b, *b_dir, *a_dir, now);
        }
        Event::OrphanDropped { ino, .. } => forget_inode(tree, *ino),
        Event::Written {
            ino, block, size, ..
        } => {
            let first = placed.first.0;
            let crcs = &placed.crcs;
            let versions = crcs
                .iter()
                .enumerate()
                .map(|(i, crc)| BlockRef::new(strand_journal::BlockAddr(first + i as u64), crc));
            let mut replaced = 0;
            content(tree, *ino, now, |f| {
                f.map
                    .insert_run(*block, versions, &mut |_, _| replaced += 1);
                f.size = size.unwrap_or(f.size);
            });
            tree.blocks += crcs.len() as u64 - replaced;
        }
        Event::Punched {
            ino, range, size, ..
        } => {
            unmap(tree, *ino, range.block, range.block + (range.count - 1));
            content(tree, *ino, now, |f| f.size = size.unwrap_or(f.size));
        }
        Event::Truncated { ino, size, .. } => {
            unmap(tree, *ino, size.div_ceil(BLOCK), u64::MAX);
            content(tree, *ino, now, |f| f.size = *size);
        }
        Event::Preallocated { ino, size, .. } => {
            content(tree, *ino, now, |f| f.size = size.unwrap_or(f.size));
        }
        Event::Shared {
            from,
            from_block,
            to,
            to_block,
            count,
            size,
            ..
        } => {
            share(volume, (*from, *from_block), (*to, *to_block), *count);
            content(&mut volume.live, *to, now, |f| {
                f.size = size.unwrap_or(f.size)
            });
        }
        Event::AttributesSet { ino, set, .. } => inode(tree, *ino, |i| {
            i.mode = set.mode.unwrap_or(i.mode);
            i.uid = set.uid.unwrap_or(i.uid);
            i.gid = set.gid.unwrap_or(i.gid);
            i.atime = set.atime.unwrap_or(i.atime);
            i.mtime = set.mtime.unwrap_or(i.mtime);
            i.ctime = now;
        }),
        Event::XattrSet {
            ino, name, value, ..
        } => inode(tree, *ino, |i| {
            let xattrs = i.xattrs.get_or_insert_with(|| Arc::new(Xattrs::new()));
            Arc::make_mut(xattrs).insert(name.clone(), value.clone());
            i.ctime = now;
        }),
        Event::XattrRemoved { ino, name, .. } => inode(tree, *ino, |i| {
            if let Some(xattrs) = &mut i.xattrs {
                Arc::make_mut(xattrs).remove(name);
                if xattrs.is_empty() {
                    i.xattrs = None;
                }
            }
            i.ctime = now;
        }),
        _ => {}
    }
}

/// An inode as it is born.
pub(super) fn new_inode(
    body: &NewBody,
    parent: Ino,
    (mode, uid, gid): (u32, u32, u32),
    now: i64,
) -> Inode {
    let body = match body {
        NewBody::File => Body::File(FileBody::default()),
        NewBody::Dir => Body::Dir(Names::new()),
        NewBody::Symlink(target) => Body::Symlink(target.clone()),
        NewBody::Fifo => Body::Fifo,
        NewBody::Socket => Body::Socket,
        NewBody::Char(device) => Body::Char(*device),
        NewBody::Block(device) => Body::Block(*device),
    };
    let nlink = if matches!(body, Body::Dir(_)) { 2 } else { 1 };
    Inode {
        mode,
        uid,
        gid,
        nlink,
        atime: now,
        mtime: now,
        ctime: now,
        parent,
        xattrs: None,
        body,
    }
}

fn create(tree: &mut Fileset, dir: Ino, name: &Bytes, ino: Ino, inode: Inode, now: i64) {
    if inode.is_dir() {
        add_link(tree, dir, 1);
    }
    tree.inodes.insert(ino.0, Arc::new(inode));
    set_name(tree, dir, name, ino, now);
}

fn inode(tree: &mut Fileset, ino: Ino, change: impl FnOnce(&mut Inode)) {
    tree.inodes
        .update(ino.0, |inode| change(Arc::make_mut(inode)));
}

fn file(tree: &mut Fileset, ino: Ino, change: impl FnOnce(&mut FileBody)) {
    inode(tree, ino, |inode| {
        if let Body::File(file) = &mut inode.body {
            change(file);
        }
    });
}

/// Changes a file's content: its times follow.
fn content(tree: &mut Fileset, ino: Ino, now: i64, change: impl FnOnce(&mut FileBody)) {
    inode(tree, ino, |inode| {
        if let Body::File(file) = &mut inode.body {
            change(file);
        }
        inode.mtime = now;
        inode.ctime = now;
    });
}

fn names(tree: &mut Fileset, dir: Ino, now: i64, change: impl FnOnce(&mut Names)) {
    inode(tree, dir, |inode| {
        if let Body::Dir(names) = &mut inode.body {
            change(names);
        }
        inode.mtime = now;
        inode.ctime = now;
    });
}

fn set_name(tree: &mut Fileset, dir: Ino, name: &Bytes, ino: Ino, now: i64) {
    names(tree, dir, now, |names| {
        names.insert(name.clone(), ino);
    });
}

fn clear_name(tree: &mut Fileset, dir: Ino, name: &Bytes, now: i64) {
    names(tree, dir, now, |names| {
        names.remove(name);
    });
}

fn add_link(tree: &mut Fileset, ino: Ino, links: i32) {
    inode(tree, ino, |inode| {
        inode.nlink = inode.nlink.saturating_add_signed(links)
    });
}

/// A name of `ino` in `dir` went: one link less, and with the last one the inode goes or becomes an orphan.
fn drop_link(tree: &mut Fileset, dir: Ino, ino: Ino, keep: bool, now: i64) {
    let Some(found) = tree.inode(ino) else { return };
    if found.is_dir() {
        add_link(tree, dir, -1);
        forget_inode(tree, ino);
    } else if found.nlink > 1 {
        inode(tree, ino, |inode| {
            inode.nlink -= 1;
            inode.ctime = now;
        });
    } else if keep {
        inode(tree, ino, |inode| {
            inode.nlink = 0;
            inode.ctime = now;
        });
        tree.orphans.insert(ino);
    } else {
        forget_inode(tree, ino);
    }
}

fn forget_inode(tree: &mut Fileset, ino: Ino) {
    if let Some(gone) = tree.inodes.remove(ino.0) {
        tree.blocks -= gone.blocks();
    }
    tree.orphans.remove(&ino);
}

fn move_parent(tree: &mut Fileset, ino: Ino, from: Ino, to: Ino, now: i64) {
    let mut dir = false;
    inode(tree, ino, |inode| {
        inode.parent = to;
        inode.ctime = now;
        dir = inode.is_dir();
    });
    if dir && from != to {
        add_link(tree, from, -1);
        add_link(tree, to, 1);
    }
}

fn unmap(tree: &mut Fileset, ino: Ino, first: u64, last: u64) {
    let mut gone = 0;
    file(tree, ino, |f| {
        f.map.remove_range(first..=last, &mut |_, _| gone += 1)
    });
    tree.blocks -= gone;
}

/// Maps a run of one file's blocks elsewhere; holes become holes. Every version concerned is known at both places from now on.
fn share(
    volume: &mut Volume,
    (from, from_block): (Ino, u64),
    (to, to_block): (Ino, u64),
    count: u64,
) {
    let Some(source) = volume
        .live
        .inode(from)
        .and_then(|i| i.file())
        .map(|f| f.map.clone())
    else {
        return;
    };
    unmap(&mut volume.live, to, to_block, to_block + (count - 1));
    let mut mapped = 0;
    let mut places: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
    for (block, version) in source.range(from_block, from_block + (count - 1)) {
        let there = to_block + (block - from_block);
        let both = [
            Place { ino: from, block },
            Place {
                ino: to,
                block: there,
            },
        ];
        places.entry(version.addr().0).or_default().extend(both);
        file(&mut volume.live, to, |f| {
            f.map.insert(there, *version);
        });
        mapped += 1;
    }
    for (addr, places) in places {
        spread_at(volume, addr, &places);
    }
    volume.live.blocks += mapped;
}

fn spread_at(volume: &mut Volume, addr: u64, places: &[Place]) {
    let mut known: Vec<Place> = volume
        .spread
        .get(addr)
        .map(|p| p.to_vec())
        .unwrap_or_default();
    let before = known.len();
    known.extend_from_slice(places);
    known.sort_unstable();
    known.dedup();
    if known.len() != before {
        volume.spread.insert(addr, known.into());
    }
}

/// A file's content and size as an image has them: the map is taken over whole.
fn restore(volume: &mut Volume, ino: Ino, from: Ino, image: &Inode, attributes: bool, now: i64) {
    let Some(source) = image.file() else { return };
    if ino != from {
        let mut places: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
        for (block, version) in source.map.iter() {
            let both = [Place { ino: from, block }, Place { ino, block }];
            places.entry(version.addr().0).or_default().extend(both);
        }
        for (addr, places) in places {
            spread_at(volume, addr, &places);
        }
    }
    let before = volume.live.inode(ino).map_or(0, |i| i.blocks());
    inode(&mut volume.live, ino, |i| {
        i.body = Body::File(source.clone());
        i.mtime = now;
        i.ctime = now;
        if attributes {
            i.mode = image.mode;
            i.uid = image.uid;
            i.gid = image.gid;
            i.atime = image.atime;
            i.mtime = image.mtime;
            i.xattrs = image.xattrs.clone();
        }
    });
    volume.live.blocks = volume.live.blocks - before + source.map.len();
    volume.changed = u64::try_from(now).unwrap_or(0);
}

/// Says whether a restore would change anything: content, size or (if asked) attributes.
pub(crate) fn restore_changes(live: &Inode, image: &Inode, attributes: bool) -> bool {
    live.file() != image.file()
        || attributes
            && (
                live.mode,
                live.uid,
                live.gid,
                live.atime,
                live.mtime,
                &live.xattrs,
            ) != (
                image.mode,
                image.uid,
                image.gid,
                image.atime,
                image.mtime,
                &image.xattrs,
            )
}

/// The source that a restore event names, for admission.
pub(crate) fn restorable(views: &Views, state: &State, source: Source, from: Ino) -> Option<bool> {
    Some(
        views
            .tree(state, source)?
            .inode(from)
            .is_some_and(|i| i.file().is_some()),
    )
}
