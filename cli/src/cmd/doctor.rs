//! `strand doctor`: can this machine do it? Every line is a check that was really made, in the directory asked about.

use crate::args::store::Doctor;
use crate::context::{Context, inside_store};
use crate::error::{Failure, Outcome};
use crate::output::units;
use rustix::fs::{Access, FallocateFlags, FlockOperation, OFlags};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use strand_engine::Kind;
use strand_journal::{FileDisk, StoreFile};

/// Less free space than this is worth a warning, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;
/// A slower flush than this is worth a warning.
const SLOW_FLUSH: Duration = Duration::from_millis(20);
/// Flushes measured.
const FLUSHES: u32 = 32;
/// Fewer open files than this are worth a warning.
const FEW_FILES: u64 = 1024;

/// How a check ended.
#[derive(Copy, Clone, Eq, PartialEq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    text: String,
}

/// Runs it.
pub(crate) fn run(context: &mut Context, args: Doctor) -> Outcome {
    let dir = args
        .dir
        .or_else(|| context.global.store.clone())
        .unwrap_or_else(|| PathBuf::from("."));
    let checks = examine(&dir);
    let failed = checks.iter().any(|c| c.verdict == Verdict::Fail);
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
    };
    if context.out.json {
        let rows: Vec<Value> = checks
            .iter()
            .map(|c| json!({"check": c.name, "verdict": word(c.verdict), "text": c.text}))
            .collect();
        context
            .out
            .object(json!({"directory": dir.to_string_lossy(), "ok": !failed, "checks": rows}))?;
    } else {
        for check in &checks {
            let word = context.out.tinted(
                check.verdict == Verdict::Ok,
                &format!("{:<4}", word(check.verdict)),
            );
            context
                .out
                .line(format!("{word}  {:<12} {}", check.name, check.text))?;
        }
    }
    if failed {
        Err(Failure::Said(1))
    } else {
        Ok(())
    }
}

fn examine(dir: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    // Where the store is still to be made, its parent is what matters; inside a store no foreign file is made.
    let place = match inside_store(dir) {
        Some(store) => store.parent().map_or(store.clone(), Path::to_path_buf),
        None => dir
            .ancestors()
            .find(|p| p.is_dir())
            .map_or_else(|| PathBuf::from("."), Path::to_path_buf),
    };
    let add = |checks: &mut Vec<Check>, name, result: io::Result<(Verdict, String)>| {
        let (verdict, text) =
            result.unwrap_or_else(|error| (Verdict::Fail, crate::error::plain(&error)));
        checks.push(Check {
            name,
            verdict,
            text,
        });
    };
    let store = inside_store(dir);
    if let Some(store) = &store {
        add(&mut checks, "store", store_itself(store));
        checks.extend(base_state(store));
    }
    match tempfile::Builder::new()
        .prefix(".strand-doctor-")
        .tempdir_in(&place)
    {
        Ok(temporary) => {
            let path = temporary.path();
            add(
                &mut checks,
                "directory",
                Ok((Verdict::Ok, format!("{} can be written", place.display()))),
            );
            add(&mut checks, "fallocate", allocation(path));
            add(&mut checks, "lock", lock(path));
            add(&mut checks, "past cache", past_cache(path));
            add(&mut checks, "holes", holes(path));
            add(&mut checks, "rename", exchange(path));
            add(&mut checks, "flush", flush(path));
        }
        Err(error) => {
            let plain = crate::error::plain(&error);
            // A store that is there does not need its parent directory.
            let (verdict, then) = match &store {
                Some(_) => (Verdict::Warn, "; what needs a file for trying was left out"),
                None => (Verdict::Fail, ""),
            };
            checks.push(Check {
                name: "directory",
                verdict,
                text: format!("{}: {plain}{then}", place.display()),
            });
        }
    }
    add(&mut checks, "space", space(&place));
    add(&mut checks, "clock", clock());
    add(&mut checks, "open files", open_files());
    checks
}

/// The store's own directory: its parent may be writable and this one not.
fn store_itself(store: &Path) -> io::Result<(Verdict, String)> {
    let disk = FileDisk::open(store)?;
    if let Err(error) = StoreFile::read(&disk) {
        return Ok((Verdict::Fail, error.to_string()));
    }
    for (part, access) in [
        ("", Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK),
        (
            "journal",
            Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
        ),
        ("lock", Access::READ_OK | Access::WRITE_OK),
    ] {
        let path = if part.is_empty() {
            store.to_owned()
        } else {
            store.join(part)
        };
        match rustix::fs::access(&path, access) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                let plain = crate::error::plain(&error.into());
                return Ok((Verdict::Fail, format!("{}: {plain}", path.display())));
            }
        }
    }
    Ok((
        Verdict::Ok,
        format!("{} can be read and written", store.display()),
    ))
}

/// What stands for the events that have moved away, where any have: nothing else can take its place.
fn base_state(store: &Path) -> Option<Check> {
    let disk = FileDisk::open(store).ok()?;
    let (verdict, text) = match strand_engine::base_state(&disk) {
        Ok(covered) => {
            let text = format!("stands for the events up to seq {}", covered?);
            (Verdict::Ok, text)
        }
        Err(error) if error.kind() == Kind::Damaged => {
            let text = format!("{error}; copy it from a backup while the store still opens");
            (Verdict::Fail, text)
        }
        // The check before says what else is wrong.
        Err(_) => return None,
    };
    Some(Check {
        name: "base state",
        verdict,
        text,
    })
}

fn make(dir: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(dir.join(name))
}

fn allocation(dir: &Path) -> io::Result<(Verdict, String)> {
    let file = make(dir, "allocated")?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20) {
        Ok(()) if file.metadata()?.blocks() > 0 => Ok((
            Verdict::Ok,
            "segments get their space before they are used".into(),
        )),
        Ok(()) => Ok((
            Verdict::Warn,
            "space is promised and not given: a full disk may show late".into(),
        )),
        Err(_) => Ok((
            Verdict::Warn,
            "not supported: segments are filled with zeros instead, which takes longer".into(),
        )),
    }
}

fn lock(dir: &Path) -> io::Result<(Verdict, String)> {
    let first = make(dir, "lock")?;
    let second = File::open(dir.join("lock"))?;
    rustix::fs::flock(&first, FlockOperation::NonBlockingLockExclusive)?;
    match rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Ok((Verdict::Ok, "one writer at a time is enforced".into()))
        }
        _ => Ok((
            Verdict::Fail,
            "two processes can hold the same lock here".into(),
        )),
    }
}

fn past_cache(dir: &Path) -> io::Result<(Verdict, String)> {
    let file = make(dir, "direct")?;
    file.write_all_at(&[7; 4096], 0)?;
    file.sync_data()?;
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
    if OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir.join("direct"))
        .is_ok()
    {
        return Ok((
            Verdict::Ok,
            "recovery reads what is on the disk, not the cache (O_DIRECT)".into(),
        ));
    }
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok((
        Verdict::Warn,
        "no O_DIRECT here: the cache is dropped before recovery reads".into(),
    ))
}

fn holes(dir: &Path) -> io::Result<(Verdict, String)> {
    let file = make(dir, "sparse")?;
    file.set_len(8 << 20)?;
    file.write_all_at(&[7; 4096], 4 << 20)?;
    match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)) {
        Ok(at) if at > 0 => Ok((Verdict::Ok, "import finds the holes of sparse files".into())),
        _ => Ok((
            Verdict::Warn,
            "holes cannot be found: import reads through them".into(),
        )),
    }
}

fn exchange(dir: &Path) -> io::Result<(Verdict, String)> {
    make(dir, "a")?;
    make(dir, "b")?;
    let at = rustix::fs::CWD;
    match rustix::fs::renameat_with(
        at,
        dir.join("a"),
        at,
        dir.join("b"),
        rustix::fs::RenameFlags::EXCHANGE,
    ) {
        Ok(()) => Ok((Verdict::Ok, "export --force replaces in one step".into())),
        Err(_) => Ok((
            Verdict::Warn,
            "two names cannot be exchanged: export --force will be refused".into(),
        )),
    }
}

fn flush(dir: &Path) -> io::Result<(Verdict, String)> {
    let file = make(dir, "flushed")?;
    file.write_all_at(&vec![0; 4096 * FLUSHES as usize], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for i in 0..u64::from(FLUSHES) {
        let started = Instant::now();
        file.write_all_at(&[7; 4096], i * 4096)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let verdict = if median > SLOW_FLUSH {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    Ok((
        verdict,
        format!(
            "a 4 KiB commit takes {} (median of {FLUSHES}; worst {})",
            units::seconds(median),
            units::seconds(worst)
        ),
    ))
}

fn space(dir: &Path) -> io::Result<(Verdict, String)> {
    let stat = rustix::fs::statvfs(dir)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let verdict = if free < LITTLE_SPACE {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    Ok((verdict, format!("{} free", units::size(free))))
}

fn clock() -> io::Result<(Verdict, String)> {
    let (wall, steady) = (SystemTime::now(), Instant::now());
    std::thread::sleep(Duration::from_millis(20));
    let drift = match wall.elapsed() {
        Ok(passed) => passed.abs_diff(steady.elapsed()),
        Err(_) => {
            return Ok((
                Verdict::Warn,
                "the wall clock went back while we looked".into(),
            ));
        }
    };
    // Whoever built this built it after 2026 began.
    let sane = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .is_ok_and(|d| d.as_secs() > 1_767_225_600);
    if !sane {
        return Ok((
            Verdict::Warn,
            format!(
                "it shows {}: times in the log will be wrong",
                units::time(units::now())
            ),
        ));
    }
    let verdict = if drift > Duration::from_millis(10) {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    Ok((
        verdict,
        format!(
            "wall and steady clock agree within {}",
            units::seconds(drift)
        ),
    ))
}

fn open_files() -> io::Result<(Verdict, String)> {
    let limit = getrlimit(Resource::Nofile).current;
    let few = limit.is_some_and(|l| l < FEW_FILES);
    let text = limit.map_or_else(|| "no limit".into(), units::count);
    Ok((
        if few { Verdict::Warn } else { Verdict::Ok },
        format!("at most {text} at a time"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_examined_and_left_clean() {
        let dir = tempfile::tempdir().expect("a directory");
        let checks = examine(dir.path());
        assert!(checks.len() >= 9);
        assert!(checks.iter().all(|c| c.verdict != Verdict::Fail));
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
        let gone = examine(&dir.path().join("not/yet"));
        assert!(gone.iter().all(|c| c.verdict != Verdict::Fail));
    }
}
