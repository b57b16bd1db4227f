//! What stands in the way of a mount, each with what to do about it.

use super::MountRequest;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use strand_engine::{Kind, Refusal};

/// A mount point must be a directory, empty, outside the store, and not above it. Gives its path without links.
pub(super) fn look(request: &MountRequest, store: Option<&Path>) -> Result<PathBuf, Refusal> {
    let shown = request.path.display();
    let cannot = |kind| Refusal::new(kind, format!("cannot mount {} at {shown}", request.label));
    let metadata = request
        .at
        .metadata()
        .map_err(|e| cannot(Kind::Io).why(e.to_string()))?;
    if !metadata.is_dir() {
        return Err(cannot(Kind::NotADirectory)
            .why("it is not a directory")
            .next("give an empty directory: mkdir one"));
    }
    if request.uid != 0 && metadata.uid() != request.uid {
        return Err(cannot(Kind::Permission)
            .why("the directory belongs to another user")
            .next("give a directory of your own: mkdir one"));
    }
    let path = path_of(&request.at).map_err(|e| cannot(Kind::Io).why(e.to_string()))?;
    if let Some(store) = store {
        if path.starts_with(store) {
            return Err(cannot(Kind::Invalid)
                .why("it lies inside the store's own directory")
                .next("mount it anywhere else"));
        }
        if store.starts_with(&path) {
            return Err(cannot(Kind::Invalid)
                .why("the store lies under it, and would be hidden by its own mount")
                .next("mount it anywhere else"));
        }
    }
    let mut entries = std::fs::read_dir(format!("/proc/self/fd/{}", request.at.as_raw_fd()))
        .map_err(|e| cannot(Kind::Io).why(e.to_string()))?;
    if entries.next().is_some() {
        return Err(cannot(Kind::NotEmpty)
            .why("the directory is not empty, and its files would be hidden")
            .next("give an empty directory: mkdir one"));
    }
    Ok(path)
}

fn path_of(at: &File) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", at.as_raw_fd()))
}

/// Something of this store is mounted there already.
pub(super) fn taken(path: &Path) -> Refusal {
    Refusal::new(Kind::Busy, format!("cannot mount at {}", path.display()))
        .why("something of this store is mounted there")
        .next("unmount it first: strand umount DIR")
}
