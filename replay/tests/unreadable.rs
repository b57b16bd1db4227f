//! Verification of a store on a disk that cannot read a block any more: what a worn-out sector does, EIO each time. It is a finding like
//! any other, and what lies behind it is looked at all the same.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, flip, open, segment_path};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use strand_engine::{BLOCK, Command, Ino, Kind, OpenOptions, ReclaimOptions, Source, VolumeId};
use strand_journal::disk::{LayeredDisk, LayeredFile};
use strand_journal::{Disk, DiskFile, MemoryDisk};
use strand_replay::verify::{Finding, Options, Report, Severity, note, verify};

const ALL: Options = Options {
    data: true,
    anchor: None,
    from_scratch: true,
};

/// A disk with a bad spot: every read that touches it fails.
#[derive(Debug)]
struct Worn {
    inner: Arc<dyn Disk>,
    path: String,
    bad: Range<u64>,
}

impl Worn {
    /// `disk`, of which some bytes of a file cannot be read any more.
    fn at(disk: Arc<dyn Disk>, path: String, bad: Range<u64>) -> Arc<dyn Disk> {
        Arc::new(Self {
            inner: disk,
            path,
            bad,
        })
    }

    fn worn(&self, path: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if path != self.path {
            return file;
        }
        let bad = self.bad.clone();
        Arc::new(WornFile { file, bad })
    }
}

impl LayeredDisk for Worn {
    fn beneath(&self) -> io::Result<&dyn Disk> {
        Ok(&*self.inner)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.worn(path, self.inner.open(path)?))
    }

    fn open_read(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.worn(path, self.inner.open_read(path)?))
    }
}

#[derive(Debug)]
struct WornFile {
    file: Arc<dyn DiskFile>,
    bad: Range<u64>,
}

impl WornFile {
    fn read(&self, length: usize, offset: u64) -> io::Result<()> {
        let end = offset + length as u64;
        if offset < self.bad.end && self.bad.start < end {
            return Err(io::Error::from_raw_os_error(5)); // EIO
        }
        Ok(())
    }
}

impl LayeredFile for WornFile {
    fn beneath(&self) -> io::Result<&dyn DiskFile> {
        Ok(&*self.file)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(buf.len(), offset)?;
        self.file.read_at(buf, offset)
    }

    fn read_direct(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(buf.len(), offset)?;
        self.file.read_direct(buf, offset)
    }
}

/// The store closed and opened again, on a disk that has lost a block meanwhile.
fn worn(f: Fixture, (segment, offset): (u64, u64)) -> Fixture {
    worn_in(f, segment_path(segment), offset..offset + BLOCK)
}

fn worn_in(f: Fixture, path: String, bad: Range<u64>) -> Fixture {
    let Fixture {
        disk,
        clock,
        store,
        me,
    } = f;
    store.close().unwrap();
    let disk = Worn::at(disk, path, bad);
    let store = open(&disk, &clock, OpenOptions::read_write());
    Fixture {
        disk,
        clock,
        store,
        me,
    }
}

fn report(f: &Fixture) -> Report {
    verify(&f.store, &ALL, &|_| {}).unwrap()
}

/// Segment and offset of an address.
fn split(f: &Fixture, address: u64) -> (u64, u64) {
    let per_segment = u64::from(f.store.journal().blocks_per_segment());
    (address / per_segment, address % per_segment * BLOCK)
}

/// Where the version of a live block was born, and where it lies.
fn lies(f: &Fixture, v: VolumeId, file: Ino, block: u64) -> (u64, u64) {
    let state = f.store.state();
    let place = strand_engine::Place { ino: file, block };
    let birth = state.volume(v).unwrap().live.version(place).unwrap().addr();
    (birth.0, state.places.find(birth).unwrap().0)
}

fn place(finding: &Finding) -> (Option<u64>, Option<u64>) {
    (finding.segment, finding.offset)
}

fn whose(finding: &Finding) -> (Option<&str>, Option<&str>, Option<u64>) {
    (
        finding.volume.as_deref(),
        finding.file.as_deref(),
        finding.block,
    )
}

#[test]
fn a_block_that_the_disk_cannot_read_is_named_and_what_shows_it_is_no_target() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let (a, b) = (f.file(v, "a"), f.file(v, "b"));
    // One frame: the neighbours of the bad block are read and found sound, but for one that is flipped.
    f.write(v, a, 0, 20, 1);
    let bad = split(&f, lies(&f, v, a, 7).0);
    let flipped = split(&f, lies(&f, v, a, 12).0);
    f.write(v, b, 0, 3, 1);
    let behind = split(&f, lies(&f, v, b, 1).0);
    let spoilt = f.checkpoint(v, "spoilt");
    f.write(v, a, 0, 20, 2);
    f.write(v, b, 0, 3, 2);
    let sound = f.checkpoint(v, "sound");
    f.write(v, a, 0, 20, 3);
    f.store.sync().unwrap();
    for (segment, offset) in [flipped, behind] {
        flip(&*f.disk, &segment_path(segment), offset + 5);
    }
    let f = worn(f, bad);

    let report = report(&f);
    assert!(!report.ok());
    let [first, second, third] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!((first.check, first.severity), ("payload", Severity::Damage));
    assert!(first.what.contains("cannot be read"), "{first}");
    let (segment, offset) = bad;
    assert_eq!(place(first), (Some(segment), Some(offset)));
    assert_eq!(whose(first), (Some("pg"), Some("a"), Some(7)));
    assert_eq!(first.shown_by, ["pg@spoilt"]);
    assert!(first.seq.is_some());
    assert_eq!(whose(second), (Some("pg"), Some("a"), Some(12)));
    assert_eq!(whose(third), (Some("pg"), Some("b"), Some(1)));
    assert_eq!(report.bad_versions.len(), 3);
    assert_eq!(
        (report.bad_versions[0].ino, report.bad_versions[0].block),
        (a, 7)
    );

    note(&f.store, &report).unwrap();
    let back = |checkpoint| Command::Rollback {
        volume: v,
        source: Source::Checkpoint(v, checkpoint),
        only: false,
    };
    let refused = f.store.run(&f.me, back(spoilt)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Damaged, "{refused}");
    let why = refused.refusal().why.unwrap_or_default();
    let named = format!("segment {segment} offset {offset}");
    assert!(why.contains(&named) && why.contains("/a"), "{why}");
    f.run(back(sound));
}

#[test]
fn a_copy_or_an_old_block_that_the_disk_cannot_read_is_named() {
    let f = Fixture::on(Arc::new(MemoryDisk::new()), 64 << 10);
    let v = f.volume("pg");
    let file = f.file(v, "a");
    f.write(v, file, 0, 8, 1);
    for fill in 2..60 {
        f.write(v, file, 8, 4, fill);
    }
    f.store.sync().unwrap();
    let now = f.store.state().boundary;
    f.store.move_archives(now, None).unwrap();
    let (birth, lies) = lies(&f, v, file, 3);
    let (segment, offset) = split(&f, lies);
    let report = report(&worn(f, (segment, offset)));
    let [found] = report.findings.as_slice() else {
        panic!("{:#?}", report.findings)
    };
    assert_eq!(found.check, "moved");
    assert!(found.what.contains("cannot be read"), "{found}");
    assert_eq!(place(found), (Some(segment), Some(offset)));
    assert_eq!(whose(found), (Some("pg"), Some("a"), Some(3)));
    let bad: Vec<u64> = report.bad_versions.iter().map(|bad| bad.addr).collect();
    assert_eq!(bad, [birth]);
}

#[test]
fn behind_a_header_that_the_disk_cannot_read_verification_goes_on() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let (a, b) = (f.file(v, "a"), f.file(v, "b"));
    for fill in 1..6 {
        f.write(v, a, 0, 4, fill);
    }
    let reader = f.store.journal().reader();
    let frames: Vec<_> = reader.frames(reader.origin()).map(Result::unwrap).collect();
    let victim = &frames[frames.len() - 2];
    let lost = (victim.segment, u64::from(victim.block) * BLOCK);
    f.write(v, b, 0, 2, 1);
    let flipped = split(&f, lies(&f, v, b, 1).0);
    flip(&*f.disk, &segment_path(flipped.0), flipped.1 + 1);
    // An opening does not come by: it begins at the state file.
    f.store.write_state_file().unwrap();
    let report = report(&worn(f, lost));
    let header = report.findings.iter().find(|f| f.check == "header");
    let header = header.unwrap();
    assert_eq!(place(header), (Some(lost.0), Some(lost.1)));
    assert_eq!(
        (header.seq, report.proved_to),
        (Some(victim.first), victim.first - 1)
    );
    assert!(header.what.contains("cannot be read"), "{header}");
    let payload = report.findings.iter().find(|f| f.check == "payload");
    assert_eq!(whose(payload.unwrap()), (Some("pg"), Some("b"), Some(1)));
}

#[test]
fn behind_an_archive_that_the_disk_cannot_read_verification_goes_on() {
    let f = Fixture::on(Arc::new(MemoryDisk::new()), 64 << 10);
    let v = f.volume("pg");
    let file = f.file(v, "a");
    for fill in 1..60 {
        f.write(v, file, 0, 4, fill);
    }
    f.store.write_state_file().unwrap();
    let now = ReclaimOptions {
        now: true,
        ..ReclaimOptions::default()
    };
    assert!(f.store.reclaim(&now).unwrap().segments > 4);
    let lost = f.store.journal().reader().segments()[0] - 3;
    let path = segment_path(lost).replace(".seg", ".arc");
    let length = f.disk.open(&path).unwrap().len().unwrap();
    let (birth, place) = lies(&f, v, file, 2);
    let flipped = split(&f, place);
    flip(&*f.disk, &segment_path(flipped.0), flipped.1 + 1);
    let report = report(&worn_in(f, path, length - 1..length));
    let headers = report.findings.iter().filter(|f| f.check == "header");
    let headers: Vec<_> = headers.collect();
    assert_eq!(headers.len(), 1, "{:#?}", report.findings);
    assert_eq!(headers[0].segment, Some(lost));
    assert!(headers[0].seq == Some(report.proved_to + 1));
    // Two segments are archives that can be read, and those behind them are there.
    let bad: Vec<u64> = report.bad_versions.iter().map(|bad| bad.addr).collect();
    assert_eq!(bad, [birth]);
}
