//! A file of 1 GiB in and out: import beside `cp` and `sync`, verification, export of a fragmented file beside a plain read.
//!
//! Import and export go through the built `strand`, which `cargo` brings up to date first; without it, through the engine.

use crate::Failure;
use crate::figure::{Figure, Goal, Unit, median};
use crate::setting::Setting;
use crate::stores::{self, Bed};
use crate::timing::{Dice, shuffled, wall};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use strand_engine::{Ino, NewBody, OpenOptions, Store};
use strand_journal::{BLOCK_SIZE, FileDisk};
use strand_replay::verify;

/// Bytes read, or written, at once.
const CHUNK: usize = 1 << 20;

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Figure>, Failure> {
    let length: u64 = setting.pick(1 << 30, 128 << 20);
    let dir = setting.dir()?;
    let source = dir.path().join("source");
    random_file(&source, length)?;
    let strand = built_strand();
    let mut figures = Vec::new();
    let store = dir.path().join("store");
    figures.push(import(setting, strand.as_deref(), &source, &store)?);
    figures.push(verification(setting, &store)?);
    fs::remove_dir_all(&store)?;
    figures.push(export(
        setting,
        strand.as_deref(),
        &source,
        length,
        dir.path(),
    )?);
    Ok(figures)
}

/// The program, built now where this runs under cargo, or beside this one.
fn built_strand() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name("strand");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--bin", "strand"])
            .stdout(Stdio::null());
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        if !build.status().is_ok_and(|status| status.success()) {
            eprintln!(
                "          strand cannot be built: import and export are measured on the engine"
            );
            return None;
        }
    }
    beside.is_file().then_some(beside)
}

fn strand(program: &Path, store: &Path, args: &[&str]) -> Result<(), Failure> {
    let output = Command::new(program)
        .arg("--store")
        .arg(store)
        .args(args)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
    Err(format!("strand {}: {error}", args.join(" ")).into())
}

fn random_file(path: &Path, length: u64) -> Result<(), Failure> {
    let mut file = File::create_new(path)?;
    let mut dice = Dice(length);
    let mut chunk = vec![0; CHUNK];
    for _ in 0..length / CHUNK as u64 {
        chunk
            .chunks_exact_mut(8)
            .for_each(|word| word.copy_from_slice(&dice.next().to_le_bytes()));
        file.write_all(&chunk)?;
    }
    Ok(file.sync_all()?)
}

fn import(
    setting: &Setting,
    program: Option<&Path>,
    source: &Path,
    store: &Path,
) -> Result<Figure, Failure> {
    let copy = source.with_file_name("copy");
    let (mut ratios, mut copies) = (Vec::new(), Vec::new());
    for round in 0..setting.pick(5, 3) {
        let (plain, done) = wall(|| copy_durably(source, &copy));
        done?;
        fs::remove_file(&copy)?;
        if round > 0 {
            fs::remove_dir_all(store)?;
        }
        rustix::fs::sync();
        let ours = match program {
            Some(program) => import_by_program(program, source, store)?,
            None => import_by_engine(source, store)?,
        };
        rustix::fs::sync();
        ratios.push(ours / plain);
        copies.push(plain);
    }
    let how = if program.is_some() {
        "strand import"
    } else {
        "engine alone"
    };
    let figure = Figure::new(
        "import of 1 GiB, durable, to cp + sync",
        Goal::AtMost(1.4),
        Unit::Times,
        &ratios,
    );
    Ok(figure.beside(format!(
        "{how}; cp + sync {}",
        Unit::Seconds.show(median(&copies))
    )))
}

fn copy_durably(source: &Path, copy: &Path) -> Result<(), Failure> {
    for (program, args) in [("cp", vec![source, copy]), ("sync", vec![copy])] {
        if !Command::new(program).args(args).status()?.success() {
            return Err(format!("{program} failed").into());
        }
    }
    Ok(())
}

fn import_by_program(program: &Path, source: &Path, store: &Path) -> Result<f64, Failure> {
    let init = Command::new(program)
        .arg("init")
        .arg(store)
        .stdout(Stdio::null())
        .status()?;
    if !init.success() {
        return Err("strand init failed".into());
    }
    strand(program, store, &["volume", "create", "bench"])?;
    let source = source
        .to_str()
        .ok_or("a temporary directory that is not UTF-8")?;
    let (seconds, done) = wall(|| strand(program, store, &["import", "bench", source, "/data"]));
    done.map(|()| seconds)
}

fn import_by_engine(source: &Path, store: &Path) -> Result<f64, Failure> {
    let bed = Bed::new(Arc::new(FileDisk::create(store)?))?;
    let (seconds, done) = wall(|| bring(&bed, source));
    done?;
    bed.store.close()?;
    Ok(seconds)
}

/// Writes a file into a new one of the store, durably.
fn bring(bed: &Bed, source: &Path) -> Result<Ino, Failure> {
    let ino = bed.create(bed.root, "data", NewBody::File)?;
    let mut file = File::open(source)?;
    let mut chunk = vec![0; CHUNK];
    let (mut at, mut waiting) = (0, 0);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        bed.store
            .write(&bed.actor, bed.volume, ino, at, &chunk[..read])?;
        at += read as u64;
        waiting += read;
        if waiting >= 32 * CHUNK {
            bed.store.sync()?;
            waiting = 0;
        }
    }
    bed.store.sync()?;
    Ok(ino)
}

fn verification(setting: &Setting, store: &Path) -> Result<Figure, Failure> {
    let clock = Arc::new(strand_engine::SystemClock::new());
    let store = Store::open(
        Arc::new(FileDisk::open(store)?),
        clock,
        OpenOptions::read_only(),
    )?;
    let options = verify::Options {
        data: true,
        ..verify::Options::default()
    };
    let mut samples = Vec::new();
    for _ in 0..setting.pick(4, 3) {
        let (seconds, report) = wall(|| verify::verify(&store, &options, &|_| {}));
        let report = report?;
        if let Some(finding) = report.findings.first() {
            return Err(format!("verify found damage: {finding:?}").into());
        }
        samples.push(report.totals.bytes_read as f64 / seconds);
    }
    // The first one fills the page cache.
    samples.remove(0);
    let figure = Figure::new(
        "verify --data, cached",
        Goal::AtLeast(1.5e9),
        Unit::BytesPerSecond,
        &samples,
    );
    Ok(figure.beside("whole verification, all phases"))
}

fn export(
    setting: &Setting,
    program: Option<&Path>,
    source: &Path,
    length: u64,
    dir: &Path,
) -> Result<Figure, Failure> {
    let path = dir.join("fragmented");
    let bed = Bed::new(Arc::new(FileDisk::create(&path)?))?;
    let ino = bring(&bed, source)?;
    let base = bed.checkpoint()?;
    for (n, block) in shuffled(length / BLOCK_SIZE as u64).into_iter().enumerate() {
        bed.place(ino, u64::from(block))?;
        if n % 4096 == 4095 {
            bed.store.sync()?;
        }
    }
    bed.store.sync()?;
    let unfragmented = bed
        .store
        .view(strand_engine::Source::Checkpoint(bed.volume, base))?;
    bed.store.write_state_file()?;
    let disk = bed.store.disk().clone();
    bed.store.close()?;

    let out = dir.join("out");
    let (mut ratios, mut plains, mut wholes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.pick(3, 2) {
        cool(source)?;
        let (plain, done) = wall(|| read_plain(source));
        done?;
        cool_all(&path.join("journal"))?;
        let store = stores::open(disk.clone())?;
        let (whole, done) = wall(|| export_by_engine(&store, &unfragmented, ino, length, &out));
        done?;
        fs::remove_file(&out)?;
        cool_all(&path.join("journal"))?;
        let ours = match program {
            Some(program) => {
                store.close()?;
                let out = out
                    .to_str()
                    .ok_or("a temporary directory that is not UTF-8")?;
                let (seconds, done) =
                    wall(|| strand(program, &path, &["export", "bench", "/data", out]));
                done?;
                seconds
            }
            None => {
                let live = store.view(strand_engine::Source::Live(bed.volume))?;
                let (seconds, done) = wall(|| export_by_engine(&store, &live, ino, length, &out));
                done?;
                store.close()?;
                seconds
            }
        };
        fs::remove_file(&out)?;
        rustix::fs::sync();
        ratios.push(plain / ours);
        plains.push(length as f64 / plain);
        wholes.push(length as f64 / whole);
    }
    let figure = Figure::new(
        "export of a fragmented 1 GiB, cold, to a plain read",
        Goal::AtLeast(0.35),
        Unit::Times,
        &ratios,
    );
    let (plain, whole) = (
        Unit::BytesPerSecond.show(median(&plains)),
        Unit::BytesPerSecond.show(median(&wholes)),
    );
    Ok(figure.beside(format!("plain read {plain}; export unfragmented {whole}")))
}

fn read_plain(path: &Path) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    while file.read(&mut chunk)? > 0 {}
    Ok(())
}

fn export_by_engine(
    store: &Store,
    tree: &strand_engine::Fileset,
    ino: Ino,
    length: u64,
    out: &Path,
) -> Result<(), Failure> {
    let mut reader = store.reader(tree, ino)?;
    let out = File::create_new(out)?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let read = reader.read(at, &mut chunk)?;
        if read == 0 {
            return Err("the file ends too early".into());
        }
        out.write_all_at(&chunk[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// Makes the page cache forget a file; it was flushed before.
fn cool(path: &Path) -> Result<(), Failure> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

fn cool_all(dir: &Path) -> Result<(), Failure> {
    fs::read_dir(dir)?.try_for_each(|entry| cool(&entry?.path()))
}
