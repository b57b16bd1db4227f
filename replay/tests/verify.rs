//! Verification, anchors and replay: a sound store passes, and each kind of damage is found and named.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, flip, open, segment_path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strand_engine::{BLOCK, Command, OpenOptions, Source, VolumeId};
use strand_journal::{ChainHash, Disk, FileDisk};
use strand_replay::anchor::anchor;
use strand_replay::check::replay_check;
use strand_replay::verify::{AnchorResult, Options, Report, Severity, verify};

const ALL: Options = Options {
    data: true,
    anchor: None,
    from_scratch: true,
};

fn report(f: &Fixture, options: &Options) -> Report {
    verify(&f.store, options, &|_| {}).unwrap()
}

/// A history with every cause of a copy-out, a clone, removals, undo, digests and a state file.
fn history(f: &Fixture) -> VolumeId {
    let v = f.volume("pg");
    let (a, b) = (f.file(v, "a"), f.file(v, "b"));
    f.write(v, a, 0, 12, 1);
    f.write(v, b, 0, 6, 1);
    let first = f.checkpoint(v, "first");
    f.write(v, a, 0, 4, 2);
    f.store
        .copy_range(&f.me, v, a, 4 * BLOCK, b, 0, 2 * BLOCK)
        .unwrap();
    f.store.punch(&f.me, v, a, 8 * BLOCK, 2 * BLOCK).unwrap();
    f.checkpoint(v, "second");
    f.write(v, a, 4, 1, 3);
    f.write(v, b, 0, 1, 3);
    f.store.truncate(&f.me, v, a, 3 * BLOCK + 5).unwrap();
    f.store.record_digest().unwrap();
    f.unlink(v, "b");
    f.rollback(v, first);
    f.run(Command::CloneCreate {
        name: "test".into(),
        source: Source::Checkpoint(v, first),
    });
    let test = f.store.state().volume_named("test").unwrap().id;
    f.write(test, a, 0, 2, 9);
    f.checkpoint(test, "in-clone");
    f.write(test, a, 1, 2, 8);
    f.store.write_state_file().unwrap();
    f.run(Command::Undo { volume: Some(v) });
    f.store.settle().unwrap();
    let second = f.store.state().checkpoint_named("second").unwrap().id;
    f.run(Command::CheckpointRemove { checkpoint: second });
    f.store.settle().unwrap();
    f.write(v, a, 1, 1, 7);
    f.store.sync().unwrap();
    v
}

#[test]
fn a_sound_store_passes_every_check() {
    let f = Fixture::new();
    history(&f);
    let f = f.reopen();
    let told = AtomicU64::new(0);
    let report = verify(&f.store, &ALL, &|p| {
        assert!(p.done <= p.total, "{p:?}");
        told.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    assert!(report.ok(), "{:#?}", report.findings);
    assert_eq!(report.findings, []);
    let t = report.totals;
    assert_eq!(
        (t.events, report.proved_to, report.folded_to),
        (
            f.store.state().seq,
            f.store.state().seq,
            f.store.state().seq
        )
    );
    assert!(
        t.digests >= 2
            && t.state_files >= 1
            && t.ledgers >= 3
            && t.commands >= 6
            && t.copied_out >= 8,
        "{t:?}"
    );
    assert!(t.payload_blocks >= 20 && told.load(Ordering::Relaxed) > 4);

    let quick = self::report(&f, &Options::default());
    assert!(
        quick.ok() && quick.folded_from > 0 && quick.digest == report.digest,
        "{quick:#?}"
    );
}

/// The address of a block of a live file, as segment and offset.
fn where_is(f: &Fixture, volume: VolumeId, path: &[u8], block: u64) -> (u64, u64) {
    let live = f.store.state().volume(volume).unwrap().live.clone();
    let ino = live.lookup(path).unwrap();
    let addr = live
        .inode(ino)
        .unwrap()
        .file()
        .unwrap()
        .map
        .get(block)
        .unwrap()
        .addr()
        .0;
    let per_segment = u64::from(f.store.journal().blocks_per_segment());
    (addr / per_segment, addr % per_segment * BLOCK)
}

#[test]
fn a_flipped_data_bit_is_found_with_its_place_position_volume_and_file() {
    let f = Fixture::new();
    let v = history(&f);
    let (segment, offset) = where_is(&f, v, b"a", 1);
    flip(&*f.disk, &segment_path(segment), offset + 77);
    let f = f.reopen();
    assert!(
        report(&f, &Options { data: false, ..ALL }).ok(),
        "without --data no payload is read"
    );
    let report = report(&f, &ALL);
    assert!(!report.ok());
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!(
        (finding.check, finding.severity),
        ("payload", Severity::Damage)
    );
    assert_eq!(
        (finding.segment, finding.offset),
        (Some(segment), Some(offset))
    );
    assert_eq!(
        (
            finding.volume.as_deref(),
            finding.file.as_deref(),
            finding.block
        ),
        (Some("pg"), Some("a"), Some(1))
    );
    assert_eq!(finding.shown_by, ["pg"]);
    assert!(finding.seq.is_some());
}

#[test]
fn a_flipped_bit_that_only_a_checkpoint_shows_is_named_after_it() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, 2, 1);
    let (segment, offset) = where_is(&f, v, b"a", 0);
    f.checkpoint(v, "first");
    f.write(v, file, 0, 1, 2);
    flip(&*f.disk, &segment_path(segment), offset);
    let report = report(&f, &ALL);
    assert_eq!(report.findings[0].shown_by, ["pg@first"]);
}

#[test]
fn a_flipped_header_bit_is_found_and_what_follows_is_still_read() {
    let f = Fixture::new();
    let v = history(&f);
    let frames: Vec<_> = f
        .store
        .journal()
        .reader()
        .frames(f.store.journal().reader().origin())
        .map(Result::unwrap)
        .collect();
    let victim = &frames[frames.len() / 2];
    let (segment, offset) = where_is(&f, v, b"a", 1);
    let f = f.reopen();
    // While the store is open: an opening that meets the damage refuses or stops before it.
    flip(
        &*f.disk,
        &segment_path(victim.segment),
        u64::from(victim.block) * BLOCK + 60,
    );
    flip(&*f.disk, &segment_path(segment), offset + 1);
    let report = report(&f, &ALL);
    assert!(!report.ok());
    let header = report
        .findings
        .iter()
        .find(|f| f.check == "header")
        .unwrap();
    assert_eq!(
        (header.segment, header.offset),
        (Some(victim.segment), Some(u64::from(victim.block) * BLOCK))
    );
    assert_eq!(
        (header.seq, report.proved_to),
        (Some(victim.first), victim.first - 1)
    );
    let payload = report
        .findings
        .iter()
        .find(|f| f.check == "payload")
        .unwrap();
    assert_eq!(
        (payload.file.as_deref(), payload.block),
        (Some("a"), Some(1)),
        "behind the damage the walk went on"
    );
}

#[test]
fn a_damaged_store_opened_for_reading_says_so() {
    let f = Fixture::new();
    history(&f);
    let frames: Vec<_> = f
        .store
        .journal()
        .reader()
        .frames(f.store.journal().reader().origin())
        .map(Result::unwrap)
        .collect();
    let victim = &frames[3];
    let Fixture {
        disk,
        clock,
        store,
        me,
    } = f;
    store.close().unwrap();
    flip(
        &*disk,
        &segment_path(victim.segment),
        u64::from(victim.block) * BLOCK + 200,
    );
    let options = OpenOptions {
        ignore_state_files: true,
        ..OpenOptions::read_only()
    };
    let store = open(&disk, &clock, options);
    let f = Fixture {
        disk,
        clock,
        store,
        me,
    };
    let report = report(&f, &ALL);
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.check == "header" && f.segment == Some(victim.segment)),
        "{:#?}",
        report.findings
    );
    assert!(!report.ok());
}

#[test]
fn a_damaged_state_file_is_found() {
    let f = Fixture::new();
    history(&f);
    let f = f.reopen();
    let name = strand_engine::statefile::list(&*f.disk)
        .unwrap()
        .remove(0)
        .1;
    let path = if name.contains('/') {
        name.clone()
    } else {
        format!("state/{name}")
    };
    let length = f.disk.open(&path).unwrap().len().unwrap();
    flip(&*f.disk, &path, length / 2);
    let report = report(&f, &ALL);
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!(finding.check, "state-file");
    assert!(
        finding
            .file
            .as_deref()
            .is_some_and(|file| file.contains(name.trim_start_matches("state/"))),
        "{finding:?}"
    );
}

#[test]
fn an_anchor_proves_what_came_before_it() {
    let f = Fixture::new();
    let v = history(&f);
    let kept = anchor(&f.store);
    assert_eq!(
        (kept.seq, kept.time),
        (f.store.state().seq, f.store.state().time)
    );
    f.write(
        v,
        f.store
            .state()
            .volume(v)
            .unwrap()
            .live
            .lookup(b"a")
            .unwrap(),
        0,
        1,
        1,
    );
    let with = |anchor| {
        report(
            &f,
            &Options {
                anchor: Some(anchor),
                ..ALL
            },
        )
    };

    let good = with((kept.seq, kept.chain));
    assert!(good.ok());
    assert_eq!(good.anchor, Some(AnchorResult::Proved { seq: kept.seq }));
    let altered = with((kept.seq, ChainHash([1; 32])));
    assert!(!altered.ok());
    assert!(matches!(altered.anchor, Some(AnchorResult::Differs { .. })));
    let beyond = with((kept.seq + 100, kept.chain));
    assert!(!beyond.ok());
    assert!(matches!(beyond.anchor, Some(AnchorResult::Missing { .. })));
}

#[test]
fn a_replay_reaches_the_same_digests() {
    let f = Fixture::new();
    history(&f);
    f.store.record_digest().unwrap();
    f.store.sync().unwrap();
    let whole = replay_check(&f.store, None).unwrap();
    assert!(whole.ok(), "{whole:#?}");
    assert_eq!(
        (whole.events, whole.equals_store),
        (f.store.state().seq, Some(true))
    );
    assert!(whole.compared.len() >= 3);
    let part = replay_check(&f.store, Some(20)).unwrap();
    assert_eq!((part.to, part.equals_store), (20, None));
    assert!(replay_check(&f.store, Some(1 << 40)).is_err());
}

#[test]
fn a_store_in_a_directory_of_many_small_segments_is_verified() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::create(dir.path().join("store")).unwrap());
    let f = Fixture::on(disk, 64 << 10);
    let v = f.volume("pg");
    let file = f.file(v, "data");
    for i in 0..40 {
        f.write(v, file, i % 7, 3, i as u8);
        if i % 10 == 5 {
            f.checkpoint(v, &format!("ckpt{i}"));
        }
    }
    let f = f.reopen();
    let report = report(&f, &ALL);
    assert!(report.ok(), "{:#?}", report.findings);
    assert!(report.totals.segments > 5);
}

#[test]
fn a_damaged_store_file_is_found() {
    let f = Fixture::new();
    history(&f);
    flip(&*f.disk, "STORE", 100);
    let report = report(&f, &ALL);
    let [finding] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!(
        (finding.check, finding.file.as_deref()),
        ("store-file", Some("STORE"))
    );
}

#[test]
fn no_flip_in_a_frame_goes_unnoticed() {
    let f = Fixture::on(Arc::new(strand_journal::MemoryDisk::new()), 64 << 10);
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, 5, 1);
    f.checkpoint(v, "first");
    f.write(v, file, 2, 4, 2);
    f.write(v, file, 0, 7, 3);
    f.write(v, file, 1, 9, 4);
    assert!(report(&f, &ALL).ok());
    let reader = f.store.journal().reader();
    let frames: Vec<_> = reader.frames(reader.origin()).map(Result::unwrap).collect();
    let mut flips = 0;
    for frame in &frames {
        let path = segment_path(frame.segment);
        let (from, to) = (
            u64::from(frame.block) * BLOCK,
            u64::from(frame.end_block()) * BLOCK,
        );
        for offset in (from..to).step_by(373) {
            flip(&*f.disk, &path, offset);
            let found = report(&f, &ALL);
            let named = found.findings.iter().any(|f| {
                f.segment == Some(frame.segment) && f.offset.is_some_and(|at| at >= from && at < to)
            });
            assert!(
                !found.ok() && named,
                "byte {offset} of segment {}: {:#?}",
                frame.segment,
                found.findings
            );
            flip(&*f.disk, &path, offset);
            flips += 1;
        }
    }
    assert!(
        flips > 100 && frames.iter().any(|f| f.segment > 2),
        "{flips}"
    );
    assert!(report(&f, &ALL).ok());
}
