//! Cold sequential reads of a file that random overwrites scattered, before and after it was put in order, beside a plain file.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit};
use crate::setting::Setting;
use crate::stores::Bed;
use crate::timing::{Dice, wall};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use strand_engine::{Ino, JobKind, NewBody};
use strand_journal::BLOCK_SIZE;
use strand_journal::disk::FileDisk;

/// Bytes of one read.
const PIECE: usize = 1 << 20;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let blocks = setting.pick(1_u64 << 18, 1 << 15);
    let dir = setting.dir()?;
    let bed = Bed::new(Arc::new(FileDisk::create(dir.path().join("store"))?))?;
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    bed.fill(ino, 0..blocks)?;
    let mut dice = Dice(11);
    for i in 0..blocks / 2 {
        bed.place(ino, dice.below(blocks))?;
        if i % 4096 == 0 {
            bed.store.sync()?;
        }
    }
    bed.store.sync()?;
    let plain = dir.path().join("plain");
    let mut file = File::create(&plain)?;
    let piece = vec![0xa5; PIECE];
    for _ in 0..blocks * BLOCK_SIZE as u64 / PIECE as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let scattered = ratios(setting, &bed, ino, dir.path())?;
    let what = format!("a file of {} MiB", blocks >> 8);
    let before = Figure::new(
        format!("cold reading, {what}, half of it overwritten at random"),
        Goal::AtLeast(0.35),
        Unit::Times,
        &scattered,
    );
    let job = bed.store.jobs().begin(JobKind::Defrag, "data", 0);
    let done = bed.store.defrag(bed.volume, Some(ino), None, job)?;
    let ordered = ratios(setting, &bed, ino, dir.path())?;
    let after = Figure::new(
        format!("cold reading, {what}, put in order"),
        Goal::AtLeast(0.9),
        Unit::Times,
        &ordered,
    );
    let moved = format!("a plain file; {} MiB moved", done.bytes >> 20);
    Ok(vec![before.beside("a plain file"), after.beside(moved)])
}

/// How fast the file is read, beside the plain one, in turns.
fn ratios(setting: &Setting, bed: &Bed, ino: Ino, dir: &Path) -> Result<Vec<f64>, Failure> {
    let mut samples = Vec::new();
    let mut buffer = vec![0; PIECE];
    for _ in 0..setting.pick(5, 3) {
        forget(dir)?;
        let mut file = File::open(dir.join("plain"))?;
        let (plain, read) = wall(|| {
            while file.read(&mut buffer)? > 0 {}
            Ok::<(), std::io::Error>(())
        });
        read?;
        forget(dir)?;
        let tree = bed.store.live(bed.volume).ok_or("the volume is gone")?;
        let mut reader = bed.store.reader(&tree, ino)?;
        let (ours, read) = wall(|| {
            let mut at = 0;
            loop {
                match reader.read(at, &mut buffer)? {
                    0 => return Ok::<(), strand_engine::Error>(()),
                    got => at += got as u64,
                }
            }
        });
        read?;
        samples.push(plain / ours);
    }
    Ok(samples)
}

/// Lets the page cache forget every file below a directory.
fn forget(dir: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            forget(&entry.path())?;
        } else {
            let file = File::open(entry.path())?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
