//! Checkpoint and rollback: constant time, whatever there is. The flush is not counted, which makes it one flush more.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::stores::{self, Bed};
use crate::timing::{cpu, wall};
use std::sync::Arc;
use strand_engine::{CheckpointId, Command, Event, Ino, NewBody};
use strand_journal::MemoryDisk;

/// Times each is done.
const REPEATS: u64 = 31;
/// Blocks of the file under many checkpoints.
const BLOCKS: u64 = 256;
/// Entries of a directory.
const DIRECTORY: u64 = 1000;
/// A median that grows by less than this over the whole range is flat, however small it is at the lower end.
const FLAT_WITHIN: f64 = 50e-6;

/// How long checkpoints and rollbacks took, in seconds, flush excluded.
#[derive(Default)]
pub(crate) struct Times {
    checkpoint: Vec<f64>,
    rollback: Vec<f64>,
}

/// Times checkpoints and rollbacks of a volume; what they leave is removed again. The file has at least one block.
pub(crate) fn time(bed: &Bed, ino: Ino) -> Result<Times, Failure> {
    let base = bed.checkpoint()?;
    let mut times = Times::default();
    for _ in 0..REPEATS {
        bed.place(ino, 0)?;
        let (seconds, done) = wall(|| bed.submit(stores::checkpoint(bed.volume)));
        times.checkpoint.push(seconds);
        let made = done?.events.iter().find_map(|event| match event {
            Event::CheckpointCreated { checkpoint, .. } => Some(*checkpoint),
            _ => None,
        });
        bed.place(ino, 0)?;
        let (seconds, done) = wall(|| bed.submit(stores::rollback(bed.volume, base)));
        times.rollback.push(seconds);
        let before = done?.events.iter().find_map(|event| match event {
            Event::RolledBack { before, .. } => Some(*before),
            _ => None,
        });
        bed.store.settle()?;
        for checkpoint in [made, before].into_iter().flatten() {
            remove(bed, checkpoint)?;
        }
        bed.store.sync()?;
    }
    remove(bed, base)?;
    Ok(times)
}

fn remove(bed: &Bed, checkpoint: CheckpointId) -> Result<(), Failure> {
    bed.submit(Command::CheckpointRemove { checkpoint })?;
    bed.store.settle()?;
    Ok(())
}

/// The two figures of a range: at its upper end at most 1 ms, and not much more than at its lower end.
pub(crate) fn figures(range: &str, small: &Times, large: &Times) -> [Figure; 2] {
    let one = |what: &str, small: &[f64], large: &[f64]| {
        let (low, high) = (median(small), median(large));
        let flat = high <= low * 2.0 || high - low <= FLAT_WITHIN;
        let figure = Figure::new(
            format!("{what}, {range}"),
            Goal::AtMost(1e-3),
            Unit::Seconds,
            large,
        );
        figure
            .and(", flat", flat)
            .beside(format!("at the lower end {}", Unit::Seconds.show(low)))
    };
    [
        one("checkpoint", &small.checkpoint, &large.checkpoint),
        one("rollback", &small.rollback, &large.rollback),
    ]
}

/// A store with one file of so many blocks.
pub(crate) fn with_blocks(bed: Bed, blocks: u64) -> Result<(Bed, Ino), Failure> {
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    bed.fill(ino, 0..blocks)?;
    Ok((bed, ino))
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let new = || Bed::new(Arc::new(MemoryDisk::new()));
    let many = setting.pick(1_000_000, 50_000);
    let mut measured = Vec::new();

    let few = with_files(new()?, 10)?;
    let lots = with_files(new()?, many)?;
    measured.extend(figures(
        &format!("10 to {many} files"),
        &time(&few.0, few.1)?,
        &time(&lots.0, lots.1)?,
    ));
    drop((few, lots));

    let many = setting.pick(1000, 200);
    let one = with_checkpoints(new()?, 1)?;
    let lots = with_checkpoints(new()?, many)?;
    measured.extend(figures(
        &format!("1 to {many} checkpoints"),
        &time(&one.0, one.1)?,
        &time(&lots.0, lots.1)?,
    ));
    measured.push(writes(&one, &lots, many)?);
    Ok(measured)
}

/// First overwrites after a checkpoint, with one of them and with many.
fn writes(one: &(Bed, Ino), lots: &(Bed, Ino), many: u64) -> Result<Figure, Failure> {
    let round = |(bed, ino): &(Bed, Ino)| -> Result<f64, Failure> {
        let checkpoint = bed.checkpoint()?;
        let (seconds, written) = cpu(|| (0..BLOCKS).try_for_each(|b| bed.place(*ino, b).map(drop)));
        written?;
        bed.store.sync()?;
        remove(bed, checkpoint)?;
        Ok(seconds)
    };
    let (mut ratios, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let few = round(one)?;
        ratios.push(round(lots)? / few);
        plain.push(few / BLOCKS as f64);
    }
    let figure = Figure::new(
        format!("a write with {many} checkpoints, CPU"),
        Goal::AtMost(1.25),
        Unit::Times,
        &ratios,
    );
    Ok(figure.beside(format!("with one {}", Unit::Seconds.show(median(&plain)))))
}

fn with_files(bed: Bed, files: u64) -> Result<(Bed, Ino), Failure> {
    let mut dir = bed.root;
    let mut last = Ino(0);
    for file in 0..files {
        if file % DIRECTORY == 0 {
            bed.store.sync()?;
            dir = bed.create(bed.root, &format!("d{}", file / DIRECTORY), NewBody::Dir)?;
        }
        last = bed.create(dir, &format!("f{file}"), NewBody::File)?;
    }
    bed.store.sync()?;
    Ok((bed, last))
}

fn with_checkpoints(bed: Bed, checkpoints: u64) -> Result<(Bed, Ino), Failure> {
    let (bed, ino) = with_blocks(bed, BLOCKS)?;
    for n in 1..checkpoints {
        bed.place(ino, n % BLOCKS)?;
        bed.checkpoint()?;
    }
    bed.store.sync()?;
    Ok((bed, ino))
}
