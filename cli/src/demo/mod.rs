//! `strand demo`: the main job on a real SQLite database, told step by step. Every number is computed, every claim compared.
//!
//! [`sqlite`] lets SQLite work directly on a volume, [`bank`] is the database, [`story`] the steps, [`evidence`] what the journal says
//! about them, [`tell`] how they are told.

mod bank;
mod evidence;
mod sqlite;
mod story;
mod tell;

use crate::error::{Outcome, on_path, refuse};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use story::Story;
use strand_engine::{Actor, Kind, Refusal};
use tell::Teller;

/// What `strand demo` is asked for.
#[derive(Debug)]
pub(crate) struct DemoOptions {
    /// Keep the store in this directory, which is new or empty; `None`: a temporary one, gone at the end.
    pub(crate) keep: Option<PathBuf>,
    /// One JSON object instead of the story.
    pub(crate) json: bool,
    /// Escape sequences are welcome.
    pub(crate) colour: bool,
    /// Who runs it.
    pub(crate) actor: Actor,
}

/// Runs the demo.
///
/// # Errors
/// [`Kind::NotEmpty`] for a directory to keep that holds something, [`Kind::Damaged`] where a comparison failed (which would be a
/// defect of the program), [`Kind::Interrupted`], and what the store refuses.
pub(crate) fn run(options: DemoOptions, out: &mut dyn Write) -> Outcome {
    let _listening = crate::interrupt::Listening::start();
    // The temporary directory goes when this function ends, however it ends.
    let (dir, _temporary) = match &options.keep {
        Some(dir) => (prepared(dir)?, None),
        None => {
            let made = tempfile::Builder::new().prefix("strand-demo-").tempdir();
            let made = made.map_err(on_path("make a directory in", &std::env::temp_dir()))?;
            (made.path().to_owned(), Some(made))
        }
    };
    let stays = if options.keep.is_some() {
        "the store stays"
    } else {
        "the temporary store is removed"
    };

    let started = Instant::now();
    let mut teller = Teller::new(out, options.json, options.colour);
    teller.heading("strand demo: a real SQLite database, wrecked and brought back")?;
    let mut story = Story::begin(&dir, options.keep.is_some(), options.actor)?;
    for step in story::STEPS {
        crate::interrupt::check("telling the demo", stays)?;
        let step = step(&mut story)?;
        teller.step(&step)?;
    }
    let failed = story.failed.clone();
    let halfway = story.halfway();
    story.end()?;

    let seconds = started.elapsed().as_secs_f64();
    teller.line("")?;
    if failed.is_empty() {
        teller.heading(&format!("Every comparison held, in {seconds:.1} s."))?;
    }
    if options.keep.is_some() {
        teller.line("The store stays. To look around, paste:")?;
        for line in lines_to_paste(&dir, halfway) {
            teller.line(&line)?;
        }
    }
    let store = options.keep.as_ref().map(|_| dir.display().to_string());
    teller.end(
        json!({"ok": failed.is_empty(), "seconds": seconds, "store": store, "failed": failed}),
    )?;
    match failed.first() {
        None => Ok(()),
        Some(first) => refuse(
            Refusal::new(Kind::Damaged, format!("the demo failed: {first}"))
                .why(format!("{} comparisons came out wrong", failed.len()))
                .next("report this as a defect, with the output above"),
        ),
    }
}

/// The directory to keep, made if it is missing, as an absolute path.
fn prepared(dir: &Path) -> Outcome<PathBuf> {
    if let Some(store) = crate::context::inside_store(dir) {
        return refuse(
            Refusal::new(
                Kind::NotAllowed,
                format!("cannot keep the demo in {}", dir.display()),
            )
            .why(format!("a store is there already: {}", store.display()))
            .next("name a new directory"),
        );
    }
    std::fs::create_dir_all(dir).map_err(on_path("make", dir))?;
    let mut entries = std::fs::read_dir(dir).map_err(on_path("list", dir))?;
    if entries.next().is_some() {
        return refuse(
            Refusal::new(
                Kind::NotEmpty,
                format!("cannot keep the demo in {}", dir.display()),
            )
            .why("the directory is not empty")
            .next("name a new directory"),
        );
    }
    dir.canonicalize().map_err(on_path("find", dir))
}

/// Five commands to look around with.
fn lines_to_paste(dir: &Path, halfway: u64) -> [String; 5] {
    let dir = quoted(&dir.display().to_string());
    [
        format!("  strand -s {dir} status"),
        format!("  strand -s {dir} checkpoint show {}", story::CHECKPOINT),
        format!("  strand -s {dir} log"),
        format!(
            "  strand -s {dir} rollback {} --to seq:{halfway} --dry-run",
            story::VOLUME
        ),
        format!("  strand -s {dir} verify --data"),
    ]
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:=,+%".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
