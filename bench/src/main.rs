//! Benches: every figure the project promises, measured and printed as one table.
//!
//! `cargo run --release -p strand-bench` measures all; `--quick` on a tenth of the data, `--only GROUP` one group, `--list` names
//! them. Whatever is compared with a baseline is measured in turns with it, inside the same run, and medians are compared: absolute
//! speeds change with the machine and the hour, ratios hardly. What is called CPU is the processor time of the measuring thread.
//!
//! `figure` is a line of the table, `timing` measures, `stores`, `sparse_disk` and `touched_disk` make what is measured, `heap` counts memory; each other
//! module is a group of figures. No rule of the engine lives here, and nothing here is used by it.

mod bulk;
mod checkpoints;
mod commits;
mod figure;
mod heap;
mod large;
mod memory;
mod overwrites;
mod setting;
mod sparse_disk;
mod stores;
mod timing;
mod touched_disk;

use figure::Figure;
use setting::Setting;
use std::process::ExitCode;
use std::time::Instant;

/// What a measurement may run into; it ends the group.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Figures that are measured together.
struct Group {
    name: &'static str,
    about: &'static str,
    measure: fn(&Setting) -> Result<Vec<Figure>, Failure>,
}

const GROUPS: [Group; 6] = [
    Group {
        name: "commits",
        about: "durable commits, one writer and sixteen",
        measure: commits::measure,
    },
    Group {
        name: "overwrites",
        about: "first overwrites after a checkpoint",
        measure: overwrites::measure,
    },
    Group {
        name: "checkpoints",
        about: "checkpoint and rollback, whatever the files and checkpoints",
        measure: checkpoints::measure,
    },
    Group {
        name: "large",
        about: "64 GiB mapped: checkpoint, rollback, opening, fold, log",
        measure: large::measure,
    },
    Group {
        name: "memory",
        about: "bytes a block, a file, a change",
        measure: memory::measure,
    },
    Group {
        name: "bulk",
        about: "import, verify, export",
        measure: bulk::measure,
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("strand-bench: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Says whether every figure is met.
fn run() -> Result<bool, Failure> {
    let (mut quick, mut only) = (false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--only" => only.push(
                args.next()
                    .ok_or("--only needs a group; --list names them")?,
            ),
            "--list" => {
                for group in &GROUPS {
                    println!("{:12} {}", group.name, group.about);
                }
                return Ok(true);
            }
            _ => {
                return Err(format!(
                    "unknown argument {arg}\n  strand-bench [--quick] [--only GROUP]... [--list]"
                )
                .into());
            }
        }
    }
    if let Some(unknown) = only
        .iter()
        .find(|name| !GROUPS.iter().any(|g| g.name == **name))
    {
        return Err(format!("there is no group {unknown}; --list names them").into());
    }
    let setting = Setting::new(quick)?;
    let begun = Instant::now();
    let mut figures = Vec::new();
    for group in GROUPS
        .iter()
        .filter(|g| only.is_empty() || only.iter().any(|name| name == g.name))
    {
        eprintln!(
            "{:>6.1} s  {}: {}",
            begun.elapsed().as_secs_f64(),
            group.name,
            group.about
        );
        match (group.measure)(&setting) {
            Ok(measured) => figures.extend(measured),
            Err(failure) => figures.push(Figure::failed(group.name, &failure)),
        }
    }
    eprintln!("{:>6.1} s  done", begun.elapsed().as_secs_f64());
    print!("{}", figure::table(&figures));
    if quick {
        println!("measured on a tenth of the data: an indication, no more");
    }
    Ok(figures.iter().all(|figure| figure.met))
}
