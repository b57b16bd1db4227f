//! `.strand/`, at the root of every mount of a live volume and shown by no listing: the volume's checkpoints by name, and under
//! `.strand/at/` the volume as it was at any time or position, for reading.

use super::{Attr, Base, Mounted, attr};
use crate::errno::{Answer, errno};
use crate::nodes::{OWN, VIRTUAL, node, parts};
use rustix::io::Errno;
use std::time::Duration;
use strand_engine::{Ino, Names, Source};

/// The node of `.strand`.
const DIR: Ino = Ino(1);
/// The node of `.strand/at`.
const AT: Ino = Ino(2);
const AT_NAME: &[u8] = b"at";
/// Positions that stay open as views; those visited longest ago are let go beyond that, unless somebody is inside.
const KEPT_POSITIONS: usize = 16;
/// Positions that may be open at once; more are refused.
const MOST_POSITIONS: usize = 64;
/// Each position is a tree of its own in memory, some 16 bytes a mapped block. So many times the blocks of the live tree stay open as positions
/// that nobody is inside of, …
const KEPT_TIMES: u64 = 1;
/// … and beyond so many times no more are opened.
const MOST_TIMES: u64 = 4;
/// Smaller volumes count as one of so many blocks (16 GiB; 64 MB of memory).
const LEAST_BLOCKS: u64 = 4 << 20;

/// What a name under `.strand/at/` means.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Visit {
    /// As it was at a time, in ns since the Unix epoch.
    Time(u64),
    /// As it was at a position.
    Position(u64),
}

impl Visit {
    /// Reads an RFC 3339 time, or `seq:N`.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok()?;
        if let Some(number) = text.strip_prefix("seq:") {
            return number.parse().ok().map(Visit::Position);
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(Visit::Time)
    }
}

impl Mounted {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.base, Base::Live { .. })
    }

    /// `.strand` itself, told to the kernel once more.
    pub(super) fn strand_dir(&self) -> Answer<Attr> {
        let attr = self.virtual_attr(node(VIRTUAL, DIR))?;
        self.nodes.learn(attr.node, 0);
        Ok(attr)
    }

    /// The two directories look like the volume's root, and nobody can write to them.
    pub(super) fn virtual_attr(&self, of: u64) -> Answer<Attr> {
        if !self.is_live() || !matches!(parts(of).1, DIR | AT) {
            return Err(Errno::STALE);
        }
        let root = self.root();
        self.look(OWN, |tree| {
            let inode = tree.inode(root).ok_or(Errno::STALE)?;
            let like = attr(of, inode);
            Ok(Attr {
                mode: 0o040_000 | (like.mode & 0o777 & !0o222),
                nlink: 2,
                ..like
            })
        })?
    }

    /// A name in `.strand`. Names under `.strand/at` may take long: [`Mounted::visit`] does those.
    pub(super) fn virtual_lookup(&self, parent: u64, name: &[u8]) -> Answer<Option<Attr>> {
        match parts(parent).1 {
            DIR if name == AT_NAME => {
                let attr = self.virtual_attr(node(VIRTUAL, AT))?;
                self.nodes.learn(attr.node, 0);
                Ok(Some(attr))
            }
            DIR => self.checkpoint(name),
            _ => Ok(None),
        }
    }

    fn checkpoint(&self, name: &[u8]) -> Answer<Option<Attr>> {
        let volume = self.volume();
        let state = self.core.store.state();
        self.core.store.health().map_err(|e| errno(&e))?;
        let named = std::str::from_utf8(name)
            .ok()
            .and_then(|name| state.checkpoint_named(name));
        let Some((found, image)) =
            named.and_then(|found| Some((found, state.image(volume, found.id)?)))
        else {
            return Ok(None);
        };
        if found.nomount || image.nodata {
            return Err(Errno::ACCESS);
        }
        self.enter_view(Source::Checkpoint(volume, found.id), name)
            .map(Some)
    }

    /// Says whether the kernel may remember the names of a directory: those of checkpoints come and go by commands.
    pub(crate) fn lasts(&self, parent: u64) -> bool {
        self.parts(parent).0 != VIRTUAL
    }

    /// Says whether a lookup may take long: then it is for [`Mounted::visit`], on a thread of its own.
    pub(crate) fn visits(&self, parent: u64, name: &[u8]) -> Option<Visit> {
        (parent == node(VIRTUAL, AT) && self.is_live())
            .then(|| Visit::parse(name))
            .flatten()
    }

    /// The volume as it was; its root is told to the kernel once more. Folds the history where needed.
    pub(crate) fn visit(&self, visit: Visit, name: &[u8]) -> Answer<Option<Attr>> {
        let (open, mapped) = self.nodes.positions();
        if open >= MOST_POSITIONS || mapped >= self.blocks_in_positions(MOST_TIMES) {
            return Err(Errno::AGAIN);
        }
        let store = &self.core.store;
        let boundary = match visit {
            Visit::Time(time) => store.boundary_at_time(time),
            Visit::Position(seq) => store.boundary_at_or_before(seq),
        };
        let source = match boundary {
            Ok((seq, _)) => Source::Position(self.volume(), seq),
            Err(error) if error.kind() == strand_engine::Kind::OutOfRange => return Ok(None),
            Err(error) => return Err(errno(&error)),
        };
        match self.enter_view(source, name) {
            Ok(attr) => Ok(Some(attr)),
            Err(Errno::NOENT | Errno::RANGE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn blocks_in_positions(&self, times: u64) -> u64 {
        let live = self.look(OWN, |tree| tree.blocks).unwrap_or(0);
        live.max(LEAST_BLOCKS).saturating_mul(times)
    }

    /// Has the kernel let go of the positions visited longest ago, where there are many, or they are large: each keeps a tree in memory. Not before the
    /// visit is answered: the kernel holds the directory until then.
    pub(crate) fn tidy_visits(&self) {
        let Some(caches) = self.caches.get() else {
            return;
        };
        let blocks = self.blocks_in_positions(KEPT_TIMES);
        loop {
            let names = self.nodes.crowded_out(KEPT_POSITIONS, blocks);
            if names.is_empty() {
                return;
            }
            for name in names {
                caches.drop_name(node(VIRTUAL, AT), &name);
            }
        }
    }

    /// Has the kernel let go of the views that nobody has looked at for so long: each keeps what it shows from being given back. Who is inside of one stays.
    pub(crate) fn tidy_views(&self, so_long: Duration) {
        let Some(caches) = self.caches.get() else {
            return;
        };
        for idle in self.nodes.idle(so_long) {
            let dir = match idle.source {
                Source::Position(..) => AT,
                Source::Checkpoint(..) | Source::Live(_) => DIR,
            };
            for name in &idle.names {
                caches.drop_name(node(VIRTUAL, dir), name);
            }
            // Whatever somebody was inside of when its view's name went, the kernel remembers by names within.
            for within in &idle.known {
                let (view, ino) = parts(*within);
                let names = idle.tree.inode(ino).and_then(|inode| inode.names());
                for (name, child) in names.into_iter().flatten() {
                    if idle.known.contains(&node(view, *child)) {
                        caches.drop_name(*within, name);
                    }
                }
            }
        }
    }

    fn enter_view(&self, source: Source, name: &[u8]) -> Answer<Attr> {
        let opened = self.nodes.enter_open(source, name);
        let (root, tree) = match opened {
            Some(found) => found,
            None => {
                // It may be removed all the same: somebody may just have looked.
                let by = format!("looked at through .strand/{}", Self::shown(source, name));
                let kept = self.core.store.kept_view(source, by);
                let (tree, lease) = kept.map_err(|e| errno(&e))?;
                let root = self
                    .nodes
                    .enter(source, tree.clone(), name, Some(lease))
                    .ok_or(Errno::NFILE)?;
                (root, tree)
            }
        };
        match tree.inode(tree.root) {
            Some(inode) => Ok(attr(root, inode)),
            None => {
                self.nodes.forget(root, 1);
                Err(Errno::STALE)
            }
        }
    }

    /// A view as one writes it behind `.strand/`.
    fn shown(source: Source, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        match source {
            Source::Position(..) => format!("at/{name}"),
            Source::Checkpoint(..) | Source::Live(_) => name.into_owned(),
        }
    }

    /// An entry of `.strand` in a listing: all are directories.
    pub(super) fn virtual_entry(&self, ino: Ino) -> Answer<Attr> {
        let like = self.virtual_attr(node(VIRTUAL, DIR))?;
        Ok(Attr {
            node: node(VIRTUAL, ino),
            ..like
        })
    }

    /// The entries of `.strand`: the checkpoints of the volume that may be read, and `at`. Of `.strand/at` there are none to list.
    pub(super) fn virtual_names(&self, of: u64) -> Answer<Names> {
        let mut names = Names::new();
        if parts(of).1 != DIR {
            return Ok(names);
        }
        names.insert(AT_NAME.into(), AT);
        let state = self.core.store.state();
        self.core.store.health().map_err(|e| errno(&e))?;
        let volume = state.volume(self.volume()).ok_or(Errno::STALE)?;
        for (id, _) in volume.images.iter().filter(|(_, image)| !image.nodata) {
            let Some(checkpoint) = state.checkpoints.get(id).filter(|c| !c.nomount) else {
                continue;
            };
            // The number a listing shows is replaced by the lookup's; it must only not be 0, nor that of a directory here.
            let shown = Ino(u64::from(id.0) + AT.0 + 1);
            names.insert(checkpoint.name.as_bytes().into(), shown);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_positions_are_read() {
        assert_eq!(Visit::parse(b"seq:12"), Some(Visit::Position(12)));
        assert_eq!(
            Visit::parse(b"1970-01-01T00:00:01Z"),
            Some(Visit::Time(1_000_000_000))
        );
        assert_eq!(
            Visit::parse(b"1970-01-01T02:00:01.5+02:00"),
            Some(Visit::Time(1_500_000_000))
        );
        for nonsense in [&b"seq:"[..], b"seq:-1", b"yesterday", b"\xff", b""] {
            assert_eq!(Visit::parse(nonsense), None);
        }
    }
}
