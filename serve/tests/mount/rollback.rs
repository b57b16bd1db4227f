//! A volume goes back while it is mounted: nobody sees what was, and nobody writes over what is.

use crate::setting::{Setting, me, setting, setting_with};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use strand_engine::{Command, Grade, Kind, Source};
use strand_serve::{Force, LiveOptions};

fn checkpoint(s: &Setting, name: &str) -> Source {
    let command = Command::CheckpointCreate {
        name: Some(name.into()),
        volumes: vec![s.volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    s.live().run(&me(), command, Force::No).unwrap();
    let state = s.live().store().state();
    Source::Checkpoint(s.volume, state.checkpoint_named(name).unwrap().id)
}

fn back(s: &Setting, source: Source) -> Command {
    Command::Rollback {
        volume: s.volume,
        source,
        only: false,
    }
}

/// A shared mapping of one page; unmapped at the end.
struct Page(*mut u8);

#[allow(unsafe_code)] // a mapping cannot be had otherwise
impl Page {
    fn of(file: &File) -> Self {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let file = file.as_raw_fd();
        // SAFETY: a fresh mapping of a file that is at least a page long and is not truncated while it is mapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                protection,
                libc::MAP_SHARED,
                file,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        Self(at.cast())
    }

    fn get(&self, at: usize) -> u8 {
        assert!(at < 4096);
        // SAFETY: inside the mapping.
        unsafe { self.0.add(at).read_volatile() }
    }

    fn set(&self, at: usize, byte: u8) {
        assert!(at < 4096);
        // SAFETY: inside the mapping, which is writable.
        unsafe { self.0.add(at).write_volatile(byte) }
    }

    fn sync(&self) -> std::io::Result<()> {
        // SAFETY: the mapping, whole.
        match unsafe { libc::msync(self.0.cast(), 4096, libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

#[allow(unsafe_code)]
impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping, whole, and nobody has it any more.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

#[test]
fn after_a_rollback_names_content_and_attributes_are_those_of_the_image() {
    goes_back_and_forth(LiveOptions::default());
}

#[test]
fn so_they_are_where_the_kernel_cannot_drop_all_names_at_once() {
    goes_back_and_forth(LiveOptions {
        names_one_by_one: true,
        ..LiveOptions::default()
    });
}

fn goes_back_and_forth(options: LiveOptions) {
    let Some(s) = setting_with(options) else {
        return;
    };
    fs::create_dir(s.at.join("dir")).unwrap();
    fs::write(s.at.join("dir/kept"), vec![1; 300_000]).unwrap();
    fs::write(s.at.join("removed"), b"here").unwrap();
    let image = checkpoint(&s, "c");
    let reader = File::open(s.at.join("dir/kept")).unwrap();
    fs::write(s.at.join("dir/kept"), vec![2; 10]).unwrap();
    fs::remove_file(s.at.join("removed")).unwrap();
    fs::write(s.at.join("new"), b"new").unwrap();
    fs::rename(s.at.join("dir"), s.at.join("renamed")).unwrap();
    // All of it is in the kernel's caches, what is not there too.
    assert_eq!(fs::read(s.at.join("renamed/kept")).unwrap(), [2; 10]);
    assert!(!s.at.join("removed").exists() && !s.at.join("dir").exists());
    let gone = File::open(s.at.join("new")).unwrap();

    s.live().run(&me(), back(&s, image), Force::No).unwrap();
    assert!(fs::read(s.at.join("dir/kept")).unwrap() == vec![1; 300_000]);
    assert_eq!(fs::metadata(s.at.join("dir/kept")).unwrap().len(), 300_000);
    assert_eq!(fs::read(s.at.join("removed")).unwrap(), b"here");
    assert!(!s.at.join("new").exists() && !s.at.join("renamed").exists());
    let mut names: Vec<_> = fs::read_dir(&s.at)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["dir", "removed"]);
    // A handle for reading follows its file, or says that it is gone.
    let mut byte = [0; 1];
    reader.read_exact_at(&mut byte, 200_000).unwrap();
    assert_eq!(byte, [1]);
    let error = gone.read_at(&mut byte, 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESTALE));

    // And again forth.
    let undo = Command::Undo {
        volume: Some(s.volume),
    };
    s.live().run(&me(), undo, Force::No).unwrap();
    assert_eq!(fs::read(s.at.join("renamed/kept")).unwrap(), [2; 10]);
    assert_eq!(fs::read(s.at.join("new")).unwrap(), b"new");
    assert!(!s.at.join("dir").exists());
}

#[test]
fn a_file_open_for_writing_stands_in_the_way_and_is_named() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), b"before").unwrap();
    let image = checkpoint(&s, "c");
    fs::write(s.at.join("f"), b"after!").unwrap();
    let writer = File::options().write(true).open(s.at.join("f")).unwrap();
    let error = s.live().run(&me(), back(&s, image), Force::No).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    let refusal = error.refusal();
    assert_eq!(
        refusal.message,
        "cannot roll back pg: 1 file is open for writing"
    );
    let why = refusal.why.unwrap();
    assert!(
        why.ends_with(&format!("[{}] has f", std::process::id())),
        "{why}"
    );
    assert_eq!(
        refusal.next.as_deref(),
        Some("stop it, or add --force; strand status")
    );
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"after!");

    s.live().run(&me(), back(&s, image), Force::Yes).unwrap();
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"before");
    let stale = |outcome: std::io::Result<()>| {
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::ESTALE));
    };
    stale(writer.write_all_at(b"XX", 0));
    stale(writer.set_len(1));
    let mut reading = [0; 6];
    File::open(s.at.join("f"))
        .unwrap()
        .read_exact(&mut reading)
        .unwrap();
    assert_eq!(&reading, b"before");
    assert_eq!(s.stored("f").unwrap(), b"before");
    drop(writer);
    // Whoever opens it now writes.
    let mut fresh = File::options().append(true).open(s.at.join("f")).unwrap();
    fresh.write_all(b"+").unwrap();
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"before+");
}

#[test]
fn a_file_that_is_opened_past_the_cache_can_be_mapped() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), vec![b'a'; 4096]).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(s.at.join("f"))
        .unwrap();
    let page = Page::of(&file);
    page.set(0, b'b');
    page.sync().unwrap();
    assert_eq!(&s.stored("f").unwrap()[..2], b"ba");
}

#[test]
fn a_mapping_from_before_changes_nothing() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), vec![b'a'; 4096]).unwrap();
    let image = checkpoint(&s, "c");
    let file = File::options()
        .read(true)
        .write(true)
        .open(s.at.join("f"))
        .unwrap();
    let page = Page::of(&file);
    page.set(0, b'b');
    page.sync().unwrap();
    assert_eq!(s.stored("f").unwrap()[0], b'b');
    page.set(1, b'c'); // dirty, not synced
    s.live().run(&me(), back(&s, image), Force::Yes).unwrap();
    assert_eq!((page.get(0), page.get(1)), (b'a', b'a'));
    page.set(2, b'd');
    assert!(page.sync().is_err());
    drop(page);
    drop(file);
    assert!(s.stored("f").unwrap() == vec![b'a'; 4096]);
    assert!(fs::read(s.at.join("f")).unwrap() == vec![b'a'; 4096]);
}

#[test]
fn a_checkpoint_holds_what_was_written_through_a_mapping() {
    let Some(mut s) = setting() else { return };
    fs::write(s.at.join("f"), vec![b'a'; 8192]).unwrap();
    let file = File::options()
        .read(true)
        .write(true)
        .open(s.at.join("f"))
        .unwrap();
    let page = Page::of(&file);
    page.set(0, b'b');
    page.sync().unwrap();
    page.set(1, b'c'); // the kernel hands it over
    let image = checkpoint(&s, "c");
    page.set(0, b'z');
    page.sync().unwrap();
    let frozen = s.mount(image, "frozen");
    let content = fs::read(frozen.join("f")).unwrap();
    assert_eq!(&content[..3], b"bca");
    let error = fs::write(frozen.join("f"), b"no").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    // Whose bytes they were the kernel does not say: somebody who had the file open, and that is what is recorded.
    let state = s.live().store().state();
    let by_handle = state
        .actors
        .values()
        .filter(|actor| actor.grade == Grade::Handle);
    let by_handle: Vec<u32> = by_handle.map(|actor| actor.pid).collect();
    assert_eq!(by_handle, [std::process::id()]);
}

#[test]
fn files_go_back_alone_and_only_their_writers_are_in_the_way() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("a"), b"a1").unwrap();
    fs::write(s.at.join("b"), b"b1").unwrap();
    let source = checkpoint(&s, "c");
    let command = |path: &str| Command::RollbackFiles {
        volume: s.volume,
        source,
        paths: vec![path.as_bytes().into()],
        attributes: false,
        delete_new: false,
    };
    fs::write(s.at.join("a"), b"a2").unwrap();
    let mut b = File::options().append(true).open(s.at.join("b")).unwrap();
    b.write_all(b"b2").unwrap();
    s.live().run(&me(), command("a"), Force::No).unwrap();
    assert_eq!(fs::read(s.at.join("a")).unwrap(), b"a1");
    let error = s.live().run(&me(), command("b"), Force::No).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    b.write_all(b"b3").unwrap();
    s.live().run(&me(), command("b"), Force::Yes).unwrap();
    assert_eq!(fs::read(s.at.join("b")).unwrap(), b"b1");
    assert_eq!(
        b.write_all(b"b4").unwrap_err().raw_os_error(),
        Some(libc::ESTALE)
    );
}

#[test]
fn a_mounted_volume_is_not_removed() {
    let Some(s) = setting() else { return };
    let command = Command::VolumeRemove {
        volume: s.volume,
        with_checkpoints: true,
    };
    let error = s.live().run(&me(), command, Force::Yes).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.refusal().why.unwrap().contains("it is mounted at"));
    fs::write(s.at.join("f"), b"still here").unwrap();
}

#[test]
fn an_unlinked_file_that_is_open_ends_with_the_rollback() {
    let Some(s) = setting() else { return };
    let image = checkpoint(&s, "c");
    fs::write(s.at.join("f"), b"x").unwrap();
    let open = File::open(s.at.join("f")).unwrap();
    fs::remove_file(s.at.join("f")).unwrap();
    let mut byte = [0; 1];
    assert_eq!(open.read_at(&mut byte, 0).unwrap(), 1);
    s.live().run(&me(), back(&s, image), Force::No).unwrap();
    assert!(open.read_at(&mut byte, 0).is_err());
    drop(open);
    fs::write(s.at.join("f"), b"y").unwrap();
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"y");
}

#[test]
fn readers_that_race_with_rollbacks_leave_nothing_stale_behind() {
    let Some(s) = setting() else { return };
    let images: Vec<Source> = (0..4u8)
        .map(|i| {
            fs::write(s.at.join("f"), vec![i; 200_000 + usize::from(i)]).unwrap();
            fs::write(s.at.join(format!("only{i}")), [i]).unwrap();
            let image = checkpoint(&s, &format!("c{i}"));
            fs::remove_file(s.at.join(format!("only{i}"))).unwrap();
            image
        })
        .collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_the_end = Stop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Whatever they see now: it must not stay in the kernel's caches.
                    let _ = fs::read(s.at.join("f"));
                    for i in 0..4 {
                        let _ = fs::metadata(s.at.join(format!("only{i}")));
                    }
                    let _ = fs::read_dir(&s.at).map(Iterator::count);
                }
            });
        }
        for round in 0..60 {
            let i = (round * 7 + 3) % 4;
            let command = back(&s, images[i]);
            s.live().run(&me(), command, Force::No).unwrap();
            let byte = u8::try_from(i).unwrap();
            let content = fs::read(s.at.join("f")).unwrap();
            assert_eq!(content.len(), 200_000 + i, "round {round}");
            assert!(content.iter().all(|b| *b == byte), "round {round}");
            for other in 0..4 {
                let there = s.at.join(format!("only{other}")).exists();
                assert_eq!(there, other == i, "round {round}, only{other}");
            }
        }
    });
}

/// Ends the readers, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_mapping_from_before_writes_nothing_through_a_new_one() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), vec![b'a'; 4096]).unwrap();
    let image = checkpoint(&s, "c");
    let open = || {
        let mut options = File::options();
        options.read(true).write(true).open(s.at.join("f")).unwrap()
    };
    let old_file = open();
    let old = Page::of(&old_file);
    old.set(0, b'b');
    s.live().run(&me(), back(&s, image), Force::Yes).unwrap();
    let new_file = open();
    let new = Page::of(&new_file);
    old.set(1, b'e');
    let _ = old.sync();
    let _ = new.sync();
    assert!(s.stored("f").unwrap() == vec![b'a'; 4096]);
    // When nobody from before is left, mappings write again.
    drop((old, old_file, new, new_file));
    let file = open();
    for _ in 0..200 {
        if s.live().mounts()[0].writers == 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let page = Page::of(&file);
    page.set(3, b'n');
    page.sync().unwrap();
    assert_eq!(s.stored("f").unwrap()[3], b'n');
}

#[test]
fn who_appends_while_a_volume_goes_back_appends_at_the_end() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("log"), b"first\n").unwrap();
    let image = checkpoint(&s, "c");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_the_end = Stop(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let opened = File::options().append(true).open(s.at.join("log"));
                    if let Ok(mut file) = opened {
                        let _ = file.write_all(b"a line that an appender wrote\n");
                    }
                }
            });
        }
        for round in 0..80 {
            std::thread::sleep(std::time::Duration::from_millis(3));
            s.live().run(&me(), back(&s, image), Force::Yes).unwrap();
            let content = s.stored("log").unwrap();
            assert!(content.starts_with(b"first\n"), "round {round}");
            assert!(!content.contains(&0), "round {round}: a hole");
        }
    });
    assert!(!s.stored("log").unwrap().contains(&0));
}
