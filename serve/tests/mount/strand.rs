//! `.strand/`: yesterday's files with `cp`.

use crate::setting::{me, setting, setting_with};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};
use strand_engine::{Command, GiveUp, Kind, ReclaimOptions, Source};
use strand_serve::{Force, LiveOptions};

fn names(path: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn checkpoints_are_directories_that_nobody_lists_or_changes() {
    let Some(s) = setting() else { return };
    let run = |command| s.live().run(&me(), command, Force::No).unwrap();
    let take = |name: &str, nomount, nodata| {
        run(Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![s.volume],
            nomount,
            removable: false,
            nodata,
            note: String::new(),
        });
    };
    fs::create_dir(s.at.join("d")).unwrap();
    fs::write(s.at.join("d/f"), b"one").unwrap();
    take("first", false, false);
    fs::write(s.at.join("d/f"), b"two").unwrap();
    take("secret", true, false);
    take("marks", false, true);

    let strand = s.at.join(".strand");
    assert_eq!(names(&s.at), ["d"]);
    assert_eq!(names(&strand), ["at", "first"]);
    assert_eq!(names(&strand.join("first")), ["d"]);
    assert_eq!(fs::read(strand.join("first/d/f")).unwrap(), b"one");
    fs::copy(strand.join("first/d/f"), s.at.join("copy")).unwrap();
    assert_eq!(fs::read(s.at.join("copy")).unwrap(), b"one");
    let live = fs::metadata(s.at.join("d/f")).unwrap();
    let image = fs::metadata(strand.join("first/d/f")).unwrap();
    assert_eq!((image.uid(), image.mode()), (live.uid(), live.mode()));
    assert_ne!(image.ino(), live.ino());

    let kind = |outcome: std::io::Result<()>| outcome.unwrap_err().raw_os_error().unwrap();
    let no = strand.join("first/d/f");
    assert_eq!(kind(fs::write(&no, b"no")), libc::EROFS);
    assert_eq!(kind(fs::remove_file(&no)), libc::EROFS);
    assert_eq!(kind(fs::create_dir(strand.join("x"))), libc::EROFS);
    assert_eq!(kind(fs::create_dir(&strand)), libc::EEXIST);
    assert_eq!(kind(fs::remove_dir(&strand)), libc::EPERM);
    assert_eq!(kind(fs::rename(s.at.join("d"), &strand)), libc::EPERM);
    assert_eq!(kind(fs::rename(&strand, s.at.join("e"))), libc::EPERM);
    assert_eq!(kind(fs::rename(&no, s.at.join("e"))), libc::EROFS);
    assert_eq!(kind(fs::hard_link(&no, s.at.join("e"))), libc::EXDEV);
    assert_eq!(
        kind(fs::read_dir(strand.join("secret")).map(drop)),
        libc::EACCES
    );
    assert_eq!(
        kind(fs::read_dir(strand.join("marks")).map(drop)),
        libc::EACCES
    );
    assert!(!strand.join("third").exists());

    // Names come and go with the commands.
    take("third", false, false);
    assert_eq!(fs::read(strand.join("third/d/f")).unwrap(), b"two");
    let id = s
        .live()
        .store()
        .state()
        .checkpoint_named("first")
        .unwrap()
        .id;
    run(Command::CheckpointRemove { checkpoint: id });
    assert!(!strand.join("first").exists());
    assert_eq!(names(&strand), ["at", "third"]);
}

#[test]
fn any_time_and_position_can_be_visited() {
    let Some(s) = setting() else { return };
    fs::write(s.at.join("f"), b"early").unwrap();
    let position = s.live().store().state().boundary;
    let early = SystemTime::now();
    std::thread::sleep(Duration::from_millis(20));
    fs::write(s.at.join("f"), b"late").unwrap();
    let since = early.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = jiff::Timestamp::from_nanosecond(i128::try_from(since.as_nanos()).unwrap()).unwrap();
    let at = s.at.join(".strand/at");
    assert_eq!(fs::read(at.join(format!("{time}/f"))).unwrap(), b"early");
    assert_eq!(
        fs::read(at.join(format!("seq:{position}/f"))).unwrap(),
        b"early"
    );
    for missing in ["seq:0", "seq:999999999", "2100-01-01T00:00:00Z", "nonsense"] {
        let error = fs::read_dir(at.join(missing)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{missing}");
    }
    assert_eq!(names(&at), Vec::<String>::new());
    assert_eq!(fs::read(s.at.join("f")).unwrap(), b"late");
}

#[test]
fn positions_visited_long_ago_are_let_go() {
    let Some(s) = setting() else { return };
    for i in 0..60 {
        fs::write(s.at.join("f"), format!("{i}")).unwrap();
    }
    let last = s.live().store().state().boundary;
    let at = s.at.join(".strand/at");
    for seq in last - 120..last {
        // One more than may be refused where the kernel has not let go yet.
        while let Err(error) = fs::metadata(at.join(format!("seq:{seq}"))) {
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    for _ in 0..400 {
        if s.live().figures().nodes < 30 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let nodes = s.live().figures().nodes;
    assert!(nodes < 30, "the kernel holds {nodes} files and directories");
}

#[test]
fn what_was_looked_at_is_listed_and_let_go_when_nobody_looks_any_more() {
    let options = LiveOptions {
        views_stay: Duration::from_millis(100),
        ..LiveOptions::default()
    };
    let Some(s) = setting_with(options) else {
        return;
    };
    fs::write(s.at.join("f"), b"monday").unwrap();
    let take = Command::CheckpointCreate {
        name: Some("monday".into()),
        volumes: vec![s.volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    s.live().run(&me(), take, Force::No).unwrap();
    let position = s.live().store().state().boundary;
    fs::write(s.at.join("f"), b"tuesday").unwrap();
    let strand = s.at.join(".strand");
    let held = || {
        let leases = s.live().store().leases().into_iter();
        let mut held: Vec<String> = leases.map(|lease| lease.by).collect();
        held.sort();
        held
    };
    assert_eq!(fs::read(strand.join("monday/f")).unwrap(), b"monday");
    // Somebody has a file open in there.
    let file = fs::File::open(strand.join(format!("at/seq:{position}/f"))).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let at = format!("looked at through .strand/at/seq:{position}");
    while held() != [at.as_str()] {
        assert!(std::time::Instant::now() < until, "{:?}", held());
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(held(), [at.as_str()], "as long as it is open");
    let mut bytes = [0; 6];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"monday");
    drop(file);
    while !held().is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", held());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read(strand.join("monday/f")).unwrap(), b"monday");
}

#[test]
fn what_is_mounted_stays_and_what_was_looked_at_can_be_read_to_its_end() {
    let Some(s) = setting() else { return };
    let write = |byte: u8| fs::write(s.at.join("f"), vec![byte; 64 << 10]).unwrap();
    write(1);
    let take = |name: &str| {
        let command = Command::CheckpointCreate {
            name: Some(name.into()),
            volumes: vec![s.volume],
            nomount: false,
            removable: true,
            nodata: false,
            note: String::new(),
        };
        s.live().run(&me(), command, Force::No).unwrap();
        let state = s.live().store().state();
        state.checkpoint_named(name).unwrap().id
    };
    let (mounted, looked) = (take("mounted"), take("looked"));
    let beside = s.scratch.path().join("beside");
    fs::create_dir(&beside).unwrap();
    let source = Source::Checkpoint(s.volume, mounted);
    s.live().mount(s.request(source, &beside)).unwrap();
    let open = fs::File::open(s.at.join(".strand/looked/f")).unwrap();
    let give_up = |checkpoint| {
        let cause = GiveUp::Asked;
        let command = Command::CheckpointGiveUp { checkpoint, cause };
        s.live().run(&me(), command, Force::No)
    };
    let refusal = give_up(mounted).unwrap_err().refusal();
    assert_eq!(refusal.kind, Kind::Busy);
    assert!(refusal.why.unwrap().contains("beside"));
    give_up(looked).unwrap();
    for byte in 2..20 {
        write(byte);
    }
    s.live().unmount(&beside).unwrap();
    give_up(mounted).unwrap();
    let options = ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    };
    s.live().sync().unwrap();
    s.live().store().reclaim(&options).unwrap();
    let mut bytes = vec![0; 64 << 10];
    open.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 1));
    assert_eq!(fs::read(s.at.join("f")).unwrap(), vec![19; 64 << 10]);
}
