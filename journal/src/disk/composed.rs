//! What a disk does in several steps, each a call of its own: the bodies that [`Disk`] and [`DiskFile`] give, said once, for the traits
//! and for the layers over disks.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::{Disk, DiskFile, temporary_of};

pub(super) fn create_prepared<D: Disk + ?Sized>(
    disk: &D,
    path: &str,
    len: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path, len)?;
    let zeros = vec![0u8; usize::try_from(len.min(1 << 20)).unwrap_or(1 << 20)];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at)
            .unwrap_or(usize::MAX)
            .min(zeros.len());
        file.write_at(&[IoSlice::new(&zeros[..part])], at)?;
        at += part as u64;
    }
    file.sync_data()?;
    Ok(file)
}

pub(super) fn read_small<D: Disk + ?Sized>(
    disk: &D,
    path: &str,
    limit: u64,
) -> io::Result<Vec<u8>> {
    let file = disk.open_read(path)?;
    let len = file.len()?;
    if len > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{path} has {len} bytes, at most {limit} were expected"),
        ));
    }
    let mut bytes = vec![0u8; usize::try_from(len).map_err(io::Error::other)?];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

pub(super) fn write_small<D: Disk + ?Sized>(disk: &D, path: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_of(path);
    disk.prepare_small(path, bytes)?.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))
}

pub(super) fn prepare_small<D: Disk + ?Sized>(
    disk: &D,
    path: &str,
    bytes: &[u8],
) -> io::Result<Arc<dyn DiskFile>> {
    let temporary = temporary_of(path);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary, bytes.len() as u64)?;
    file.write_at(&[IoSlice::new(bytes)], 0)?;
    Ok(file)
}

pub(super) fn is_empty<F: DiskFile + ?Sized>(file: &F) -> io::Result<bool> {
    Ok(file.len()? == 0)
}
