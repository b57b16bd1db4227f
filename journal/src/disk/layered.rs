//! Disks over other disks: one writes down what it changes, and all else goes to the disk beneath.
//!
//! [`LayeredDisk`] and [`LayeredFile`] have the methods of [`Disk`] and [`DiskFile`] that only a disk can answer, each with a body that
//! asks beneath. What is a [`LayeredDisk`] is a [`Disk`]. Not forwarded is what these traits put together themselves, as
//! [`Disk::write_small`]: its steps go through the layer one by one, so that a layer that counts or refuses a step counts and refuses
//! it there as well. Of those a layer may change [`LayeredDisk::create_prepared`].
//!
//! **A method that [`Disk`] or [`DiskFile`] gets later cannot be forgotten here.** One without a body does not compile before it stands in
//! the two implementations below; one with a body is found by clippy, which denies these two (`missing_trait_methods`) to take a
//! trait's body unseen. So each is decided once, for all layers: forwarded, or put together anew.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use super::{Disk, DiskFile, Lock, LockError, composed};

/// A disk over another. Methods of which no more is said are those of [`Disk`], asked beneath, errors and all.
pub trait LayeredDisk: Send + Sync + Debug {
    /// The disk beneath.
    ///
    /// # Errors
    /// Of a disk that answers nothing more: then every method that is not the layer's own says this.
    fn beneath(&self) -> io::Result<&dyn Disk>;

    /// What is handed up for a file that the disk beneath made or opened.
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        file
    }

    /// [`Disk::create`]; the file passes through [`LayeredDisk::file`].
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.beneath()?.create(path, len)?))
    }

    /// [`Disk::create_prepared`], in the steps that it is put together of: each goes through the layer.
    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>
    where
        Self: Sized,
    {
        composed::create_prepared(self, path, len)
    }

    /// [`Disk::open`]; the file passes through [`LayeredDisk::file`].
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.beneath()?.open(path)?))
    }

    /// [`Disk::open_read`]; the file passes through [`LayeredDisk::file`].
    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.beneath()?.open_read(path)?))
    }

    /// [`Disk::list`].
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.beneath()?.list(dir)
    }

    /// [`Disk::remove`].
    fn remove(&self, path: &str) -> io::Result<()> {
        self.beneath()?.remove(path)
    }

    /// [`Disk::rename`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath()?.rename(from, to)
    }

    /// [`Disk::create_dir`].
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.beneath()?.create_dir(path)
    }

    /// [`Disk::sync_dir`].
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.beneath()?.sync_dir(path)
    }

    /// [`Disk::free_bytes`].
    fn free_bytes(&self) -> io::Result<u64> {
        self.beneath()?.free_bytes()
    }

    /// [`Disk::lock_exclusive`].
    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        let beneath = self.beneath().map_err(LockError::Io)?;
        beneath.lock_exclusive(timeout)
    }

    /// [`Disk::lock_shared`].
    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        let beneath = self.beneath().map_err(LockError::Io)?;
        beneath.lock_shared(timeout)
    }

    /// [`Disk::background`].
    fn background(&self) -> bool {
        self.beneath().is_ok_and(Disk::background)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<L: LayeredDisk> Disk for L {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        LayeredDisk::create(self, path, len)
    }

    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        LayeredDisk::create_prepared(self, path, len)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        LayeredDisk::open(self, path)
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        LayeredDisk::open_read(self, path)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        LayeredDisk::list(self, dir)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        LayeredDisk::remove(self, path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        LayeredDisk::rename(self, from, to)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        LayeredDisk::create_dir(self, path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        LayeredDisk::sync_dir(self, path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        LayeredDisk::free_bytes(self)
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        LayeredDisk::lock_exclusive(self, timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        LayeredDisk::lock_shared(self, timeout)
    }

    fn background(&self) -> bool {
        LayeredDisk::background(self)
    }

    fn read_small(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        composed::read_small(self, path, limit)
    }

    fn write_small(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        composed::write_small(self, path, bytes)
    }

    fn prepare_small(&self, path: &str, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        composed::prepare_small(self, path, bytes)
    }
}

/// An open file over another. Methods of which no more is said are those of [`DiskFile`], asked beneath, errors and all.
#[allow(clippy::len_without_is_empty)] // it is [`DiskFile`] that has it, put together of this
pub trait LayeredFile: Send + Sync + Debug {
    /// The file beneath.
    ///
    /// # Errors
    /// As for [`LayeredDisk::beneath`].
    fn beneath(&self) -> io::Result<&dyn DiskFile>;

    /// [`DiskFile::len`].
    fn len(&self) -> io::Result<u64> {
        self.beneath()?.len()
    }

    /// [`DiskFile::read_at`].
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.beneath()?.read_at(buf, offset)
    }

    /// [`DiskFile::read_direct`].
    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.beneath()?.read_direct(buf, offset)
    }

    /// [`DiskFile::write_at`].
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.beneath()?.write_at(parts, offset)
    }

    /// [`DiskFile::sync_data`].
    fn sync_data(&self) -> io::Result<()> {
        self.beneath()?.sync_data()
    }

    /// [`DiskFile::extend`].
    fn extend(&self, len: u64) -> io::Result<()> {
        self.beneath()?.extend(len)
    }

    /// [`DiskFile::next_data`].
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.beneath()?.next_data(offset)
    }

    /// [`DiskFile::advise_willneed`].
    fn advise_willneed(&self, offset: u64, len: u64) {
        if let Ok(beneath) = self.beneath() {
            beneath.advise_willneed(offset, len);
        }
    }

    /// [`DiskFile::advise_sequential`].
    fn advise_sequential(&self) {
        if let Ok(beneath) = self.beneath() {
            beneath.advise_sequential();
        }
    }

    /// [`DiskFile::advise_unneeded`].
    fn advise_unneeded(&self, offset: u64) {
        if let Ok(beneath) = self.beneath() {
            beneath.advise_unneeded(offset);
        }
    }

    /// [`DiskFile::punch`].
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.beneath()?.punch(offset, len)
    }
}

#[deny(clippy::missing_trait_methods)]
impl<L: LayeredFile> DiskFile for L {
    fn len(&self) -> io::Result<u64> {
        LayeredFile::len(self)
    }

    fn is_empty(&self) -> io::Result<bool> {
        composed::is_empty(self)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        LayeredFile::read_at(self, buf, offset)
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        LayeredFile::read_direct(self, buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        LayeredFile::write_at(self, parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        LayeredFile::sync_data(self)
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        LayeredFile::extend(self, len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        LayeredFile::next_data(self, offset)
    }

    fn advise_willneed(&self, offset: u64, len: u64) {
        LayeredFile::advise_willneed(self, offset, len);
    }

    fn advise_sequential(&self) {
        LayeredFile::advise_sequential(self);
    }

    fn advise_unneeded(&self, offset: u64) {
        LayeredFile::advise_unneeded(self, offset);
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        LayeredFile::punch(self, offset, len)
    }
}

#[cfg(test)]
mod tests;
