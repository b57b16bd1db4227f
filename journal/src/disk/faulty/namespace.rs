//! The names of the faulty disk: as they are now, as they were synced, and the changes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::memory::name_in;
use super::seed::Seed;

#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    now: Names,
    synced: Names,
    /// In order, each with the directory it happened in.
    unsynced: Vec<(String, Change)>,
}

#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<String, usize>,
    dirs: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
    Dir(String),
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Names {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link(path, id) => {
                self.files.insert(path.clone(), *id);
            }
            Change::Unlink(path) => {
                self.files.remove(path);
            }
            Change::Rename(from, to) => {
                if let Some(id) = self.files.remove(from) {
                    self.files.insert(to.clone(), id);
                }
            }
            Change::Dir(path) => {
                self.dirs.insert(path.clone());
            }
        }
    }

    fn has_dir(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }
}

impl Namespace {
    pub(super) fn file(&self, path: &str) -> Option<usize> {
        self.now.files.get(path).copied()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.now.files.keys().cloned().collect()
    }

    pub(super) fn list(&self, dir: &str) -> Option<Vec<String>> {
        if !self.now.has_dir(dir) {
            return None;
        }
        let paths = self.now.files.keys().chain(&self.now.dirs);
        let mut names: Vec<String> = paths.filter_map(|path| name_in(path, dir)).collect();
        names.sort_unstable();
        Some(names)
    }

    fn change(&mut self, dir: &str, change: Change) {
        self.now.apply(&change);
        self.unsynced.push((dir.to_owned(), change));
    }

    pub(super) fn link(&mut self, path: &str, id: usize) -> io::Result<()> {
        let dir = parent(path);
        if !self.now.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(dir, Change::Link(path.to_owned(), id));
        Ok(())
    }

    pub(super) fn link_durably(&mut self, path: &str, id: usize) {
        let dir = parent(path);
        for names in [&mut self.now, &mut self.synced] {
            if !dir.is_empty() {
                names.dirs.insert(dir.to_owned());
            }
            names.files.insert(path.to_owned(), id);
        }
    }

    pub(super) fn unlink(&mut self, path: &str) -> io::Result<()> {
        if self.file(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(parent(path), Change::Unlink(path.to_owned()));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.file(from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        if parent(from) != parent(to) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.change(parent(from), Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn make_dir(&mut self, path: &str) {
        if !self.now.dirs.contains(path) {
            self.change(parent(path), Change::Dir(path.to_owned()));
        }
    }

    pub(super) fn sync(&mut self, dir: &str) {
        let (mine, others) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|(of, _)| of == dir);
        self.unsynced = others;
        let mine: Vec<(String, Change)> = mine;
        for (_, change) in &mine {
            self.synced.apply(change);
        }
    }

    /// What a power loss leaves: of each directory's changes a prefix; nothing below a directory that is gone.
    pub(super) fn crash(&self, seed: &mut Seed) -> Namespace {
        let mut names = self.synced.clone();
        let dirs: BTreeSet<&str> = self.unsynced.iter().map(|(dir, _)| dir.as_str()).collect();
        for dir in dirs {
            let mine: Vec<&Change> = self
                .unsynced
                .iter()
                .filter(|(of, _)| of == dir)
                .map(|(_, change)| change)
                .collect();
            let kept = seed.below(mine.len() as u64 + 1) as usize;
            mine[..kept].iter().for_each(|change| names.apply(change));
        }
        let dirs = names.dirs.clone();
        names
            .files
            .retain(|path, _| parent(path).is_empty() || dirs.contains(parent(path)));
        Namespace {
            now: names.clone(),
            synced: names,
            unsynced: Vec::new(),
        }
    }
}
