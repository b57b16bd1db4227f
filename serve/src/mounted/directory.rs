//! Reading directories. A reading sees the entries as they were when it began: none comes twice, none that stays is missed, whatever
//! others create and remove meanwhile.

use super::{Attr, Mounted};
use crate::errno::Answer;
use crate::handles::Listing;
use crate::nodes::{ROOT, VIRTUAL};
use rustix::io::Errno;
use std::ops::Bound;
use std::sync::PoisonError;
use strand_engine::{Bytes, Ino, Names};

/// An entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Where reading goes on behind it.
    pub(crate) next: u64,
    pub(crate) name: &'a [u8],
    pub(crate) node: u64,
    /// The type bits of the mode.
    pub(crate) kind: u32,
    /// Its attributes, where they are wanted; not for `.` and `..`.
    pub(crate) attr: Option<Attr>,
}

impl Mounted {
    /// Opens a directory.
    pub(crate) fn opendir(&self, node: u64) -> Answer<u64> {
        let names = self.names_of(node)?;
        Ok(self.handles.open_dir(names))
    }

    fn names_of(&self, node: u64) -> Answer<Names> {
        let (view, ino) = self.parts(node);
        if view == VIRTUAL {
            return self.virtual_names(node);
        }
        self.look(view, |tree| match tree.inode(ino) {
            Some(inode) => inode.names().cloned().ok_or(Errno::NOTDIR),
            // Removed, but somebody still stands in it.
            None if self.nodes.gone(node).is_some() => Ok(Names::new()),
            None => Err(Errno::STALE),
        })?
    }

    /// Gives the entries from an offset on, until `add` says that there is no more room.
    pub(crate) fn readdir(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        plus: bool,
        add: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Answer<()> {
        let listing = self.handles.dir(handle).ok_or(Errno::BADF)?;
        let mut listing = listing.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            listing.names = self.names_of(node)?;
            listing.last = None;
        }
        for (at, name) in [(0, &b"."[..]), (1, &b".."[..])] {
            if offset <= at {
                let entry = Entry {
                    next: at + 1,
                    name,
                    node: if at == 0 { node } else { self.parent_of(node) },
                    kind: 0o040_000,
                    attr: None,
                };
                if add(entry) {
                    return Ok(());
                }
            }
        }
        self.read_names(node, &mut listing, offset.max(2), plus, add)
    }

    fn read_names(
        &self,
        node: u64,
        listing: &mut Listing,
        offset: u64,
        plus: bool,
        add: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Answer<()> {
        let (view, _) = self.parts(node);
        let swaps = self.nodes.swaps();
        let names = listing.names.clone();
        let from = match &listing.last {
            Some((at, name)) if *at == offset => Bound::Excluded(name.clone()),
            _ if offset == 2 => Bound::Unbounded,
            _ => match names
                .iter()
                .nth(usize::try_from(offset - 3).unwrap_or(usize::MAX))
            {
                Some((name, _)) => Bound::Excluded(name.clone()),
                None => return Ok(()),
            },
        };
        let mut last: Option<(u64, Bytes)> = None;
        let range = names.range((from, Bound::Unbounded));
        for (next, (name, ino)) in (offset + 1..).zip(range) {
            if self.is_strand(node, name) {
                continue;
            }
            let Some(attr) = self.listed(node, name, *ino, plus)? else {
                continue;
            };
            let entry = Entry {
                next,
                name,
                node: attr.node,
                kind: attr.mode & 0o170_000,
                attr: plus.then_some(attr),
            };
            if add(entry) {
                if plus && view == VIRTUAL {
                    self.nodes.forget(attr.node, 1);
                }
                break;
            }
            if plus && view != VIRTUAL {
                self.nodes.learn(attr.node, swaps);
            }
            last = Some((next, name.clone()));
        }
        if last.is_some() {
            listing.last = last;
        }
        Ok(())
    }

    /// What an entry of a listing looks like; `None` where there is nothing to show any more. With attributes the kernel takes the entry
    /// for a lookup: then it must be what the name means now.
    fn listed(&self, dir: u64, name: &[u8], ino: Ino, plus: bool) -> Answer<Option<Attr>> {
        let (view, in_dir) = self.parts(dir);
        if view == VIRTUAL {
            return match plus {
                true => self.virtual_lookup(dir, name),
                false => self.virtual_entry(ino).map(Some),
            };
        }
        self.look(view, |tree| {
            if plus && tree.child(in_dir, name) != Some(ino) {
                return None;
            }
            tree.inode(ino).map(|inode| self.attr_of(view, ino, inode))
        })
    }

    /// The node of a directory's parent; the root is its own.
    fn parent_of(&self, node: u64) -> u64 {
        let (view, ino) = self.parts(node);
        if node == ROOT || view == VIRTUAL {
            return ROOT;
        }
        let parent = self.look(view, |tree| match tree.root == ino {
            true => None,
            false => tree.inode(ino).map(|inode| inode.parent),
        });
        match parent {
            Ok(Some(parent)) => self.node(view, parent),
            _ => ROOT,
        }
    }
}
