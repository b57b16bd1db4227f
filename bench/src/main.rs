//! Benches: every figure the project promises, measured and printed as one table.
//!
//! `cargo run --release -p strand-bench` measures all; `--quick` on a tenth of the data, `--only GROUP` one group, `--list` names
//! them; the groups of live use (`--only live`) are measured on demand only. Whatever is compared with a baseline is measured in turns with it, inside the same run, and medians are compared: absolute
//! speeds change with the machine and the hour, ratios hardly. What is called CPU is the processor time of the measuring thread.
//!
//! `figure` is a line of the table, `timing` measures, `stores`, `sparse_disk` and `touched_disk` make what is measured, `heap` counts memory; each other
//! module is a group of figures, and `live` four of them. No rule of the engine lives here, and nothing here is used by it.

mod bulk;
mod checkpoints;
mod commits;
mod figure;
mod heap;
mod large;
mod live;
mod memory;
mod order;
mod overwrites;
mod reclaim;
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
    /// Part of the whole table; otherwise it is measured where `--only` names it.
    always: bool,
}

impl Group {
    /// Whether it is to be measured, these having been asked for: by its name, or by what stands before the dash in it.
    fn is_wanted(&self, only: &[String]) -> bool {
        if only.is_empty() {
            return self.always;
        }
        only.iter().any(|asked| self.is_called(asked))
    }

    fn is_called(&self, asked: &str) -> bool {
        self.name == asked
            || self
                .name
                .split_once('-')
                .is_some_and(|(set, _)| set == asked)
    }
}

const GROUPS: [Group; 13] = [
    Group {
        name: "commits",
        about: "durable commits, one writer and sixteen",
        measure: commits::measure,
        always: true,
    },
    Group {
        name: "overwrites",
        about: "first overwrites after a checkpoint",
        measure: overwrites::measure,
        always: true,
    },
    Group {
        name: "checkpoints",
        about: "checkpoint and rollback, whatever the files and checkpoints",
        measure: checkpoints::measure,
        always: true,
    },
    Group {
        name: "large",
        about: "64 GiB mapped: checkpoint, rollback, opening, fold, log",
        measure: large::measure,
        always: true,
    },
    Group {
        name: "memory",
        about: "bytes a block, a file, a change",
        measure: memory::measure,
        always: true,
    },
    Group {
        name: "bulk",
        about: "import, verify, export",
        measure: bulk::measure,
        always: true,
    },
    Group {
        name: "reclaim-overwrites",
        about: "overwrites in a store that is full, and gives space back all the time",
        measure: reclaim::overwrites,
        always: true,
    },
    Group {
        name: "reclaim-checkpoints",
        about: "what is alive is marked, and a checkpoint removed that owns much",
        measure: reclaim::checkpoints,
        always: true,
    },
    Group {
        name: "order",
        about: "cold reads of a scattered file, and of one that was put in order",
        measure: order::measure,
        always: true,
    },
    Group {
        name: "live-files",
        about: "system calls on a mount, beside the file system below",
        measure: live::files,
        always: false,
    },
    Group {
        name: "live-views",
        about: "mounts of checkpoints and views, checkpoints under load",
        measure: live::views,
        always: false,
    },
    Group {
        name: "live-databases",
        about: "PostgreSQL on a mount, beside the file system below",
        measure: live::databases,
        always: false,
    },
    Group {
        name: "live-soak",
        about: "the daemon's memory over two minutes (--soak: ten)",
        measure: live::soak,
        always: false,
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
    let (mut quick, mut soak, mut only) = (false, false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--soak" => soak = true,
            "--only" => only.push(
                args.next()
                    .ok_or("--only needs a group; --list names them")?,
            ),
            "--list" => {
                for group in &GROUPS {
                    println!("{:20} {}", group.name, group.about);
                }
                return Ok(true);
            }
            _ => {
                return Err(format!(
                    "unknown argument {arg}\n  strand-bench [--quick] [--soak] [--only GROUP]... [--list]"
                )
                .into());
            }
        }
    }
    if let Some(unknown) = only
        .iter()
        .find(|name| !GROUPS.iter().any(|g| g.is_called(name)))
    {
        return Err(format!("there is no group {unknown}; --list names them").into());
    }
    let setting = Setting::new(quick, soak)?;
    let begun = Instant::now();
    let mut figures = Vec::new();
    for group in GROUPS.iter().filter(|g| g.is_wanted(&only)) {
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
