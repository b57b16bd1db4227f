use super::*;
use crate::disk::MemoryDisk;
use std::sync::Mutex;

/// What was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Writes down what it is asked, and answers every question differently. It takes no body of the traits.
#[derive(Debug)]
struct Noting(MemoryDisk, Asked);

#[derive(Debug)]
struct NotingFile(Asked);

impl Noting {
    fn note(&self, what: &str) -> io::Result<()> {
        self.1.lock().unwrap().push(what.to_owned());
        Ok(())
    }

    fn file(&self, what: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.note(what)?;
        Ok(Arc::new(NotingFile(Arc::clone(&self.1))))
    }
}

#[deny(clippy::missing_trait_methods)]
impl Disk for Noting {
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.file(&format!("create {path} {len}"))
    }
    fn create_prepared(&self, path: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.file(&format!("create_prepared {path} {len}"))
    }
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(&format!("open {path}"))
    }
    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(&format!("open_read {path}"))
    }
    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.note(&format!("list {dir}"))?;
        Ok(vec!["listed".to_owned()])
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.note(&format!("remove {path}"))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note(&format!("rename {from} {to}"))
    }
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.note(&format!("create_dir {path}"))
    }
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.note(&format!("sync_dir {path}"))
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.note("free_bytes")?;
        Ok(77)
    }
    fn lock_exclusive(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.note("lock_exclusive").map_err(LockError::Io)?;
        self.0.lock_exclusive(timeout)
    }
    fn lock_shared(&self, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
        self.note("lock_shared").map_err(LockError::Io)?;
        self.0.lock_shared(timeout)
    }
    fn background(&self) -> bool {
        true
    }
    fn read_small(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.note(&format!("read_small {path} {limit}"))?;
        Ok(Vec::new())
    }
    fn write_small(&self, path: &str, _bytes: &[u8]) -> io::Result<()> {
        self.note(&format!("write_small {path}"))
    }
    fn prepare_small(&self, path: &str, _bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        self.file(&format!("prepare_small {path}"))
    }
}

impl NotingFile {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

#[deny(clippy::missing_trait_methods)]
impl DiskFile for NotingFile {
    fn len(&self) -> io::Result<u64> {
        self.note("len");
        Ok(5)
    }
    fn is_empty(&self) -> io::Result<bool> {
        self.note("is_empty");
        Ok(false)
    }
    fn read_at(&self, _buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.note(&format!("read_at {offset}"));
        Ok(3)
    }
    fn read_direct(&self, _buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.note(&format!("read_direct {offset}"));
        Ok(4)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.note(&format!("write_at {} {offset}", parts.len()));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.note("sync_data");
        Ok(())
    }
    fn extend(&self, len: u64) -> io::Result<()> {
        self.note(&format!("extend {len}"));
        Ok(())
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.note(&format!("next_data {offset}"));
        Ok(None)
    }
    fn advise_willneed(&self, offset: u64, len: u64) {
        self.note(&format!("advise_willneed {offset} {len}"));
    }
    fn advise_sequential(&self) {
        self.note("advise_sequential");
    }
    fn advise_unneeded(&self, offset: u64) {
        self.note(&format!("advise_unneeded {offset}"));
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.note(&format!("punch {offset} {len}"));
        Ok(())
    }
}

/// Changes nothing; without a disk beneath it answers nothing.
#[derive(Debug)]
struct Plain(Option<Noting>);

#[derive(Debug)]
struct PlainFile(Option<Arc<dyn DiskFile>>);

impl LayeredDisk for Plain {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        match &self.0 {
            Some(disk) => Ok(disk),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(PlainFile(Some(file)))
    }
}

impl LayeredFile for PlainFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        match &self.0 {
            Some(file) => Ok(&**file),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn layer() -> (Arc<dyn Disk>, Asked) {
    let asked = Asked::default();
    let noting = Noting(MemoryDisk::new(), Arc::clone(&asked));
    (Arc::new(Plain(Some(noting))), asked)
}

fn taken(asked: &Asked) -> Vec<String> {
    std::mem::take(&mut *asked.lock().unwrap())
}

#[test]
fn a_layer_that_changes_nothing_asks_the_disk_beneath_the_same() {
    let (disk, asked) = layer();
    disk.create("a", 9).unwrap();
    disk.open("b").unwrap();
    disk.open_read("c").unwrap();
    assert_eq!(disk.list("d").unwrap(), ["listed"]);
    disk.remove("e").unwrap();
    disk.rename("f", "g").unwrap();
    disk.create_dir("h").unwrap();
    disk.sync_dir("i").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 77);
    assert!(disk.background());
    drop(disk.lock_shared(Duration::ZERO).unwrap());
    let held = disk.lock_exclusive(Duration::ZERO).unwrap();
    let second = disk.lock_shared(Duration::ZERO).unwrap_err();
    assert!(matches!(second, LockError::Held(_)), "{second:?}");
    drop(held);
    let wanted = [
        "create a 9",
        "open b",
        "open_read c",
        "list d",
        "remove e",
        "rename f g",
        "create_dir h",
        "sync_dir i",
        "free_bytes",
        "lock_shared",
        "lock_exclusive",
        "lock_shared",
    ];
    assert_eq!(taken(&asked), wanted);
}

#[test]
fn a_file_of_a_layer_asks_the_file_beneath_the_same() {
    let (disk, asked) = layer();
    let file = disk.open("a").unwrap();
    taken(&asked);
    let mut buf = [0; 8];
    assert_eq!(file.len().unwrap(), 5);
    assert_eq!(file.read_at(&mut buf, 1).unwrap(), 3);
    assert_eq!(file.read_direct(&mut buf, 2).unwrap(), 4);
    let parts = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    file.write_at(&parts, 3).unwrap();
    file.sync_data().unwrap();
    file.extend(4).unwrap();
    assert_eq!(file.next_data(5).unwrap(), None);
    file.advise_willneed(6, 60);
    file.advise_unneeded(7);
    file.punch(8, 80).unwrap();
    assert!(!file.is_empty().unwrap());
    let wanted = [
        "len",
        "read_at 1",
        "read_direct 2",
        "write_at 2 3",
        "sync_data",
        "extend 4",
        "next_data 5",
        "advise_willneed 6 60",
        "advise_unneeded 7",
        "punch 8 80",
        "len",
    ];
    assert_eq!(taken(&asked), wanted);
}

/// Else a layer that refuses the second flush, say, would not see those of a small file.
#[test]
fn what_is_done_in_steps_passes_through_the_layer_step_by_step() {
    let (disk, asked) = layer();
    disk.create_prepared("a", (1 << 20) + 1).unwrap();
    let wanted = [
        "create a 1048577",
        "write_at 1 0",
        "write_at 1 1048576",
        "sync_data",
    ];
    assert_eq!(taken(&asked), wanted);
    disk.write_small("d/b", b"bytes").unwrap();
    let wanted = [
        "remove d/b.tmp",
        "create d/b.tmp 5",
        "write_at 1 0",
        "sync_data",
        "rename d/b.tmp d/b",
        "sync_dir d",
    ];
    assert_eq!(taken(&asked), wanted);
    assert_eq!(disk.read_small("c", 5).unwrap(), [0; 3]);
    assert_eq!(taken(&asked), ["open_read c", "len", "read_at 0"]);
    disk.read_small("c", 4).unwrap_err();
}

#[test]
fn a_layer_without_a_disk_answers_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(Plain(None));
    let gone = |error: io::Error| assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    gone(disk.create("a", 1).unwrap_err());
    gone(disk.remove("a").unwrap_err());
    gone(disk.write_small("a", b"x").unwrap_err());
    match disk.lock_exclusive(Duration::ZERO).unwrap_err() {
        LockError::Io(error) => gone(error),
        LockError::Held(holder) => panic!("{holder:?}"),
    }
    assert!(!disk.background());
    let file: Arc<dyn DiskFile> = Arc::new(PlainFile(None));
    gone(file.len().unwrap_err());
    gone(file.next_data(0).unwrap_err());
    file.advise_willneed(0, 1);
    file.advise_unneeded(0);
}
