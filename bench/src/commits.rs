//! Durable commits of 4 KiB: one writer beside a bare loop, sixteen beside one and beside bare threads, and what one costs the processor.
//!
//! The bare loops write what a commit writes (a header block and a data block a writer, 8 KiB for one, in one call) and flush it, into a
//! file in the same state as the store's segment: space allocated but never written, or filled with zeros before. The loop that we are held
//! against writes as programs do, through the page cache. The store writes past it, so the table also says how a loop does that does the same.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::stores::Bed;
use crate::timing::{Dice, cpu, wall};
use crate::touched_disk::TouchedDisk;
use std::cell::RefCell;
use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;
use strand_engine::{Ino, NewBody};
use strand_journal::{
    BLOCK_SIZE, DEFAULT_SEGMENT_SIZE, Disk, DiskFile, FileDisk, MemoryDisk, Slab, SlowDisk,
};

/// Blocks of the file that is written: 64 MiB.
const FILE_BLOCKS: u64 = 16_384;
const WRITERS: usize = 16;
/// The flush of the slow disk.
const SLOW_FLUSH: Duration = Duration::from_millis(1);
/// Small commits in a row after which a segment ahead has surely been asked for.
const SMALL_COMMITS: u64 = 200;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let mut figures = on_the_disk(setting)?;
    figures.push(in_memory(setting)?);
    figures.push(on_the_slow_disk(setting)?);
    Ok(figures)
}

/// A store and a bare file, side by side on the disk.
struct Pair {
    bed: Bed,
    ino: Ino,
    dice: Dice,
    bare: Arc<dyn DiskFile>,
    bare_at: AtomicU64,
}

impl Pair {
    fn new(bed: Bed, bare: Arc<dyn DiskFile>) -> Result<Self, Failure> {
        let ino = bed.create(bed.root, "data", NewBody::File)?;
        bed.fill(ino, 0..1024)?;
        Ok(Self {
            bed,
            ino,
            dice: Dice(1),
            bare,
            bare_at: AtomicU64::new(0),
        })
    }

    fn ours(&mut self, commits: u64) -> Result<f64, Failure> {
        let (time, done) = wall(|| {
            for _ in 0..commits {
                let block = self.dice.below(FILE_BLOCKS);
                self.bed.durable_write(self.ino, block, &content(block))?;
            }
            Ok(())
        });
        done.map(|()| time)
    }

    /// Where the next bare write goes; the file is gone through once and then again, as segments are.
    fn bare_place(&self, bytes: u64) -> u64 {
        self.bare_at.fetch_add(bytes, Ordering::Relaxed)
            % (DEFAULT_SEGMENT_SIZE - 64 * BLOCK_SIZE as u64)
    }

    fn bare(&mut self, commits: u64) -> Result<f64, Failure> {
        let (time, done) = wall(|| {
            for i in 0..commits {
                let block = content(i);
                self.bare.write_at(
                    &[IoSlice::new(&block), IoSlice::new(&block)],
                    self.bare_place(2 * BLOCK_SIZE as u64),
                )?;
                self.bare.sync_data()?;
            }
            Ok(())
        });
        done.map(|()| time)
    }

    /// The bare loop past the page cache: the same bytes in one aligned piece.
    fn bare_past_the_cache(&self, commits: u64) -> Result<f64, Failure> {
        let mut piece = Slab::new(2);
        let (time, done) = wall(|| {
            for i in 0..commits {
                for block in piece.bytes_mut().chunks_exact_mut(BLOCK_SIZE) {
                    block.copy_from_slice(&content(i));
                }
                self.bare.write_at(
                    &[IoSlice::new(piece.bytes())],
                    self.bare_place(2 * BLOCK_SIZE as u64),
                )?;
                self.bare.sync_data()?;
            }
            Ok(())
        });
        done.map(|()| time)
    }

    fn ours_together(&self, writers: usize, commits: u64) -> Result<f64, Failure> {
        let (bed, ino) = (&self.bed, self.ino);
        together(writers, &|writer| {
            let mut dice = Dice(writer as u64);
            for _ in 0..commits {
                let block = dice.below(FILE_BLOCKS);
                bed.durable_write(ino, block, &content(block))?;
            }
            Ok(())
        })
    }

    /// The bare group: all writers hand in a block, one writes them behind a header block and flushes, all go on.
    fn bare_together(&self, writers: usize, commits: u64) -> Result<f64, Failure> {
        let (full, flushed) = (Barrier::new(writers), Barrier::new(writers));
        let blocks = Mutex::new(Vec::with_capacity(writers + 1));
        together(writers, &|writer| {
            for i in 0..commits {
                let block = content(writer as u64 + i);
                blocks.lock().map_err(|_| "a writer died")?.push(block);
                if full.wait().is_leader() {
                    let mut blocks = blocks.lock().map_err(|_| "a writer died")?;
                    blocks.push(content(i));
                    let parts: Vec<_> = blocks
                        .iter()
                        .map(|block| IoSlice::new(&block[..]))
                        .collect();
                    self.bare
                        .write_at(&parts, self.bare_place((parts.len() * BLOCK_SIZE) as u64))?;
                    self.bare.sync_data()?;
                    drop(parts);
                    blocks.clear();
                }
                flushed.wait();
            }
            Ok(())
        })
    }

    /// Goes on in a segment that the journal has filled with zeros ahead of its need.
    fn enter_prepared_segment(&mut self) -> Result<(), Failure> {
        let blocks = u64::from(self.bed.store.journal().blocks_per_segment());
        let begun = self.bed.store.journal().head().segment;
        while self.bed.store.journal().head().segment == begun
            && u64::from(self.bed.store.journal().head().block) <= blocks / 2
        {
            self.bed.fill(self.ino, 0..256)?;
        }
        self.ours(SMALL_COMMITS)?;
        let disk = self.bed.store.disk();
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(100));
            let names = disk.list("journal")?;
            let last = disk.open_read(&format!(
                "journal/{}",
                names.last().map_or("", String::as_str)
            ))?;
            let end = DEFAULT_SEGMENT_SIZE - BLOCK_SIZE as u64;
            if names.len() as u64 > begun && last.next_data(end)? == Some(end) {
                break;
            }
        }
        // Its flush.
        thread::sleep(Duration::from_millis(500));
        while self.bed.store.journal().head().segment == begun {
            self.bed.fill(self.ino, 0..256)?;
        }
        Ok(())
    }
}

/// A block that differs from its neighbours and is not zero.
fn content(n: u64) -> [u8; BLOCK_SIZE] {
    let mut block = [0x5a; BLOCK_SIZE];
    block[..8].copy_from_slice(&n.to_le_bytes());
    block
}

/// Runs `work` on so many threads; gives the time from their common start to the end of the last, in seconds.
fn together(
    writers: usize,
    work: &(dyn Fn(usize) -> Result<(), Failure> + Sync),
) -> Result<f64, Failure> {
    let start = Barrier::new(writers + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    work(writer)
                })
            })
            .collect();
        start.wait();
        let (time, done) = wall(|| {
            threads
                .into_iter()
                .try_for_each(|t| t.join().map_err(|_| "a writer died")?)
        });
        done.map(|()| time)
    })
}

/// Times a bare loop and ours in turns; gives the ratios of speed, ours to bare, and the bare time of a commit.
fn in_turns(
    rounds: usize,
    mut bare: impl FnMut() -> Result<f64, Failure>,
    mut ours: impl FnMut() -> Result<f64, Failure>,
) -> Result<(Vec<f64>, f64), Failure> {
    let (mut ratios, mut bares) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (b, o) = if round % 2 == 0 {
            let b = bare()?;
            (b, ours()?)
        } else {
            let o = ours()?;
            (bare()?, o)
        };
        // The first round warms up.
        if round > 0 {
            ratios.push(b / o);
            bares.push(b);
        }
    }
    Ok((ratios, median(&bares)))
}

/// Ours beside the bare loop, then beside the one that writes past the cache as we do.
fn one_writer(
    pair: &mut Pair,
    state: &str,
    rounds: usize,
    commits: u64,
) -> Result<Figure, Failure> {
    let pair = RefCell::new(pair);
    let each = |seconds: f64| Unit::Seconds.show(seconds / commits as f64);
    let (ratios, bare) = in_turns(
        rounds,
        || pair.borrow_mut().bare(commits),
        || pair.borrow_mut().ours(commits),
    )?;
    // Fewer rounds: the journal prepares the next segment when half of this one is full, and that would disturb.
    let (past, direct) = in_turns(
        rounds / 2,
        || pair.borrow_mut().bare_past_the_cache(commits),
        || pair.borrow_mut().ours(commits),
    )?;
    let figure = Figure::new(
        format!("durable commits, 1 writer, {state} segment"),
        Goal::AtLeast(0.9),
        Unit::Times,
        &ratios,
    );
    Ok(figure.beside(format!(
        "bare loop (8 KiB) {}; past the cache {}: {}",
        each(bare),
        each(direct),
        Unit::Times.show(median(&past))
    )))
}

fn on_the_disk(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let (store_dir, bare_dir) = (setting.dir()?, setting.dir()?);
    let disk = FileDisk::open(store_dir.path())?;
    let beside = FileDisk::open(bare_dir.path())?;
    let unwritten = beside.create("unwritten", DEFAULT_SEGMENT_SIZE)?;
    let prepared = beside.create_prepared("prepared", DEFAULT_SEGMENT_SIZE)?;
    let (rounds, commits) = (setting.pick(20, 6), setting.pick(100, 50));
    let mut figures = Vec::new();

    let mut pair = Pair::new(Bed::new(Arc::new(disk))?, unwritten)?;
    figures.push(one_writer(&mut pair, "unwritten", rounds, commits)?);
    pair.enter_prepared_segment()?;
    pair.bare = prepared;
    figures.push(one_writer(&mut pair, "prepared", rounds, commits)?);

    let commits = commits / 5;
    let (ratios, bare) = in_turns(
        rounds,
        || pair.bare_together(WRITERS, commits),
        || pair.ours_together(WRITERS, commits),
    )?;
    let figure = Figure::new(
        "durable commits, 16 writers, real disk",
        Goal::AtLeast(0.85),
        Unit::Times,
        &ratios,
    );
    let group = Unit::Seconds.show(bare / commits as f64);
    figures.push(figure.beside(format!("bare group of 16: {group}")));
    Ok(figures)
}

fn in_memory(setting: &Setting) -> Result<Figure, Failure> {
    // A round takes 80 MiB of journal.
    let segments = setting.pick(12, 5);
    let bed = Bed::new(Arc::new(TouchedDisk::new(segments)?))?;
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    bed.fill(ino, 0..FILE_BLOCKS)?;
    let mut dice = Dice(2);
    let commits: u32 = setting.pick(10_000, 2_000);
    let mut samples = Vec::new();
    for _ in 0..7 {
        let (time, done) = cpu(|| {
            (0..commits).try_for_each(|_| {
                let block = dice.below(FILE_BLOCKS);
                bed.durable_write(ino, block, &content(block))
            })
        });
        done?;
        samples.push(time / f64::from(commits));
    }
    let figure = Figure::new(
        "CPU of a commit, memory disk",
        Goal::AtMost(10e-6),
        Unit::Seconds,
        &samples,
    );
    Ok(figure.beside(format!("rounds of {commits}, pages touched before")))
}

fn on_the_slow_disk(setting: &Setting) -> Result<Figure, Failure> {
    let memory = Arc::new(MemoryDisk::new());
    let slow: Arc<dyn Disk> = Arc::new(SlowDisk::new(memory.clone(), SLOW_FLUSH));
    let unused = memory.create("unused", 0)?;
    let pair = Pair::new(Bed::new(slow)?, unused)?;
    let commits = setting.pick(100, 50);
    let (ratios, one) = in_turns(
        setting.pick(10, 4),
        || pair.ours_together(1, commits),
        || pair.ours_together(WRITERS, commits),
    )?;
    // Sixteen writers do sixteen times the commits.
    let ratios: Vec<f64> = ratios.iter().map(|ratio| ratio * WRITERS as f64).collect();
    let figure = Figure::new(
        "durable commits, 16 writers to 1, 1 ms flush",
        Goal::AtLeast(12.0),
        Unit::Times,
        &ratios,
    );
    Ok(figure.beside(format!(
        "one writer {} a commit",
        Unit::Seconds.show(one / commits as f64)
    )))
}
