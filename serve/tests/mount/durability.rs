//! What was synced is on disk; what was not soon is; a disk that fails is not hidden.

use crate::setting::{can_mount, me, on_disk, setting_with};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strand_engine::{Command, Source, Store};
use strand_journal::{CallKind, FaultyDisk, MemoryDisk, SlowDisk};
use strand_serve::LiveOptions;

fn flushed(s: &crate::setting::Setting) -> bool {
    let journal = s.live().store().journal();
    journal.flushed() == journal.placed()
}

/// Nothing is flushed unless somebody asks.
fn never() -> LiveOptions {
    LiveOptions {
        commit_every: Duration::from_secs(3600),
        ..LiveOptions::default()
    }
}

#[test]
fn every_way_to_sync_flushes_and_a_close_does_not() {
    let Some(s) = setting_with(never()) else {
        return;
    };
    let path = s.at.join("f");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"1").unwrap();
    assert!(!flushed(&s));
    file.sync_data().unwrap();
    assert!(flushed(&s));
    file.write_all(b"2").unwrap();
    file.sync_all().unwrap();
    assert!(flushed(&s));
    file.write_all(b"3").unwrap();
    drop(file);
    assert!(!flushed(&s));
    File::open(&s.at).unwrap().sync_all().unwrap();
    assert!(flushed(&s), "a directory's fsync");
    for flag in [libc::O_SYNC, libc::O_DSYNC] {
        let mut file = File::options()
            .append(true)
            .custom_flags(flag)
            .open(&path)
            .unwrap();
        file.write_all(b"4").unwrap();
        assert!(flushed(&s), "{flag:x}");
    }
    fs::write(&path, b"5").unwrap();
    assert!(!flushed(&s));
    s.live().unmount(&s.at.clone()).unwrap();
    assert!(flushed(&s), "umount");
}

#[test]
fn nobody_waits_for_what_others_change_elsewhere() {
    let Some(s) = setting_with(never()) else {
        return;
    };
    let mut file = File::create(s.at.join("f")).unwrap();
    file.write_all(b"1").unwrap();
    file.sync_all().unwrap();
    let elsewhere = Command::VolumeCreate {
        name: "other".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    s.live().store().submit(&me(), elsewhere).unwrap();
    file.sync_all().unwrap();
    File::open(&s.at).unwrap().sync_all().unwrap();
    assert!(!flushed(&s), "nothing here was new");
    // What a command changed here is, and so is every other kind of change.
    let ino = s.live().store().live(s.volume).unwrap().lookup(b"f");
    let seen = s.live().seen();
    let ino = ino.unwrap();
    let write = |store: &Store| store.write(&me(), s.volume, ino, 1, b"2");
    s.live().change(&seen, (s.volume, ino), 1, write).unwrap();
    assert!(!flushed(&s));
    file.sync_data().unwrap();
    assert!(flushed(&s), "a command");
    let (f, g) = (s.at.join("f"), s.at.join("g"));
    let changes: [(&str, &dyn Fn()); 9] = [
        ("write", &|| file.write_all_at(b"3", 0).unwrap()),
        ("truncate", &|| file.set_len(1).unwrap()),
        ("allocate", &|| {
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, flags, 0, 9000).unwrap();
        }),
        ("mode", &|| {
            fs::set_permissions(&f, fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("attribute", &|| {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&f, "user.a", b"b", flags).unwrap();
        }),
        ("link", &|| fs::hard_link(&f, &g).unwrap()),
        ("rename", &|| fs::rename(&g, s.at.join("h")).unwrap()),
        ("unlink", &|| fs::remove_file(s.at.join("h")).unwrap()),
        ("mkdir", &|| fs::create_dir(s.at.join("dir")).unwrap()),
    ];
    for (what, change) in changes {
        change();
        assert!(!flushed(&s), "{what}");
        file.sync_all().unwrap();
        assert!(flushed(&s), "{what}");
    }
}

#[test]
fn a_fresh_mount_shows_nothing_that_its_fsync_leaves_behind() {
    let Some(mut s) = setting_with(never()) else {
        return;
    };
    fs::write(s.at.join("f"), b"old").unwrap();
    s.live().unmount(&s.at.clone()).unwrap();
    let ino = s.live().store().live(s.volume).unwrap().lookup(b"f");
    let ino = ino.unwrap();
    let seen = s.live().seen();
    let write = |store: &Store| store.write(&me(), s.volume, ino, 0, b"new");
    s.live().change(&seen, (s.volume, ino), 3, write).unwrap();
    assert!(!flushed(&s), "as an import does it, up to its end");
    let at = s.mount(Source::Live(s.volume), "again");
    let file = File::open(at.join("f")).unwrap();
    assert_eq!(fs::read(at.join("f")).unwrap(), b"new");
    file.sync_all().unwrap();
    assert!(flushed(&s));
}

#[test]
fn what_nobody_syncs_is_durable_soon() {
    let options = LiveOptions {
        commit_every: Duration::from_millis(200),
        ..LiveOptions::default()
    };
    let Some(s) = setting_with(options) else {
        return;
    };
    fs::write(s.at.join("f"), b"x").unwrap();
    let begun = Instant::now();
    while !flushed(&s) {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_failed_flush_is_an_error_for_everybody_and_stays_one() {
    if !can_mount() {
        return;
    }
    let disk = FaultyDisk::new(1);
    let scratch = tempfile::tempdir().unwrap();
    let mut s = on_disk(scratch, Arc::new(disk.clone()), never());
    let files: Vec<File> = (0..4)
        .map(|i| {
            let mut file = File::create(s.at.join(format!("{i}"))).unwrap();
            file.write_all(b"content").unwrap();
            file
        })
        .collect();
    let so_far = disk.log().iter().filter(|k| **k == CallKind::Sync).count();
    disk.fail_nth(CallKind::Sync, so_far as u64 + 1);
    let waiting: Vec<_> = files
        .into_iter()
        .map(|file| std::thread::spawn(move || file.sync_all()))
        .collect();
    for thread in waiting {
        let error = thread.join().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
    // What was not flushed is never shown as truth, nor is anything taken on.
    let io = |what: &str, outcome: std::io::Result<()>| {
        let error = outcome.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{what}");
    };
    io("create", fs::write(s.at.join("new"), b"x"));
    io("mkdir", fs::create_dir(s.at.join("dir")));
    io("readdir", fs::read_dir(&s.at).map(drop));
    io("lookup", fs::metadata(s.at.join("unknown")).map(drop));
    // The end is no clean one: the store stays as the disk has it.
    let live = s.live.take().unwrap();
    assert!(live.close().is_err());
}

#[test]
fn writers_wait_when_too_much_is_unflushed() {
    if !can_mount() {
        return;
    }
    let slow = SlowDisk::new(Arc::new(MemoryDisk::new()), Duration::from_millis(150));
    let scratch = tempfile::tempdir().unwrap();
    let s = on_disk(scratch, Arc::new(slow), never());
    let mut file = File::create(s.at.join("big")).unwrap();
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    for _ in 0..256 {
        file.write_all(&content).unwrap();
    }
    let figures = s.live().figures();
    assert!(figures.flushes > 2, "it flushed early");
    assert!(figures.held_back > 0, "writes waited");
    drop(file);
    let stored = s.stored("big").unwrap();
    assert!(stored.chunks(content.len()).all(|chunk| chunk == content));
}

#[test]
fn whoever_copies_waits_when_too_much_is_unflushed() {
    if !can_mount() {
        return;
    }
    let slow = SlowDisk::new(Arc::new(MemoryDisk::new()), Duration::from_millis(500));
    let scratch = tempfile::tempdir().unwrap();
    let s = on_disk(scratch, Arc::new(slow), never());
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(s.at.join("from"), &content).unwrap();
    let from = File::open(s.at.join("from")).unwrap();
    let to = File::create(s.at.join("to")).unwrap();
    from.sync_all().unwrap();
    let before = s.live().figures().held_back;
    for round in 0..256 {
        // Not on a block's edge: nothing can be shared, all is copied.
        let (mut at, mut target, mut left) = (1, round << 20, content.len() - 1);
        while left > 0 {
            let copied =
                rustix::fs::copy_file_range(&from, Some(&mut at), &to, Some(&mut target), left)
                    .unwrap();
            assert!(copied > 0);
            left -= copied;
        }
    }
    assert!(s.live().figures().held_back > before);
    drop(to);
    let stored = s.stored("to").unwrap();
    let mut copies = stored.chunks(1 << 20);
    assert!(copies.all(|copy| copy[..content.len() - 1] == content[1..]));
}

#[test]
fn many_syncs_share_a_flush() {
    if !can_mount() {
        return;
    }
    let slow = SlowDisk::new(Arc::new(MemoryDisk::new()), Duration::from_millis(20));
    let scratch = tempfile::tempdir().unwrap();
    let s = on_disk(scratch, Arc::new(slow), never());
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let path = s.at.join(format!("{i}"));
            std::thread::spawn(move || {
                let mut file = File::create(path).unwrap();
                for _ in 0..10 {
                    file.write_all(b"x").unwrap();
                    file.sync_data().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let figures = s.live().figures();
    assert_eq!(figures.grouped, 80);
    assert!(figures.flushes <= 40, "{} flushes", figures.flushes);
    assert!(figures.largest_group > 1);
}

#[test]
fn a_file_system_says_truly_what_room_it_has() {
    if !can_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::with_limit(1 << 30); // nobody else writes to it
    let s = on_disk(scratch, Arc::new(disk), LiveOptions::default());
    let before = rustix::fs::statvfs(&s.at).unwrap();
    assert_eq!((before.f_bsize, before.f_namemax), (4096, 255));
    assert!(before.f_bavail > 0 && before.f_bavail <= before.f_blocks);
    let content: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    let mut file = File::create(s.at.join("f")).unwrap();
    file.write_all(&content).unwrap();
    file.sync_all().unwrap();
    let after = rustix::fs::statvfs(&s.at).unwrap();
    assert!(before.f_bavail - after.f_bavail >= content.len() as u64 / 4096);
}

#[test]
fn a_full_store_says_so_and_reads_on() {
    if !can_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::with_limit(300 << 20);
    let s = on_disk(scratch, Arc::new(disk), LiveOptions::default());
    let mut file = File::create(s.at.join("f")).unwrap();
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    let mut written = 0;
    let error = loop {
        match file.write_all(&content) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 400);
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    assert!(written > 100);
    assert!(fs::read(s.at.join("f")).unwrap()[..content.len()] == content);
    fs::remove_file(s.at.join("f")).unwrap();
}
