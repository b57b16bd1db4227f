//! System calls on files of the mount, beside the same on files of the disk.

use super::bed::{Bed, forget};
use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::timing::{Dice, wall};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// A database page.
const PAGE: usize = 8192;
/// A segment of the journal; such a write takes a header block and the two of its page of it.
const SEGMENT: u64 = 64 * MIB;
const JOBS: usize = 8;
/// Each job's file.
const JOB_FILE: u64 = 32 * MIB;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let bed = Bed::new(setting)?;
    let sides = [bed.mounted(), bed.plain()];
    let mut figures = durable_writes(setting, &sides)?;
    figures.push(cached_reads(setting, &sides)?);
    figures.extend(sequential(setting, &bed, &sides)?);
    figures.push(small_files(setting, &sides)?);
    Ok(figures)
}

/// The two sides of a round, the mount's index being 0; who begins changes from round to round.
fn in_turns(round: u64) -> [usize; 2] {
    if round.is_multiple_of(2) {
        [0, 1]
    } else {
        [1, 0]
    }
}

fn filled(path: &Path, bytes: u64) -> Result<File, Failure> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let mut dice = Dice(bytes);
    let content: Vec<u8> = (0..MIB).map(|_| dice.next() as u8).collect();
    for at in 0..bytes / MIB {
        file.write_all_at(&content, at * MIB)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// One page at a random place, durably; the time it took, in seconds.
fn durable_write(file: &File, dice: &mut Dice) -> Result<f64, Failure> {
    let mut page = [0; PAGE];
    page[..8].copy_from_slice(&dice.next().to_le_bytes());
    let at = dice.below(JOB_FILE / PAGE as u64) * PAGE as u64;
    let begun = Instant::now();
    file.write_all_at(&page, at)?;
    file.sync_data()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn durable_writes(setting: &Setting, sides: &[PathBuf; 2]) -> Result<Vec<Figure>, Failure> {
    let mut files: [Vec<File>; 2] = [Vec::new(), Vec::new()];
    for (side, files) in sides.iter().zip(&mut files) {
        for job in 0..JOBS {
            files.push(filled(&side.join(format!("job-{job}")), JOB_FILE)?);
        }
    }
    let mut dice = Dice(8);
    // Until the journal is past the segment that it was in when such writes began: from then on it has prepared its segments for them. The other side gets as
    // many, and overwrites what is written already from the first on.
    for _ in 0..2 * SEGMENT / (3 * PAGE as u64) {
        for file in &files {
            durable_write(&file[0], &mut dice)?;
        }
    }
    let (mut more, mut ours, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..setting.pick(12, 4) {
        let mut medians = [0.0; 2];
        for side in in_turns(round) {
            let times = (0..setting.pick(400, 100))
                .map(|_| durable_write(&files[side][0], &mut dice))
                .collect::<Result<Vec<f64>, _>>()?;
            medians[side] = median(&times);
        }
        more.push(medians[0] - medians[1]);
        ours.push(medians[0]);
        bare.push(medians[1]);
    }
    let one = Figure::new(
        "8 KiB random write + fdatasync, 1 job: more than ext4",
        Goal::AtMost(50e-6),
        Unit::Seconds,
        &more,
    )
    .beside(format!(
        "{} beside {}",
        Unit::Seconds.show(median(&ours)),
        Unit::Seconds.show(median(&bare))
    ));

    let writes = setting.pick(200, 50);
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..setting.pick(9, 3) {
        let mut rate = [0.0; 2];
        for side in in_turns(round) {
            let time = jobs(&files[side], writes, round)?;
            rate[side] = (JOBS * writes) as f64 / time;
            rates[side].push(rate[side]);
        }
        ratios.push(rate[0] / rate[1]);
    }
    let eight = Figure::new(
        "8 KiB random write + fdatasync, 8 jobs, beside ext4",
        Goal::AtLeast(1.0),
        Unit::Times,
        &ratios,
    )
    .beside(both(Unit::PerSecond, &rates));
    Ok(vec![one, eight])
}

/// Every job writes to its own file, so many pages; the time until the last has done it.
fn jobs(files: &[File], writes: usize, seed: u64) -> Result<f64, Failure> {
    let gate = Barrier::new(files.len());
    let job = |(number, file): (usize, &File)| -> Result<f64, Failure> {
        let mut dice = Dice(seed * 100 + number as u64);
        gate.wait();
        let begun = Instant::now();
        for _ in 0..writes {
            durable_write(file, &mut dice)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let running: Vec<_> = files
            .iter()
            .enumerate()
            .map(|numbered| scope.spawn(move || job(numbered)))
            .collect();
        running.into_iter().try_fold(0.0f64, |longest, job| {
            Ok(longest.max(job.join().map_err(|_| "a job panicked")??))
        })
    })
}

/// The medians of the two sides.
fn both(unit: Unit, rates: &[Vec<f64>; 2]) -> String {
    format!(
        "{} beside {}",
        unit.show(median(&rates[0])),
        unit.show(median(&rates[1]))
    )
}

fn cached_reads(setting: &Setting, sides: &[PathBuf; 2]) -> Result<Figure, Failure> {
    const BLOCK: usize = 4096;
    let bytes = 256 * MIB;
    let mut files = Vec::new();
    for side in sides {
        let file = filled(&side.join("cached"), bytes)?;
        let mut buffer = vec![0; MIB as usize];
        for at in 0..bytes / MIB {
            file.read_exact_at(&mut buffer, at * MIB)?;
        }
        files.push(file);
    }
    let reads = setting.pick(200_000, 50_000);
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for round in 0..setting.pick(9, 3) {
        let mut rate = [0.0; 2];
        for side in in_turns(round) {
            let (mut dice, mut buffer) = (Dice(round), [0; BLOCK]);
            let (time, done) = wall(|| -> Result<(), Failure> {
                for _ in 0..reads {
                    let at = dice.below(bytes / BLOCK as u64) * BLOCK as u64;
                    files[side].read_exact_at(&mut buffer, at)?;
                }
                Ok(())
            });
            done?;
            rate[side] = reads as f64 / time;
            rates[side].push(rate[side]);
        }
        ratios.push(rate[0] / rate[1]);
    }
    Ok(Figure::new(
        "cached random 4 KiB reads, beside ext4",
        Goal::AtLeast(0.9),
        Unit::Times,
        &ratios,
    )
    .beside(both(Unit::PerSecond, &rates)))
}

fn sequential(setting: &Setting, bed: &Bed, sides: &[PathBuf; 2]) -> Result<Vec<Figure>, Failure> {
    let bytes = setting.pick(1024 * MIB, 128 * MIB);
    let mut buffer = vec![0; MIB as usize];
    let mut rates = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 0..3 {
        let mut rate = [[0.0; 2]; 2];
        for side in in_turns(round) {
            let path = sides[side].join("long");
            let (time, done) = wall(|| filled(&path, bytes));
            done?;
            rate[0][side] = bytes as f64 / time;
            forget(&path)?;
            bed.forget_store()?;
            let file = File::open(&path)?;
            let (time, done) = wall(|| -> Result<(), Failure> {
                for at in 0..bytes / MIB {
                    file.read_exact_at(&mut buffer, at * MIB)?;
                }
                Ok(())
            });
            done?;
            rate[1][side] = bytes as f64 / time;
            fs::remove_file(&path)?;
        }
        for way in 0..2 {
            ratios[way].push(rate[way][0] / rate[way][1]);
            rates[way][0].push(rate[way][0]);
            rates[way][1].push(rate[way][1]);
        }
    }
    let figure = |way: usize, what: &str| {
        Figure::new(
            format!("sequential {what} of {} MiB, beside ext4", bytes / MIB),
            Goal::AtLeast(0.6),
            Unit::Times,
            &ratios[way],
        )
        .beside(both(Unit::BytesPerSecond, &rates[way]))
    };
    Ok(vec![
        figure(0, "write + fsync"),
        figure(1, "read from disk"),
    ])
}

fn small_files(setting: &Setting, sides: &[PathBuf; 2]) -> Result<Figure, Failure> {
    let count: u64 = setting.pick(100_000, 10_000);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..setting.pick(3, 1) {
        for side in in_turns(round) {
            let dir = sides[side].join("small");
            fs::create_dir(&dir)?;
            let name = |i: u64| dir.join(format!("file-{i:06}"));
            let (time, done) = wall(|| -> Result<(), Failure> {
                for i in 0..count {
                    fs::write(name(i), [i as u8; 100])?;
                }
                for i in 0..count {
                    if fs::metadata(name(i))?.len() != 100 {
                        return Err("a file has not its size".into());
                    }
                }
                for i in 0..count {
                    fs::remove_file(name(i))?;
                }
                Ok(())
            });
            done?;
            rates[side].push(3.0 * count as f64 / time);
            fs::remove_dir(&dir)?;
        }
    }
    Ok(Figure::new(
        format!("{count} files of 100 B in a directory: create, stat, unlink"),
        Goal::AtLeast(10_000.0),
        Unit::PerSecond,
        &rates[0],
    )
    .beside(format!("ext4 {}", Unit::PerSecond.show(median(&rates[1])))))
}
