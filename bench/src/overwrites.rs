//! First overwrites after a checkpoint: every block passes to the checkpoint by an event, and no byte of it is moved.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::stores::Bed;
use crate::timing::{cpu, shuffled, wall};
use crate::touched_disk::TouchedDisk;
use std::sync::Arc;
use std::time::Duration;
use strand_engine::{Ino, NewBody};
use strand_journal::{BLOCK_SIZE, Disk, MemoryDisk, SlowDisk};

/// The two files, on stores of their own: one is overwritten with a checkpoint, the other without.
struct Sides {
    with: (Bed, Ino),
    without: (Bed, Ino),
    order: Vec<u32>,
    at: usize,
}

impl Sides {
    fn new(
        disk: &dyn Fn() -> Result<Arc<dyn Disk>, Failure>,
        blocks: u64,
    ) -> Result<Self, Failure> {
        let side = || {
            let bed = Bed::new(disk()?)?;
            let ino = bed.create(bed.root, "data", NewBody::File)?;
            bed.fill(ino, 0..blocks)?;
            Ok::<_, Failure>((bed, ino))
        };
        Ok(Self {
            with: side()?,
            without: side()?,
            order: shuffled(blocks),
            at: 0,
        })
    }

    /// The next blocks in random order, none twice before all were had.
    fn next(&mut self, count: usize) -> Vec<u64> {
        let picked = self.order.iter().cycle().skip(self.at).take(count);
        let picked = picked.map(|block| u64::from(*block)).collect();
        self.at = (self.at + count) % self.order.len();
        picked
    }
}

fn overwrite((bed, ino): &(Bed, Ino), blocks: &[u64]) -> Result<(), Failure> {
    let content = [0x3c; BLOCK_SIZE];
    blocks
        .iter()
        .try_for_each(|block| bed.durable_write(*ino, *block, &content))
}

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    Ok(vec![slow(setting)?, memory(setting)?])
}

fn slow(setting: &Setting) -> Result<Figure, Failure> {
    let disk = || -> Result<Arc<dyn Disk>, Failure> {
        let memory = Arc::new(MemoryDisk::new());
        Ok(Arc::new(SlowDisk::new(memory, Duration::from_millis(1))))
    };
    let mut sides = Sides::new(&disk, 16_384)?;
    let (mut ratios, mut plain) = (Vec::new(), Vec::new());
    let count = setting.pick(100, 50);
    for round in 0..setting.pick(20, 6) {
        let blocks = sides.next(count);
        sides.with.0.checkpoint()?;
        sides.with.0.store.sync()?;
        let (without, with);
        if round % 2 == 0 {
            without = wall(|| overwrite(&sides.without, &blocks));
            with = wall(|| overwrite(&sides.with, &blocks));
        } else {
            with = wall(|| overwrite(&sides.with, &blocks));
            without = wall(|| overwrite(&sides.without, &blocks));
        }
        without.1?;
        with.1?;
        ratios.push(with.0 / without.0);
        plain.push(without.0 / count as f64);
    }
    let figure = Figure::new(
        "first overwrites after a checkpoint, 1 ms flush",
        Goal::AtMost(1.05),
        Unit::Times,
        &ratios,
    );
    Ok(figure.beside(format!(
        "without one {} a commit",
        Unit::Seconds.show(median(&plain))
    )))
}

fn memory(setting: &Setting) -> Result<Figure, Failure> {
    let segments = setting.pick(12, 8);
    let disk = || -> Result<Arc<dyn Disk>, Failure> { Ok(Arc::new(TouchedDisk::new(segments)?)) };
    // 256 MiB: the paths to the blocks are as long as a database's of 1 GiB.
    let mut sides = Sides::new(&disk, 65_536)?;
    let (mut more, mut plain) = (Vec::new(), Vec::new());
    let count = setting.pick(5_000, 2_000);
    for round in 0..=setting.pick(9, 5) {
        let blocks = sides.next(count);
        sides.with.0.checkpoint()?;
        sides.with.0.store.sync()?;
        let (without, done) = cpu(|| overwrite(&sides.without, &blocks));
        done?;
        let (with, done) = cpu(|| overwrite(&sides.with, &blocks));
        done?;
        if round > 0 {
            more.push((with - without) / count as f64);
            plain.push(without / count as f64);
        }
    }
    let name = "first overwrites after a checkpoint, CPU more a block";
    let figure = Figure::new(name, Goal::AtMost(1e-6), Unit::Seconds, &more);
    Ok(figure.beside(format!(
        "without one {} a block",
        Unit::Seconds.show(median(&plain))
    )))
}
