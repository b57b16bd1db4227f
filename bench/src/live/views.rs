//! Mounts of the past, and checkpoints while somebody writes.

use super::bed::{Bed, VOLUME};
use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Files of the volume that is looked at.
const FILES: u64 = 2000;
const FILE: usize = 16 << 10;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut bed = Bed::new(setting)?;
    let dir = bed.mounted().join("files");
    fs::create_dir(&dir)?;
    for i in 0..FILES {
        fs::write(dir.join(format!("{i}")), vec![i as u8; FILE])?;
    }
    let mut figures = vec![checkpoints_are_mounted(setting, &mut bed)?];
    figures.push(a_writer_stalls(setting, &bed)?);
    figures.push(the_past_is_mounted(setting, &mut bed)?);
    Ok(figures)
}

/// Mounts a view and reads a first byte of it; in seconds, the start of the command included.
fn first_byte(bed: &mut Bed, view: &str, file: &str) -> Result<f64, Failure> {
    let begun = Instant::now();
    let at = bed.mount(view, "view", &["--read-only"])?;
    let mut byte = [0];
    File::open(at.join(file))?.read_exact(&mut byte)?;
    let time = begun.elapsed().as_secs_f64();
    bed.unmount("view")?;
    Ok(time)
}

fn checkpoints_are_mounted(setting: &Setting, bed: &mut Bed) -> Result<Figure, Failure> {
    let mut times = Vec::new();
    for i in 0..setting.pick(15, 5) {
        let name = format!("c{i}");
        bed.strand(["checkpoint", "create", &name, "--volume", VOLUME])?;
        let file = format!("files/{}", i * 7);
        fs::write(bed.mounted().join(&file), "changed")?;
        times.push(first_byte(bed, &format!("{VOLUME}@{name}"), &file)?);
    }
    let name = "mount of a checkpoint, to its first byte";
    Ok(Figure::new(name, Goal::AtMost(0.05), Unit::Seconds, &times)
        .beside(format!("{FILES} files")))
}

/// Changes attributes until the store is so many events further, and gives the position then.
fn events(bed: &Bed, count: u64) -> Result<u64, Failure> {
    let dir = bed.mounted().join("files");
    let change = |thread: u64| -> Result<(), Failure> {
        for i in 0..count / 2 {
            let mode = 0o600 | (i as u32 & 0o77);
            let path = dir.join(format!("{}", (i * 2 + thread) % FILES));
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| change(1));
        change(0)?;
        other.join().map_err(|_| "a thread panicked")?
    })?;
    position(bed)
}

fn position(bed: &Bed) -> Result<u64, Failure> {
    let info = bed.strand(["info", "--json"])?;
    let (_, behind) = info
        .split_once("\"position\":")
        .ok_or("info says no position")?;
    let digits: String = behind
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Ok(digits.parse()?)
}

fn the_past_is_mounted(setting: &Setting, bed: &mut Bed) -> Result<Figure, Failure> {
    let from = position(bed)?;
    let until = events(bed, setting.pick(1_000_000, 100_000))?;
    let mut times = Vec::new();
    // Evenly over all of it: some right behind a kept root, some far behind one.
    for part in 1..=8 {
        let at = from + (until - from) * part / 8 - 1;
        times.push(first_byte(bed, &format!("{VOLUME}@seq:{at}"), "files/0")?);
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    let name = "mount of the past, within 1M events of a kept root";
    Ok(Figure::new(name, Goal::AtMost(1.5), Unit::Seconds, &times)
        .and(", at worst too", worst <= 1.5)
        .beside(format!("{} events back at most", until - from)))
}

/// A writer's operations: when each began, and how long it took.
type Operations = Vec<(Instant, Duration)>;

fn write_until(done: &AtomicBool, path: &Path) -> Result<Operations, Failure> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let mut operations = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let begun = Instant::now();
        file.write_all_at(&[7; 8192], operations.len() as u64 % 1000 * 8192)?;
        file.sync_data()?;
        operations.push((begun, begun.elapsed()));
    }
    Ok(operations)
}

/// The longest time that a durable write took which overlapped a checkpoint, for each of them.
fn a_writer_stalls(setting: &Setting, bed: &Bed) -> Result<Figure, Failure> {
    let done = AtomicBool::new(false);
    let taken: Mutex<Vec<(Instant, Instant)>> = Mutex::new(Vec::new());
    let writers = thread::scope(|scope| -> Result<Vec<Operations>, Failure> {
        let (done, taken) = (&done, &taken);
        let writers: Vec<_> = (0..2)
            .map(|i| {
                let path = bed.mounted().join(format!("written-{i}"));
                scope.spawn(move || write_until(done, &path))
            })
            .collect();
        let checkpoints = (|| -> Result<(), Failure> {
            for i in 0..setting.pick(30, 8) {
                thread::sleep(Duration::from_millis(200));
                let begun = Instant::now();
                bed.strand(["checkpoint", "create", &format!("s{i}"), "--volume", VOLUME])?;
                let mut taken = taken.lock().map_err(|_| "poisoned")?;
                taken.push((begun, Instant::now()));
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let writers: Result<Vec<Operations>, Failure> = writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| "a writer panicked")?)
            .collect();
        checkpoints?;
        writers
    })?;
    let operations: Operations = writers.into_iter().flatten().collect();
    let taken = taken.into_inner().map_err(|_| "poisoned")?;
    let overlaps = |(from, to): &(Instant, Instant), (begun, took): &(Instant, Duration)| {
        begun < to && *begun + *took > *from
    };
    let stalls: Vec<f64> = taken
        .iter()
        .map(|checkpoint| {
            let during = operations.iter().filter(|o| overlaps(checkpoint, o));
            during
                .map(|(_, took)| took.as_secs_f64())
                .fold(0.0, f64::max)
        })
        .collect();
    let usual: Vec<f64> = operations
        .iter()
        .filter(|operation| {
            !taken
                .iter()
                .any(|checkpoint| overlaps(checkpoint, operation))
        })
        .map(|(_, took)| took.as_secs_f64())
        .collect();
    let longest = usual.iter().copied().fold(0.0, f64::max);
    let name = "longest stall of a writer while a checkpoint is taken";
    Ok(
        Figure::new(name, Goal::AtMost(0.01), Unit::Seconds, &stalls).beside(format!(
            "without: usually {}, at most {}",
            Unit::Seconds.show(median(&usual)),
            Unit::Seconds.show(longest)
        )),
    )
}
