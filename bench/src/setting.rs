//! Where and how much is measured.

use crate::Failure;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The setting of a run.
pub(crate) struct Setting {
    /// A tenth of the data, for a first look.
    pub(crate) quick: bool,
    /// Ten minutes instead of two, where something has to stay as it is over time.
    pub(crate) soak: bool,
    root: TempDir,
}

impl Setting {
    /// Takes a temporary directory beside the build (a real disk; the system's one may be in memory), or `$TMPDIR` where that is set.
    pub(crate) fn new(quick: bool, soak: bool) -> Result<Self, Failure> {
        let beside = std::env::current_exe()?;
        let root = match std::env::var_os("TMPDIR") {
            Some(dir) => PathBuf::from(dir),
            None => beside.parent().unwrap_or(Path::new(".")).to_owned(),
        };
        let root = tempfile::Builder::new().prefix("bench-").tempdir_in(root)?;
        Ok(Self { quick, soak, root })
    }

    /// The first number, or the second where the run is quick.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The directory that everything is made in.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A new directory, removed when it is dropped.
    pub(crate) fn dir(&self) -> Result<TempDir, Failure> {
        Ok(tempfile::tempdir_in(self.root.path())?)
    }
}
