//! A file of 64 GiB, every block mapped by a real event: checkpoint and rollback, opening, and a million more events to fold.
//!
//! The payload of the 64 GiB is dropped ([`crate::sparse_disk`]); the million events, with their payload, lie on the real disk. Their
//! mix comes from the engine: a checkpoint holds all blocks, five sevenths were overwritten since, so that of random writes over all
//! blocks two in seven pass one to the checkpoint (70 % written, 20 % copied out), beside one metadata event in ten.

use crate::Failure;
use crate::checkpoints::{figures, time, with_blocks};
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::sparse_disk::SparseDisk;
use crate::stores::{self, Bed};
use crate::timing::{Dice, cpu, wall};
use std::collections::BTreeSet;
use std::sync::Arc;
use strand_engine::{Bytes, Command, Event, Ino, NewBody, SetAttributes, State, fold::Folder};
use strand_journal::{Disk, FileDisk, Frame, MemoryDisk, Start};
use strand_replay::log;

/// Events of a frame, at least; fewer would be kinder to nobody.
const FRAME_EVENTS: u64 = 16;
/// Frames between two flushes.
const FRAMES_A_FLUSH: u64 = 64;
/// Rows of a page of the log.
const PAGE: usize = 24;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let blocks: u64 = setting.pick(16 << 20, 1 << 20);
    let size = format!("{} GiB mapped", blocks >> 18);
    let small = with_blocks(Bed::new(Arc::new(MemoryDisk::new()))?, 256)?;

    let dir = setting.dir()?;
    let beneath: Arc<dyn Disk> = Arc::new(FileDisk::open(dir.path())?);
    let disk = Arc::new(SparseDisk::new(beneath, [0xa5; 4]));
    let (bed, ino) = with_blocks(Bed::new(disk.clone())?, blocks)?;
    let mut measured = Vec::new();
    measured.extend(figures(
        &format!("1 MiB to {size}"),
        &time(&small.0, small.1)?,
        &time(&bed, ino)?,
    ));
    drop(small);

    let (bed, figure) = opening_clean(bed, &size)?;
    measured.push(figure);

    bed.checkpoint()?;
    bed.fill(ino, 0..blocks / 7 * 5)?;
    bed.store.write_state_file()?;
    disk.keep_payload();
    let base = bed.store.state();
    let start = bed.store.journal().seal()?;
    let mix = million(&bed, ino, blocks, setting.pick(1_000_000, 100_000))?;
    measured.extend(folds(&bed, &base, start, &mix)?);

    measured.push(first_page(&bed, &mix)?);
    drop(base);
    let (bed, seconds, busy) = bed.reopen(false)?;
    let opening = bed.store.opening();
    if opening.folded < mix.all || opening.state_file.is_none() {
        return Err(format!(
            "{} events were folded from {:?}",
            opening.folded, opening.state_file
        )
        .into());
    }
    let name = "opening with 1 M events since the last state file";
    let figure = Figure::new(name, Goal::AtMost(2.5), Unit::Seconds, &[seconds]);
    let busy = Unit::Seconds.show(busy);
    measured.push(figure.beside(format!("{} events on {size}; CPU {busy}", opening.folded)));
    Ok(measured)
}

fn opening_clean(bed: Bed, size: &str) -> Result<(Bed, Figure), Failure> {
    bed.store.write_state_file()?;
    let mut samples = Vec::new();
    let (mut bed, mut busy) = (bed, 0.0);
    for _ in 0..3 {
        let (again, seconds, cpu) = bed.reopen(true)?;
        (bed, busy) = (again, cpu);
        samples.push(seconds);
    }
    let figure = Figure::new(
        format!("opening, cleanly closed, {size}"),
        Goal::AtMost(1.0),
        Unit::Seconds,
        &samples,
    );
    let folded = bed.store.opening().folded;
    Ok((
        bed,
        figure.beside(format!(
            "{folded} events behind the state file; CPU {}",
            Unit::Seconds.show(busy)
        )),
    ))
}

/// How many events of each sort came about.
#[derive(Default)]
struct Mix {
    all: u64,
    written: u64,
    copied_out: u64,
    frames: u64,
}

impl Mix {
    fn show(&self) -> String {
        let percent = |part: u64| 100.0 * part as f64 / self.all as f64;
        let (written, copied) = (percent(self.written), percent(self.copied_out));
        let each = self.all as f64 / self.frames as f64;
        format!(
            "{written:.0}/{copied:.0}/{:.0} %, {each:.0} events a frame",
            100.0 - written - copied
        )
    }
}

/// So many events, or a few more, in frames of [`FRAME_EVENTS`].
fn million(bed: &Bed, ino: Ino, blocks: u64, events: u64) -> Result<Mix, Failure> {
    let mut dice = Dice(3);
    let mut mix = Mix::default();
    let mut files = 0_u64;
    let mut in_frame = 0;
    while mix.all < events {
        let done = if dice.below(8) == 0 {
            let command = metadata(bed, &mut dice, &mut files);
            bed.submit(command)?
        } else {
            bed.place(ino, dice.below(blocks))?
        };
        for event in &done.events {
            mix.all += 1;
            in_frame += 1;
            mix.written += u64::from(matches!(event, Event::Written { .. }));
            mix.copied_out += u64::from(matches!(event, Event::CopiedOut { .. }));
        }
        if in_frame >= FRAME_EVENTS {
            bed.store.journal().fence();
            in_frame = 0;
            mix.frames += 1;
            if mix.frames.is_multiple_of(FRAMES_A_FLUSH) {
                bed.store.sync()?;
            }
        }
    }
    bed.store.sync()?;
    Ok(mix)
}

/// In equal parts a new file, a file renamed, attributes set.
fn metadata(bed: &Bed, dice: &mut Dice, files: &mut u64) -> Command {
    let name = |n: u64| -> Bytes { format!("file-{n}").into_bytes().into() };
    match dice.below(3) {
        0 => {
            *files += 1;
            stores::create(bed.volume, bed.root, name(*files), NewBody::File)
        }
        1 if *files > 0 => Command::Rename {
            volume: bed.volume,
            from_dir: bed.root,
            from_name: name(*files),
            to_dir: bed.root,
            to_name: name({
                *files += 1;
                *files
            }),
            no_replace: true,
            exchange: false,
        },
        _ => Command::SetAttributes {
            volume: bed.volume,
            ino: bed.root,
            set: SetAttributes {
                mtime: Some(i64::try_from(dice.next() >> 1).unwrap_or(0)),
                ..SetAttributes::default()
            },
        },
    }
}

fn folds(bed: &Bed, base: &State, start: Start, mix: &Mix) -> Result<Vec<Figure>, Failure> {
    let reader = bed.store.journal().reader();
    let mut whole = Vec::new();
    let mut core = Vec::new();
    let mut processor = Vec::new();
    for _ in 0..3 {
        let (seconds, (busy, folded)) = wall(|| {
            cpu(|| {
                let mut folder = Folder::new(base.clone(), BTreeSet::new(), None);
                for frame in reader.frames(start) {
                    folder.frame(&frame?, &mut |_, _| {});
                }
                Ok::<_, strand_journal::Error>(folder)
            })
        });
        check(&folded?, base, mix)?;
        processor.push(mix.all as f64 / busy);
        whole.push(mix.all as f64 / seconds);

        let frames: Vec<Frame> = reader.frames(start).collect::<Result<_, _>>()?;
        let mut folder = Folder::new(base.clone(), BTreeSet::new(), None);
        let (seconds, ()) = cpu(|| {
            frames
                .iter()
                .for_each(|frame| folder.frame(frame, &mut |_, _| {}))
        });
        check(&folder, base, mix)?;
        core.push(mix.all as f64 / seconds);
    }
    let decoded = Figure::new(
        "fold: decode, admit, evolve, one core",
        Goal::AtLeast(1e6),
        Unit::EventsPerSecond,
        &core,
    );
    let read = Figure::new(
        "fold: read, chain, fold, real journal",
        Goal::AtLeast(5e5),
        Unit::EventsPerSecond,
        &whole,
    );
    Ok(vec![
        decoded.beside(mix.show()),
        read.beside(format!(
            "{} events, cached; by CPU {}",
            mix.all,
            Unit::EventsPerSecond.show(median(&processor))
        )),
    ])
}

/// A fold that ended early would be fast.
fn check(folder: &Folder, base: &State, mix: &Mix) -> Result<(), Failure> {
    if let Some(damage) = folder.damage() {
        return Err(damage.to_string().into());
    }
    let folded = folder.state.seq - base.seq;
    if folded < mix.all {
        return Err(format!("only {folded} of {} events were folded", mix.all).into());
    }
    Ok(())
}

fn first_page(bed: &Bed, mix: &Mix) -> Result<Figure, Failure> {
    let mut samples = Vec::new();
    let (mut rows, mut processor) = (0, Vec::new());
    for _ in 0..5 {
        let (seconds, (busy, page)) = wall(|| {
            cpu(|| {
                log::rows(&bed.store, &log::Filter::default())
                    .take(PAGE)
                    .collect::<Result<Vec<_>, _>>()
            })
        });
        processor.push(busy);
        rows = page?.len();
        samples.push(seconds);
    }
    let figure = Figure::new(
        "first page of the log, 1 M events",
        Goal::AtMost(0.1),
        Unit::Seconds,
        &samples,
    );
    let busy = Unit::Seconds.show(median(&processor));
    Ok(figure.beside(format!("{rows} rows of {} events; CPU {busy}", mix.all)))
}
