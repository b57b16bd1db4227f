//! The daemon's memory under steady work, in a store that is full after half a minute: history windows move on and space is given back all the time.

use super::bed::Bed;
use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::timing::Dice;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the daemon may take for so small a volume: its own bounds, not its maps (docs/operations.md).
const BUDGET: f64 = 512.0 * 1024.0 * 1024.0;
/// Room for that volume, its history and what is about to be given back.
const CAPACITY: &str = "1GiB";
/// Pages of the file that is overwritten: 128 MiB.
const PAGES: u64 = 16_384;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let bed = Bed::with(setting, &["--capacity", CAPACITY])?;
    let length = Duration::from_secs(match (setting.quick, setting.soak) {
        (true, _) => 20,
        (false, false) => 120,
        (false, true) => 600,
    });
    let done = AtomicBool::new(false);
    let samples = thread::scope(|scope| -> Result<Vec<f64>, Failure> {
        let (done, mounted) = (&done, bed.mounted());
        let workers = [
            scope.spawn({
                let path = mounted.join("pages");
                move || overwrite(done, &path)
            }),
            scope.spawn({
                let dir = mounted.join("files");
                move || come_and_go(done, &dir)
            }),
        ];
        let samples = (|| {
            let begun = Instant::now();
            let mut samples = Vec::new();
            while begun.elapsed() < length && !workers.iter().any(|worker| worker.is_finished()) {
                thread::sleep(Duration::from_millis(500));
                samples.push(bed.daemon_memory()?);
            }
            Ok(samples)
        })();
        done.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        samples
    })?;
    // The first quarter fills what is to be filled: the store and its window, maps, buffers, tables.
    let quarter = samples.len() / 4;
    let early = median(&samples[quarter..2 * quarter]);
    let late = median(&samples[3 * quarter..]);
    let most = samples.iter().copied().fold(0.0, f64::max);
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / 1024.0 / 1024.0);
    let name = format!(
        "the daemon's memory over {} s: last quarter beside the second",
        length.as_secs()
    );
    Ok(vec![
        Figure::new(name, Goal::AtMost(1.1), Unit::Times, &[late / early])
            .and(&format!(", ≤ {}", mib(BUDGET)), most <= BUDGET)
            .beside(format!(
                "{} then {}, {} at most",
                mib(early),
                mib(late),
                mib(most)
            )),
    ])
}

/// Overwrites pages of one file at random, some durably.
fn overwrite(done: &AtomicBool, path: &Path) -> Result<(), Failure> {
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    let mut dice = Dice(3);
    let mut page = [0; 8192];
    while !done.load(Ordering::Relaxed) {
        let number = dice.next();
        page[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all_at(&page, number % PAGES * 8192)?;
        if number.is_multiple_of(16) {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Makes files, reads, renames and removes them.
fn come_and_go(done: &AtomicBool, dir: &Path) -> Result<(), Failure> {
    fs::create_dir(dir)?;
    let mut number = 0u64;
    while !done.load(Ordering::Relaxed) {
        let name = |n: u64| dir.join(format!("{}", n % 1000));
        fs::write(name(number), [1; 3000])?;
        if fs::read(name(number))?.len() != 3000 {
            return Err("a file is not what was written".into());
        }
        if number >= 500 {
            fs::rename(name(number - 500), dir.join("last"))?;
        }
        number += 1;
    }
    Ok(())
}
