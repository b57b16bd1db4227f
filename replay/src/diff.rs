//! What changed between two trees, file by file, in time proportional to the change.

use crate::paths::Paths;
use imbl::ordmap::DiffItem;
use serde::Serialize;
use std::collections::BTreeMap;
use strand_engine::{BLOCK, Bytes, FileBody, Fileset, Ino, Inode};

/// One file (directory, link, …) that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FileDiff {
    /// Its path, without a leading `/`: in the second tree, or in the first where it is gone. The root directory's is empty.
    #[serde(serialize_with = "crate::paths::as_text")]
    pub path: Vec<u8>,
    /// Its inode number.
    pub ino: Ino,
    /// What happened to it.
    #[serde(flatten)]
    pub kind: DiffKind,
    /// Which bytes differ, ascending.
    pub ranges: Vec<RangeDiff>,
    /// Its size in the first tree, in bytes; 0 where it is not there.
    pub size_before: u64,
    /// Its size in the second tree, in bytes; 0 where it is not there.
    pub size_after: u64,
}

/// What happened to a file between two trees.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum DiffKind {
    /// The name is new (the file too, unless it is one more link).
    Added,
    /// The name is gone.
    Removed,
    /// The content or the size differs.
    Changed,
    /// It has another name; the content may differ as well, see the ranges.
    Renamed {
        /// Its path before.
        #[serde(serialize_with = "crate::paths::as_text")]
        from: Vec<u8>,
    },
    /// Only attributes differ: mode, owner, modification time, extended attributes.
    Attributes,
}

/// A run of bytes that differs. Whole blocks, but for the end of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct RangeDiff {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// In which way.
    pub kind: RangeKind,
}

/// In which way a range differs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangeKind {
    /// Other content.
    Changed,
    /// It lies past the end of the file before.
    Extended,
    /// It was mapped and reads as zeros now.
    Hole,
}

/// The names that an inode lost and gained: directory and name.
#[derive(Default)]
struct Links {
    gone: Vec<(Ino, Bytes)>,
    new: Vec<(Ino, Bytes)>,
}

/// What changed from `before` to `after`, sorted by path. O(changed): shared subtrees are skipped.
///
/// A renamed directory is one entry: what lies below it did not change. Blocks cut off by a shorter size are not listed as
/// ranges; the sizes tell.
#[must_use]
pub fn diff(before: &Fileset, after: &Fileset) -> Vec<FileDiff> {
    let mut touched: BTreeMap<Ino, Links> = BTreeMap::new();
    for change in before.inodes.diff(&after.inodes) {
        touched.entry(Ino(change.key)).or_default();
        names_changed(
            Ino(change.key),
            change.before.map(|i| &**i),
            change.after.map(|i| &**i),
            &mut touched,
        );
    }
    let mut comparison = Comparison {
        before,
        after,
        paths_before: Paths::new(before.clone()),
        paths_after: Paths::new(after.clone()),
        found: Vec::new(),
    };
    for (ino, links) in touched {
        comparison.file(ino, &links);
    }
    let mut found = comparison.found;
    found.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.kind.cmp(&b.kind)));
    found
}

fn names_changed(
    dir: Ino,
    before: Option<&Inode>,
    after: Option<&Inode>,
    touched: &mut BTreeMap<Ino, Links>,
) {
    let mut gone = |name: &Bytes, ino: Ino| {
        touched
            .entry(ino)
            .or_default()
            .gone
            .push((dir, name.clone()))
    };
    match (before.and_then(Inode::names), after.and_then(Inode::names)) {
        (Some(before), Some(after)) => {
            for item in before.diff(after) {
                match item {
                    DiffItem::Add(name, ino) => touched
                        .entry(*ino)
                        .or_default()
                        .new
                        .push((dir, name.clone())),
                    DiffItem::Remove(name, ino) => touched
                        .entry(*ino)
                        .or_default()
                        .gone
                        .push((dir, name.clone())),
                    DiffItem::Update { old, new } => {
                        touched
                            .entry(*old.1)
                            .or_default()
                            .gone
                            .push((dir, old.0.clone()));
                        touched
                            .entry(*new.1)
                            .or_default()
                            .new
                            .push((dir, new.0.clone()));
                    }
                }
            }
        }
        (Some(before), None) => before.iter().for_each(|(name, ino)| gone(name, *ino)),
        (None, Some(after)) => {
            for (name, ino) in after {
                touched
                    .entry(*ino)
                    .or_default()
                    .new
                    .push((dir, name.clone()));
            }
        }
        (None, None) => {}
    }
}

struct Comparison<'a> {
    before: &'a Fileset,
    after: &'a Fileset,
    paths_before: Paths,
    paths_after: Paths,
    found: Vec<FileDiff>,
}

impl Comparison<'_> {
    fn file(&mut self, ino: Ino, links: &Links) {
        let before = self.before.inode(ino).cloned();
        let after = self.after.inode(ino).cloned();
        let (before, after) = (before.as_deref(), after.as_deref());
        let ranges = ranges(before.and_then(Inode::file), after.and_then(Inode::file));
        let content = !ranges.is_empty() || file_size(before) != file_size(after);
        let row = |path, kind, ranges| FileDiff {
            path,
            ino,
            kind,
            ranges,
            size_before: file_size(before),
            size_after: file_size(after),
        };

        // A name gained for a name lost is a rename; what remains on either side is a link made or removed.
        let renames = if before.is_some() && after.is_some() {
            links.gone.len().min(links.new.len())
        } else {
            0
        };
        let mut told = false;
        for ((from_dir, from), (to_dir, to)) in links.gone.iter().zip(&links.new).take(renames) {
            if let (Some(from), Some(path)) = (
                self.paths_before.join(*from_dir, from),
                self.paths_after.join(*to_dir, to),
            ) {
                let ranges = if told { Vec::new() } else { ranges.clone() };
                self.found
                    .push(row(path, DiffKind::Renamed { from }, ranges));
                told = true;
            }
        }
        for (dir, name) in links.gone.iter().skip(renames) {
            if let Some(path) = self.paths_before.join(*dir, name) {
                self.found.push(FileDiff {
                    size_after: 0,
                    ..row(path, DiffKind::Removed, Vec::new())
                });
            }
        }
        for (dir, name) in links.new.iter().skip(renames) {
            if let Some(path) = self.paths_after.join(*dir, name) {
                let fresh = before.is_none() && !told;
                let ranges = if fresh { ranges.clone() } else { Vec::new() };
                self.found.push(FileDiff {
                    size_before: 0,
                    ..row(path, DiffKind::Added, ranges)
                });
                told |= fresh;
            }
        }
        let (Some(before), Some(after)) = (before, after) else {
            return;
        };
        if told || self.after.orphans.contains(&ino) {
            return;
        }
        let kind = match () {
            () if content => DiffKind::Changed,
            () if attributes_differ(before, after) => DiffKind::Attributes,
            () => return,
        };
        if let Some(path) = self.paths_after.path(ino) {
            self.found.push(row(path, kind, ranges));
        }
    }
}

fn file_size(inode: Option<&Inode>) -> u64 {
    inode.and_then(Inode::file).map_or(0, |f| f.size)
}

/// A directory's times and link count follow its names, which are told on their own.
fn attributes_differ(a: &Inode, b: &Inode) -> bool {
    (a.mode, a.uid, a.gid) != (b.mode, b.uid, b.gid)
        || a.xattrs != b.xattrs
        || (!a.is_dir() && a.mtime != b.mtime)
}

/// The ranges in which two contents of a file differ, ascending, in bytes.
#[must_use]
pub fn ranges(before: Option<&FileBody>, after: Option<&FileBody>) -> Vec<RangeDiff> {
    let nothing = FileBody::default();
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    let mut ranges: Vec<RangeDiff> = Vec::new();
    for change in before.map.diff(&after.map) {
        let offset = change.key.saturating_mul(BLOCK);
        if offset >= after.size {
            continue;
        }
        let length = BLOCK.min(after.size - offset);
        let kind = match (change.before, change.after) {
            (_, None) => RangeKind::Hole,
            (None, Some(_)) if offset >= before.size => RangeKind::Extended,
            _ => RangeKind::Changed,
        };
        match ranges.last_mut() {
            Some(last) if last.kind == kind && last.offset + last.length == offset => {
                last.length += length
            }
            _ => ranges.push(RangeDiff {
                offset,
                length,
                kind,
            }),
        }
    }
    ranges
}

/// The number of blocks whose version differs, those cut off by a shorter size among them.
#[must_use]
pub fn blocks_changed(before: Option<&FileBody>, after: Option<&FileBody>) -> u64 {
    let nothing = FileBody::default();
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    before.map.diff(&after.map).count() as u64
}
