//! Paths of inodes, remembered: what a listing of many files of one tree needs.

use std::collections::HashMap;
use std::fmt::Write as _;
use strand_engine::{Bytes, Fileset, Ino};

/// Directories asked this often get a reverse table instead of another search.
const SEARCHES_BEFORE_TABLE: u32 = 2;
/// No sound tree has a longer path, in bytes: a cycle in a damaged one ends here.
const MAX_PATH: usize = 1 << 20;

/// Finds paths in one tree. Asking for many files of a directory costs one pass over it, not one each.
pub struct Paths {
    tree: Fileset,
    directories: HashMap<Ino, Option<Vec<u8>>>,
    searched: HashMap<Ino, u32>,
    tables: HashMap<Ino, HashMap<Ino, Bytes>>,
    everywhere: Option<HashMap<Ino, (Ino, Bytes)>>,
}

impl Paths {
    /// Over a tree (a root pointer, cheap to hold).
    #[must_use]
    pub fn new(tree: Fileset) -> Self {
        Self {
            tree,
            directories: HashMap::new(),
            searched: HashMap::new(),
            tables: HashMap::new(),
            everywhere: None,
        }
    }

    /// One path of `ino`, without a leading `/`; the root directory's is empty. `None` where it has no name.
    pub fn path(&mut self, ino: Ino) -> Option<Vec<u8>> {
        if ino == self.tree.root {
            return Some(Vec::new());
        }
        let (directory, name) = self.entry(ino)?;
        self.join(directory, &name)
    }

    /// The path of the entry `name` in `directory`.
    pub fn join(&mut self, directory: Ino, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.directory(directory)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(path)
    }

    fn directory(&mut self, directory: Ino) -> Option<Vec<u8>> {
        let mut climbed: Vec<(Ino, Bytes)> = Vec::new();
        let mut length = 0;
        let mut at = directory;
        let mut path = loop {
            if at == self.tree.root {
                break Vec::new();
            }
            if let Some(known) = self.directories.get(&at) {
                break known.clone()?;
            }
            let found = self.entry(at).filter(|(_, name)| {
                length += name.len() + 1;
                length <= MAX_PATH
            });
            let Some((parent, name)) = found else {
                self.directories.insert(directory, None);
                return None;
            };
            climbed.push((at, name));
            at = parent;
        };
        for (ino, name) in climbed.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.directories.insert(ino, Some(path.clone()));
        }
        Some(path)
    }

    /// The directory and name of an inode. Its parent link says where to look; a hard link whose last-made name is
    /// gone needs a walk of the whole tree, done once.
    fn entry(&mut self, ino: Ino) -> Option<(Ino, Bytes)> {
        let inode = self.tree.inode(ino)?.clone();
        let parent = inode.parent;
        if let Some(name) = self.name_in(parent, ino) {
            return Some((parent, name));
        }
        if inode.is_dir() || inode.nlink == 0 || self.tree.orphans.contains(&ino) {
            return None;
        }
        let tree = &self.tree;
        self.everywhere
            .get_or_insert_with(|| all_links(tree))
            .get(&ino)
            .cloned()
    }

    fn name_in(&mut self, directory: Ino, ino: Ino) -> Option<Bytes> {
        if let Some(table) = self.tables.get(&directory) {
            return table.get(&ino).cloned();
        }
        let names = self.tree.inode(directory)?.names()?;
        let searched = self.searched.entry(directory).or_default();
        *searched += 1;
        if *searched <= SEARCHES_BEFORE_TABLE {
            return names
                .iter()
                .find(|(_, child)| **child == ino)
                .map(|(name, _)| name.clone());
        }
        let table: HashMap<Ino, Bytes> = names
            .iter()
            .map(|(name, child)| (*child, name.clone()))
            .collect();
        let found = table.get(&ino).cloned();
        self.tables.insert(directory, table);
        found
    }
}

fn all_links(tree: &Fileset) -> HashMap<Ino, (Ino, Bytes)> {
    let mut links = HashMap::new();
    for (directory, inode) in &tree.inodes {
        for (name, child) in inode.names().into_iter().flatten() {
            links
                .entry(*child)
                .or_insert_with(|| (Ino(directory), name.clone()));
        }
    }
    links
}

/// A path or file name as text: UTF-8 as it is, anything else and control characters as `\xNN`, a backslash doubled, so that
/// two different names never look the same.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        push_hex(&mut out, byte);
                    }
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, *byte);
        }
    }
    out
}

fn push_hex(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\x{byte:02x}");
}

/// Serializes bytes as [`text`].
pub(crate) fn as_text<S: serde::Serializer>(
    bytes: &[u8],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(bytes))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn no_two_names_look_the_same() {
        assert_eq!(text("plain/größe".as_bytes()), "plain/größe");
        assert_eq!(text(b"\xff\n"), "\\xff\\x0a");
        assert_eq!(text(b"\\xff"), "\\\\xff");
    }
}
