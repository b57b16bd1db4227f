//! Names and inodes: create, link, unlink, rename.

use super::{BULK_BLOCKS, inode, volume};
use crate::command::{Command, Request};
use crate::event::{Bytes, Cause, Event, MAX_RANGES, NewBody, Range};
use crate::ids::{Ino, VolumeId};
use crate::name::{MAX_SYMLINK, check_file_name};
use crate::owner::copy_outs;
use crate::refusal::{Kind, Refusal};
use crate::state::{self, Fileset, Inode, State, Volume};
use std::sync::Arc;

/// Most links of one file (as ext4).
const MAX_LINKS: u32 = 65_000;
const SETGID: u32 = 0o2000;

pub(super) fn judge(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    match &request.command {
        Command::Create {
            volume: id,
            dir,
            name,
            body,
            mode,
            uid,
            gid,
        } => {
            let tree = &volume(state, *id)?.live;
            free(tree, *dir, name)?;
            if let NewBody::Symlink(target) = body {
                symlink_target(target)?;
            }
            let parent = inode(tree, *dir)?;
            let (gid, inherited) = if parent.mode & SETGID != 0 {
                (
                    parent.gid,
                    if matches!(body, NewBody::Dir) {
                        SETGID
                    } else {
                        0
                    },
                )
            } else {
                (*gid, 0)
            };
            let mode = (mode & 0o7777) | inherited;
            Ok(vec![Event::Created {
                volume: *id,
                dir: *dir,
                name: name.clone(),
                ino: state.next_ino,
                body: body.clone(),
                mode,
                uid: *uid,
                gid,
            }])
        }
        Command::Link {
            volume: id,
            ino,
            dir,
            name,
        } => {
            let tree = &volume(state, *id)?.live;
            free(tree, *dir, name)?;
            let linked = inode(tree, *ino)?;
            if linked.is_dir() {
                return Err(Refusal::new(
                    Kind::NotAllowed,
                    "a directory cannot have a second name",
                ));
            }
            if linked.nlink >= MAX_LINKS {
                return Err(Refusal::new(
                    Kind::CrossLink,
                    format!("the file has {MAX_LINKS} names already"),
                ));
            }
            Ok(vec![Event::Linked {
                volume: *id,
                dir: *dir,
                name: name.clone(),
                ino: *ino,
            }])
        }
        Command::Unlink {
            volume: id,
            dir,
            name,
            dir_wanted,
        } => {
            let volume = volume(state, *id)?;
            let ino = entry(&volume.live, *dir, name)?;
            let found = inode(&volume.live, ino)?;
            kind_wanted(found, *dir_wanted, name)?;
            if *dir_wanted {
                empty(found, name)?;
            }
            let mut events = unlink_copy_outs(volume, ino, Cause::Unlink);
            let keep = keeps(request, *id, found, ino);
            let events_free = keep || found.nlink > 1;
            if events_free {
                events.clear();
            }
            events.push(Event::Unlinked {
                volume: *id,
                dir: *dir,
                name: name.clone(),
                ino,
                keep,
            });
            Ok(events)
        }
        Command::Rename { .. } => rename(state, request),
        Command::DropOrphan { volume: id, ino } => {
            let volume = volume(state, *id)?;
            if !volume.live.orphans.contains(ino) {
                return Err(Refusal::new(
                    Kind::NotFound,
                    "the file is not an unlinked one",
                ));
            }
            if request.open.contains(&(*id, *ino)) {
                return Err(Refusal::new(Kind::Busy, "the file is open"));
            }
            let mut events = unlink_copy_outs(volume, *ino, Cause::Unlink);
            events.push(Event::OrphanDropped {
                volume: *id,
                ino: *ino,
            });
            Ok(events)
        }
        _ => Ok(Vec::new()),
    }
}

fn rename(state: &State, request: &Request<'_>) -> Result<Vec<Event>, Refusal> {
    let Command::Rename {
        volume: id,
        from_dir,
        from_name,
        to_dir,
        to_name,
        no_replace,
        exchange,
    } = &request.command
    else {
        return Ok(Vec::new());
    };
    let volume = volume(state, *id)?;
    let tree = &volume.live;
    let moved = entry(tree, *from_dir, from_name)?;
    let into = names(tree, *to_dir)?;
    check_file_name(to_name)?;
    let at = into.get(to_name).copied();
    not_into_itself(tree, moved, *to_dir)?;
    if *exchange {
        let Some(at) = at else {
            return Err(Refusal::new(
                Kind::NotFound,
                format!("there is no {} to exchange with", shown(to_name)),
            ));
        };
        not_into_itself(tree, at, *from_dir)?;
        if at == moved {
            return Ok(Vec::new());
        }
        return Ok(vec![Event::Exchanged {
            volume: *id,
            a_dir: *from_dir,
            a_name: from_name.clone(),
            b_dir: *to_dir,
            b_name: to_name.clone(),
        }]);
    }
    let mut events = Vec::new();
    let mut over = None;
    if let Some(at) = at {
        if *no_replace {
            return Err(taken(to_name));
        }
        if at == moved {
            return Ok(Vec::new()); // POSIX: two names of one file, nothing happens
        }
        let (target, source) = (inode(tree, at)?, inode(tree, moved)?);
        kind_wanted(target, source.is_dir(), to_name)?;
        if source.is_dir() {
            empty(target, to_name)?;
        }
        let keep = keeps(request, *id, target, at);
        if !keep && target.nlink == 1 {
            events = unlink_copy_outs(volume, at, Cause::RenameOver);
        }
        over = Some((at, keep));
    }
    events.push(Event::Renamed {
        volume: *id,
        from_dir: *from_dir,
        from_name: from_name.clone(),
        to_dir: *to_dir,
        to_name: to_name.clone(),
        over,
    });
    Ok(events)
}

/// An open handle keeps an inode whose last name goes.
pub(super) fn keeps(request: &Request<'_>, volume: VolumeId, inode: &Inode, ino: Ino) -> bool {
    !inode.is_dir() && inode.nlink == 1 && request.open.contains(&(volume, ino))
}

/// The copy-outs of a whole file that goes.
fn unlink_copy_outs(volume: &Volume, ino: Ino, cause: Cause) -> Vec<Event> {
    let last = volume
        .live
        .inode(ino)
        .and_then(|i| i.file())
        .and_then(|f| f.map.last().map(|(block, _)| block));
    match last {
        Some(last) => range_copy_outs(
            volume,
            &[(
                ino,
                Range {
                    block: 0,
                    count: last + 1,
                },
            )],
            cause,
        ),
        None => Vec::new(),
    }
}

/// The events by which the before-images in `replaced` pass to checkpoints: one by one, or in bulk.
pub(super) fn range_copy_outs(
    volume: &Volume,
    replaced: &[(Ino, Range)],
    cause: Cause,
) -> Vec<Event> {
    if volume.images.is_empty() {
        return Vec::new();
    }
    let Some(passed) = copy_outs(volume, replaced, BULK_BLOCKS) else {
        return vec![Event::CopiedOutScope {
            volume: volume.id,
            cause,
        }];
    };
    let volume = volume.id;
    let mut events = Vec::new();
    for ((checkpoint, ino), ranges) in passed.marked {
        for ranges in ranges.chunks(MAX_RANGES) {
            events.push(Event::ChangeMarked {
                volume,
                checkpoint,
                cause,
                ino,
                ranges: ranges.to_vec(),
            });
        }
    }
    for ((checkpoint, ino), ranges) in passed.copied_out {
        for ranges in ranges.chunks(MAX_RANGES) {
            events.push(Event::CopiedOut {
                volume,
                checkpoint,
                cause,
                ino,
                ranges: ranges.to_vec(),
            });
        }
    }
    events
}

fn names(tree: &Fileset, dir: Ino) -> Result<&state::Names, Refusal> {
    inode(tree, dir)?
        .names()
        .ok_or_else(|| Refusal::new(Kind::NotADirectory, "a part of the path is not a directory"))
}

fn entry(tree: &Fileset, dir: Ino, name: &[u8]) -> Result<Ino, Refusal> {
    names(tree, dir)?
        .get(name)
        .copied()
        .ok_or_else(|| Refusal::new(Kind::NotFound, format!("there is no {}", shown(name))))
}

fn free(tree: &Fileset, dir: Ino, name: &Bytes) -> Result<(), Refusal> {
    check_file_name(name)?;
    if names(tree, dir)?.contains_key(name) {
        Err(taken(name))
    } else {
        Ok(())
    }
}

fn taken(name: &[u8]) -> Refusal {
    Refusal::new(Kind::Exists, format!("{} exists", shown(name)))
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn kind_wanted(found: &Arc<Inode>, dir: bool, name: &[u8]) -> Result<(), Refusal> {
    match (found.is_dir(), dir) {
        (true, false) => Err(Refusal::new(
            Kind::IsADirectory,
            format!("{} is a directory", shown(name)),
        )),
        (false, true) => Err(Refusal::new(
            Kind::NotADirectory,
            format!("{} is not a directory", shown(name)),
        )),
        _ => Ok(()),
    }
}

fn empty(found: &Arc<Inode>, name: &[u8]) -> Result<(), Refusal> {
    if found.names().is_some_and(|n| !n.is_empty()) {
        return Err(Refusal::new(
            Kind::NotEmpty,
            format!("the directory {} is not empty", shown(name)),
        ));
    }
    Ok(())
}

fn symlink_target(target: &[u8]) -> Result<(), Refusal> {
    if target.is_empty() || target.contains(&0) {
        return Err(Refusal::new(
            Kind::Invalid,
            "a symbolic link needs a target without NUL",
        ));
    }
    if target.len() > MAX_SYMLINK {
        return Err(Refusal::new(
            Kind::NameTooLong,
            format!("a link's target has at most {MAX_SYMLINK} bytes"),
        ));
    }
    Ok(())
}

fn not_into_itself(tree: &Fileset, moved: Ino, dir: Ino) -> Result<(), Refusal> {
    let mut at = dir;
    while inode(tree, moved)?.is_dir() && at != tree.root {
        if at == moved {
            return Err(Refusal::new(
                Kind::Invalid,
                "a directory cannot move into itself",
            ));
        }
        at = inode(tree, at)?.parent;
    }
    Ok(())
}
