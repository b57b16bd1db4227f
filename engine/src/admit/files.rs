//! Admission of events inside a volume's tree.

use super::{Admitted, require, some};
use crate::block::{BLOCK, MAX_FILE_BLOCKS, MAX_FILE_SIZE};
use crate::damage::Damage;
use crate::event::{Event, MAX_EVENT_BLOCKS, MAX_XATTR_VALUE, NewBody, Placed, Range, Source};
use crate::evolve::restorable;
use crate::ids::{Ino, VolumeId};
use crate::name::{MAX_FILE_NAME, MAX_SYMLINK, file_name_is_valid};
use crate::owner::may_spread;
use crate::state::{FileBody, Fileset, Inode, Names, State};
use crate::views::Views;
use std::sync::Arc;

pub(super) fn admit(state: &State, placed: &Placed<'_>, views: &Views) -> Admitted {
    match placed.event {
        Event::Created {
            volume,
            dir,
            name,
            ino,
            body,
            mode,
            ..
        } => {
            let tree = tree(state, *volume)?;
            free_name(names(tree, *dir)?, name)?;
            require(
                *ino == state.next_ino && ino.0 < u64::MAX,
                "the inode's number is not the next one",
            )?;
            require(*mode <= 0o7777, "the mode has bits that are no permissions")?;
            match body {
                NewBody::Symlink(target) => require(
                    !target.is_empty() && target.len() <= MAX_SYMLINK && !target.contains(&0),
                    "the link's target is not valid",
                ),
                _ => Ok(()),
            }
        }
        Event::Linked {
            volume,
            dir,
            name,
            ino,
        } => {
            let tree = tree(state, *volume)?;
            free_name(names(tree, *dir)?, name)?;
            let inode = inode(tree, *ino)?;
            require(!inode.is_dir(), "a directory has one name")?;
            require(inode.nlink < u32::MAX, "too many links")
        }
        Event::Unlinked {
            volume,
            dir,
            name,
            ino,
            keep,
        } => {
            let tree = tree(state, *volume)?;
            require(
                names(tree, *dir)?.get(name) == Some(ino),
                "the name does not name that inode",
            )?;
            removable(tree, *ino, *keep)
        }
        Event::Renamed {
            volume,
            from_dir,
            from_name,
            to_dir,
            to_name,
            over,
        } => {
            let tree = tree(state, *volume)?;
            let moved = *some(
                names(tree, *from_dir)?.get(from_name),
                "the name to move is not there",
            )?;
            let at = names(tree, *to_dir)?.get(to_name).copied();
            require(file_name_is_valid(to_name), "the new name is not valid")?;
            require(
                at == over.map(|(ino, _)| ino),
                "the name to move over is not what it says",
            )?;
            require(
                at != Some(moved),
                "a rename of a file onto itself changes nothing",
            )?;
            if let Some((over, keep)) = over {
                require(
                    inode(tree, *over)?.is_dir() == inode(tree, moved)?.is_dir(),
                    "a file and a directory cannot replace each other",
                )?;
                removable(tree, *over, *keep)?;
            }
            no_cycle(tree, moved, *to_dir)
        }
        Event::Exchanged {
            volume,
            a_dir,
            a_name,
            b_dir,
            b_name,
        } => {
            let tree = tree(state, *volume)?;
            let a = *some(
                names(tree, *a_dir)?.get(a_name),
                "the first name is not there",
            )?;
            let b = *some(
                names(tree, *b_dir)?.get(b_name),
                "the second name is not there",
            )?;
            no_cycle(tree, a, *b_dir)?;
            no_cycle(tree, b, *a_dir)
        }
        Event::OrphanDropped { volume, ino } => require(
            tree(state, *volume)?.orphans.contains(ino),
            "the inode is no orphan",
        ),
        Event::AttributesSet { volume, ino, set } => {
            inode(tree(state, *volume)?, *ino)?;
            require(
                set.mode.is_none_or(|m| m <= 0o7777),
                "the mode has bits that are no permissions",
            )
        }
        Event::XattrSet {
            volume,
            ino,
            name,
            value,
        } => {
            inode(tree(state, *volume)?, *ino)?;
            require(
                !name.is_empty() && name.len() <= MAX_FILE_NAME && !name.contains(&0),
                "the attribute's name is not valid",
            )?;
            require(
                value.len() <= MAX_XATTR_VALUE,
                "the attribute's value is too long",
            )
        }
        Event::XattrRemoved { volume, ino, name } => {
            let inode = inode(tree(state, *volume)?, *ino)?;
            require(
                inode.xattrs.as_ref().is_some_and(|x| x.contains_key(name)),
                "the attribute is not there",
            )
        }
        Event::FileRestored {
            volume,
            ino,
            source,
            from,
            ..
        } => {
            file(tree(state, *volume)?, *ino)?;
            match restorable(views, state, *source, *from) {
                Some(holds) => {
                    require(holds, "the image has no such file")?;
                    match source {
                        Source::Checkpoint(id, checkpoint) => require(
                            state.image(*id, *checkpoint).is_some_and(|i| !i.nodata),
                            "the image keeps no data",
                        ),
                        _ => Ok(()),
                    }
                }
                None => match source {
                    Source::Position(_, seq) if !views.0.contains_key(seq) && *seq < placed.seq => {
                        Err(Damage::needs(*seq))
                    }
                    _ => require(false, "the image is not there"),
                },
            }
        }
        _ => content(state, placed),
    }
}

fn content(state: &State, placed: &Placed<'_>) -> Admitted {
    match placed.event {
        Event::Written {
            volume,
            ino,
            block,
            size,
        } => {
            let file = file(tree(state, *volume)?, *ino)?;
            let count = placed.crcs.len() as u64;
            require(count > 0, "a write without blocks")?;
            let end = range_end(Range {
                block: *block,
                count,
            })?;
            grows(file, *size)?;
            let size = size.unwrap_or(file.size);
            require(
                end <= size.div_ceil(BLOCK),
                "blocks past the end of the file",
            )
        }
        Event::Punched {
            volume,
            ino,
            range,
            size,
        } => {
            let file = file(tree(state, *volume)?, *ino)?;
            range_end(*range)?;
            grows(file, *size)
        }
        Event::Truncated { volume, ino, size } => {
            file(tree(state, *volume)?, *ino)?;
            require(
                *size <= MAX_FILE_SIZE,
                "the size is beyond what a file can have",
            )
        }
        Event::Preallocated { volume, ino, size } => {
            grows(file(tree(state, *volume)?, *ino)?, *size)
        }
        Event::Shared {
            volume,
            from,
            from_block,
            to,
            to_block,
            count,
            size,
        } => {
            let tree = tree(state, *volume)?;
            let (source, target) = (file(tree, *from)?, file(tree, *to)?);
            require(*count <= MAX_EVENT_BLOCKS, "too many blocks for one event")?;
            let from_end = range_end(Range {
                block: *from_block,
                count: *count,
            })?;
            let to_end = range_end(Range {
                block: *to_block,
                count: *count,
            })?;
            require(
                from != to || from_end <= *to_block || to_end <= *from_block,
                "a file's blocks shared onto themselves",
            )?;
            require(
                from_end <= source.size.div_ceil(BLOCK),
                "blocks past the end of the file read",
            )?;
            let spreads = state.volume(*volume).is_some_and(|v| {
                may_spread(
                    v,
                    *from,
                    Range {
                        block: *from_block,
                        count: *count,
                    },
                )
            });
            require(spreads, "blocks shared at too many places")?;
            grows(target, *size)?;
            require(
                to_end <= size.unwrap_or(target.size).div_ceil(BLOCK),
                "blocks past the end of the file written",
            )
        }
        _ => require(false, "an unknown kind"),
    }
}

fn grows(file: &FileBody, size: Option<u64>) -> Admitted {
    require(
        size.is_none_or(|s| s > file.size && s <= MAX_FILE_SIZE),
        "the size given does not make the file longer, or is too large",
    )
}

fn range_end(range: Range) -> Result<u64, Damage> {
    let end = range
        .block
        .checked_add(range.count)
        .filter(|end| range.count > 0 && *end <= MAX_FILE_BLOCKS);
    some(end, "a range of blocks that no file has")
}

pub(super) fn tree(state: &State, volume: VolumeId) -> Result<&Fileset, Damage> {
    some(
        state.volume(volume).map(|v| &v.live),
        "the volume is not there",
    )
}

fn inode(tree: &Fileset, ino: Ino) -> Result<&Arc<Inode>, Damage> {
    some(tree.inode(ino), "the inode is not there")
}

fn names(tree: &Fileset, dir: Ino) -> Result<&Names, Damage> {
    some(inode(tree, dir)?.names(), "the inode is no directory")
}

fn file(tree: &Fileset, ino: Ino) -> Result<&FileBody, Damage> {
    some(inode(tree, ino)?.file(), "the inode is no regular file")
}

fn free_name(names: &Names, name: &[u8]) -> Admitted {
    require(file_name_is_valid(name), "the name is not valid")?;
    require(!names.contains_key(name), "the name is taken")
}

fn removable(tree: &Fileset, ino: Ino, keep: bool) -> Admitted {
    let inode = inode(tree, ino)?;
    match inode.names() {
        Some(names) => require(
            names.is_empty() && !keep && ino != tree.root,
            "the directory is not empty, or is the root",
        ),
        None => Ok(()),
    }
}

/// Moving `moved` under `dir` must not make it its own ancestor. Ends: parents of admitted trees have no cycle.
fn no_cycle(tree: &Fileset, moved: Ino, dir: Ino) -> Admitted {
    if !inode(tree, moved)?.is_dir() {
        return Ok(());
    }
    let mut at = dir;
    while at != tree.root {
        require(at != moved, "a directory moves into itself")?;
        at = inode(tree, at)?.parent;
    }
    require(moved != tree.root, "the root directory does not move")
}
