//! The real disk: a directory of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use super::bulk::{Buffer, BulkWriter};
use super::{Disk, DiskFile, Lock, LockError, file_lock};

/// Most parts handed to the kernel in one call (IOV_MAX on Linux).
const MAX_PARTS: usize = 1024;

/// Longest run of memory that the page cache holds as one.
const LARGE_PAGE: u64 = 2 << 20;

/// Free bytes of the host that are taken for its own bookkeeping.
const FILE_SYSTEM_BYTES: u64 = 1 << 20;

/// A store's directory in a real file system.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    buffer: Buffer,
}

impl FileDisk {
    /// An existing directory.
    ///
    /// # Errors
    /// If it is not there or no directory.
    pub fn open(root: impl AsRef<Path>) -> io::Result<FileDisk> {
        let root = root.as_ref();
        if !fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(FileDisk {
            root: root.to_path_buf(),
            buffer: Buffer::default(),
        })
    }

    /// A directory, made (mode 0700, its parent synced) where it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(root: impl AsRef<Path>) -> io::Result<FileDisk> {
        let root = root.as_ref();
        match fs::DirBuilder::new().mode(0o700).create(root) {
            Ok(()) => {
                let parent = root.parent().filter(|p| !p.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        FileDisk::open(root)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.root.clone()
        } else {
            self.root.join(path)
        }
    }
}

impl Disk for FileDisk {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let full = self.path(path);
        // Others may pass through the directory of a store that is served: what lies in it is the owner's alone.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&full)?;
        if let Err(error) = allocate(&file, len) {
            fs::remove_file(&full)?;
            return Err(error);
        }
        Ok(Arc::new(OsFile::writable(
            file,
            self.path(path),
            self.buffer.clone(),
        )))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(path))?;
        Ok(Arc::new(OsFile::writable(
            file,
            self.path(path),
            self.buffer.clone(),
        )))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile {
            file: File::open(self.path(path))?,
            bulk: None,
        }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            // Names that are not UTF-8 are none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(self.path(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // What the file system needs for itself, to hold that much: names, extents, its own journal.
        Ok(free.saturating_sub(FILE_SYSTEM_BYTES + free / 64))
    }

    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        file_lock::exclusive(&self.root.join("lock"), timeout)
    }

    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        file_lock::shared(&self.root.join("lock"), timeout)
    }

    fn background(&self) -> bool {
        true
    }
}

/// Allocates `len` bytes; where the file system cannot, writes them.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0u8; 1 << 20];
            let mut at = file.metadata()?.len();
            while at < len {
                let part = usize::try_from(len - at)
                    .unwrap_or(usize::MAX)
                    .min(zeros.len());
                file.write_all_at(&zeros[..part], at)?;
                at += part as u64;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

#[derive(Debug)]
struct OsFile {
    file: File,
    bulk: Option<BulkWriter>,
}

impl OsFile {
    fn writable(file: File, path: PathBuf, buffer: Buffer) -> OsFile {
        OsFile {
            file,
            bulk: Some(BulkWriter::new(path, buffer)),
        }
    }
}

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // Dirty pages go out first, so that all pages are clean and the kernel can let them go; those that it wrongly
        // holds for clean go too, and the medium answers.
        self.file.sync_data()?;
        let whole = offset & !4095;
        let len = NonZeroU64::new(buf.len() as u64 + (offset - whole));
        rustix::fs::fadvise(&self.file, whole, len, Advice::DontNeed)?;
        self.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        if let Some(bulk) = &self.bulk
            && bulk.write(&self.file, parts, offset)?
        {
            return Ok(());
        }
        let mut at = offset;
        for chunk in parts.chunks(MAX_PARTS) {
            let len: usize = chunk.iter().map(|part| part.len()).sum();
            let mut done = loop {
                match rustix::io::pwritev(&self.file, chunk, at) {
                    Ok(done) => break done,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            };
            if done < len {
                // A short write is rare (a signal, a full disk): the rest goes part by part.
                let mut rest_at = at + done as u64;
                for part in chunk {
                    let skip = done.min(part.len());
                    done -= skip;
                    self.file.write_all_at(&part[skip..], rest_at)?;
                    rest_at += (part.len() - skip) as u64;
                }
            }
            at += len as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        allocate(&self.file, len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(Errno::NXIO) => Ok(None),
            // Not every file system knows; then everything may be data.
            Err(_) => Ok(Some(offset)),
        }
    }

    fn advise_willneed(&self, offset: u64, len: u64) {
        // Only advice: a failure changes nothing.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn advise_sequential(&self) {
        // Only advice: a failure changes nothing.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Sequential);
    }

    fn advise_unneeded(&self, offset: u64) {
        // The kernel lets go of whole pages only, and its large pages are up to this long.
        let whole = offset - offset % LARGE_PAGE;
        // Only advice: a failure changes nothing.
        let _ = rustix::fs::fadvise(&self.file, whole, None, Advice::DontNeed);
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, len)?)
    }
}
