//! Space given back: how fast is marked what is alive, what overwrites cost in a store that is nearly full, and how soon a checkpoint is gone that owns
//! much.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit};
use crate::setting::Setting;
use crate::sparse_disk::SparseDisk;
use crate::stores::{Bed, write};
use crate::timing::{Dice, cpu, wall};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use strand_engine::marks::{Marks, roots_of};
use strand_engine::{Command, Ino, NewBody, Retention};
use strand_journal::disk::FileDisk;
use strand_journal::{BLOCK_SIZE, Block, MemoryDisk, SlowDisk};

/// As many segments as a store of 16 GiB has by default, whatever the scale.
const SEGMENTS: u64 = 256;
/// Writes between two commits.
const GROUP: u64 = 64;
/// Blocks of a write: 8 KiB.
const BLOCKS: u64 = 2;
/// Checkpoints that are there at a time; the oldest goes when a new one is taken.
const ROTATING: u64 = 4;

pub(crate) fn overwrites(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = overwriting(setting, 70, 2.3, Some(0.4))?;
    figures.extend(overwriting(setting, 50, 1.5, None)?);
    Ok(figures)
}

pub(crate) fn checkpoints(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = vec![marking(setting)?];
    figures.extend(removing(setting)?);
    Ok(figures)
}

/// A file that was overwritten at random under checkpoints: all blocks that any root maps, walked once.
fn marking(setting: &Setting) -> Result<Figure, Failure> {
    let bed = Bed::new(Arc::new(SparseDisk::new(
        Arc::new(MemoryDisk::new()),
        [0xa5; 4],
    )))?;
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    let blocks = setting.pick(8, 1) << 20;
    bed.fill(ino, 0..blocks)?;
    let mut dice = Dice(5);
    for _ in 0..8 {
        bed.checkpoint()?;
        for i in 0..blocks / 64 {
            bed.place(ino, dice.below(blocks))?;
            if i % 4096 == 0 {
                bed.store.sync()?;
            }
        }
        bed.store.sync()?;
    }
    let mut roots = Vec::new();
    roots_of(&bed.store.state(), &mut roots);
    let head = bed.store.journal().head().next_addr;
    let mut samples = Vec::new();
    let mut found = 0;
    for _ in 0..3 {
        let (seconds, marks) = cpu(|| Marks::of(&roots, head, &mut || true));
        found = marks.ok_or("nobody stopped it")?.blocks();
        samples.push(found as f64 / seconds);
    }
    let figure = Figure::new(
        "distinct blocks marked, nine roots",
        Goal::AtLeast(1e7),
        Unit::EventsPerSecond,
        &samples,
    );
    Ok(figure.beside(format!("{found} blocks, CPU")))
}

/// A store with a file of `live` per cent of it, or one that is never full.
fn town(setting: &Setting, live: u64, full: bool) -> Result<(Bed, Ino, u64), Failure> {
    let segment = setting.pick(8 << 20, 2 << 20);
    let capacity = SEGMENTS * segment;
    let disk = Arc::new(FileDisk::create(setting.dir()?.keep())?);
    let bed = Bed::sized(disk, segment, full.then_some(capacity))?;
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    // What the checkpoints own is alive as well: a thirtieth for all of them.
    let blocks = capacity / BLOCK_SIZE as u64 * live / 100 * 29 / 30;
    bed.fill(ino, 0..blocks)?;
    bed.run(Command::RetentionSet {
        volume: bed.volume,
        retention: Retention {
            age: None,
            bytes: Some(capacity / 64),
        },
    })?;
    Ok((bed, ino, blocks))
}

/// Overwrites so many bytes in groups, with checkpoints that come and go; gives the seconds.
fn overwrite(
    bed: &Bed,
    ino: Ino,
    blocks: u64,
    bytes: u64,
    dice: &mut Dice,
) -> Result<f64, Failure> {
    let groups = bytes / (GROUP * BLOCKS * BLOCK_SIZE as u64);
    // All of them together own a thirtieth of the file.
    let every = (blocks / 30 / ROTATING / (GROUP * BLOCKS)).max(1);
    let payload = vec![Block::from_slice(&[0x3c; BLOCK_SIZE]); BLOCKS as usize];
    let mut taken = std::collections::VecDeque::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                bed.store.housekeep()?;
            }
            Ok::<(), strand_engine::Error>(())
        });
        let (seconds, done) = wall(|| {
            for group in 0..groups {
                if group % every == 0 {
                    taken.push_back(bed.checkpoint()?);
                    if taken.len() as u64 > ROTATING
                        && let Some(checkpoint) = taken.pop_front()
                    {
                        let cause = strand_engine::GiveUp::Asked;
                        bed.run(Command::CheckpointGiveUp { checkpoint, cause })?;
                    }
                }
                for _ in 0..GROUP {
                    let block = dice.below(blocks / BLOCKS) * BLOCKS;
                    let command = write(bed.volume, ino, block, BLOCKS);
                    bed.store.submit_with(&bed.actor, command, &payload)?;
                }
                bed.store.sync()?;
            }
            Ok::<(), Failure>(())
        });
        stop.store(true, Ordering::Relaxed);
        keeper.join().map_err(|_| "the housekeeper died")??;
        done?;
        for checkpoint in taken.drain(..) {
            let cause = strand_engine::GiveUp::Asked;
            bed.run(Command::CheckpointGiveUp { checkpoint, cause })?;
        }
        Ok(seconds)
    })
}

/// Random overwrites of 8 KiB in a store of which so much is alive, beside one that is never full.
fn overwriting(
    setting: &Setting,
    live: u64,
    most_written: f64,
    least_rate: Option<f64>,
) -> Result<Vec<Figure>, Failure> {
    let (full, ino, blocks) = town(setting, live, true)?;
    let (empty, other, _) = town(setting, live, false)?;
    let capacity = full.store.journal().space().capacity.unwrap_or(0);
    let mut dice = Dice(9);
    // Until every segment has been given back once.
    overwrite(&full, ino, blocks, capacity, &mut dice)?;
    let (mut rates, mut written) = (Vec::new(), Vec::new());
    for _ in 0..setting.pick(4, 3) {
        let bytes = capacity / 4;
        let before = bytes_written(&full);
        let busy = overwrite(&full, ino, blocks, bytes, &mut dice)?;
        written.push((bytes_written(&full) - before) as f64 / bytes as f64);
        let idle = overwrite(&empty, other, blocks, bytes / 4, &mut dice)?;
        rates.push(idle * 4.0 / busy);
    }
    let size = format!("{live} % of {} MiB alive", capacity >> 20);
    let mut figures = vec![Figure::new(
        format!("bytes written, overwrites of 8 KiB, {size}"),
        Goal::AtMost(most_written),
        Unit::Times,
        &written,
    )];
    if let Some(least) = least_rate {
        let figure = Figure::new(
            format!("overwrites of 8 KiB in groups of {GROUP}, {size}"),
            Goal::AtLeast(least),
            Unit::Times,
            &rates,
        );
        figures.push(figure.beside("a store that is never full"));
    }
    Ok(figures)
}

/// What the journal has written: every block that it has placed, and archives.
fn bytes_written(bed: &Bed) -> u64 {
    let journal = bed.store.journal();
    journal.head().next_addr.0 * BLOCK_SIZE as u64 + journal.space().archive_bytes
}

/// Removing a checkpoint that owns the whole file, and commits while that is counted.
fn removing(setting: &Setting) -> Result<[Figure; 2], Failure> {
    let disk = SparseDisk::new(Arc::new(MemoryDisk::new()), [0xa5; 4]);
    let bed = Bed::new(Arc::new(SlowDisk::new(
        Arc::new(disk),
        Duration::from_millis(1),
    )))?;
    bed.store.settle_elsewhere();
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    let other = bed.create(bed.root, "other", NewBody::File)?;
    let blocks = setting.pick(10 << 18, 1 << 18);
    bed.fill(ino, 0..blocks)?;
    let (mut samples, mut slower, mut counted) = (Vec::new(), Vec::new(), 0);
    let content = [0x3c; BLOCK_SIZE];
    for _ in 0..setting.pick(5, 3) {
        let checkpoint = bed.checkpoint()?;
        bed.fill(ino, 0..blocks)?;
        bed.store.sync()?;
        let (seconds, removed) = wall(|| bed.run(Command::CheckpointRemove { checkpoint }));
        removed?;
        samples.push(seconds);
        let (meanwhile, commits) = std::thread::scope(|scope| {
            let settling = scope.spawn(|| bed.store.settle());
            let mut commits = 0;
            let (seconds, written) = wall(|| {
                while !settling.is_finished() {
                    bed.durable_write(other, commits % 64, &content)?;
                    commits += 1;
                }
                Ok::<(), Failure>(())
            });
            settling.join().map_err(|_| "settling died")??;
            written?;
            Ok::<_, Failure>((seconds, commits.max(1)))
        })?;
        let (seconds, written) =
            wall(|| (0..commits).try_for_each(|n| bed.durable_write(other, n % 64, &content)));
        written?;
        slower.push(meanwhile / seconds);
        counted += commits;
    }
    let size = blocks >> 18;
    let figure = Figure::new(
        format!("removing a checkpoint that owns {size} GiB"),
        Goal::AtMost(10e-3),
        Unit::Seconds,
        &samples,
    );
    let commits = Figure::new(
        "commits while what it owned is counted",
        Goal::AtMost(1.2),
        Unit::Times,
        &slower,
    );
    Ok([
        figure.beside("1 ms flush"),
        commits.beside(format!("{counted} commits, beside as many after")),
    ])
}
