//! The file `lock` of a store: an advisory lock of the kernel's, which dies with its process, and one line inside that
//! says who has it: `pid start-time command`, the time in seconds since the Unix epoch.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{Lock, LockError};
use crate::error::Holder;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// Most bytes of a command line that are told.
const MAX_COMMAND: usize = 300;

#[derive(Debug)]
struct HeldFile {
    // Closing the file gives the lock back. None: there was no file to lock.
    file: Option<File>,
    writer: bool,
}

impl Lock for HeldFile {}

impl Drop for HeldFile {
    fn drop(&mut self) {
        if let (Some(file), true) = (&self.file, self.writer) {
            // Only the note goes; if that fails, the next holder overwrites it.
            let _ = file.set_len(0);
        }
    }
}

/// The writer's lock; leaves a note of who it is.
pub(super) fn exclusive(path: &Path, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(LockError::Io)?;
    take(&file, FlockOperation::NonBlockingLockExclusive, timeout)?;
    let note = note();
    file.set_len(0)
        .and_then(|()| file.write_all_at(note.as_bytes(), 0))
        .map_err(LockError::Io)?;
    Ok(Box::new(HeldFile {
        file: Some(file),
        writer: true,
    }))
}

/// A reader's lock. Where the file is missing no writer can be at work: a copy of a store can be read all the same.
pub(super) fn shared(path: &Path, timeout: Duration) -> Result<Box<dyn Lock>, LockError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Box::new(HeldFile {
                file: None,
                writer: false,
            }));
        }
        Err(error) => return Err(LockError::Io(error)),
    };
    take(&file, FlockOperation::NonBlockingLockShared, timeout)?;
    Ok(Box::new(HeldFile {
        file: Some(file),
        writer: false,
    }))
}

fn take(file: &File, operation: FlockOperation, timeout: Duration) -> Result<(), LockError> {
    let since = Instant::now();
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                let left = timeout.saturating_sub(since.elapsed());
                if left.is_zero() {
                    return Err(LockError::Held(holder(file)));
                }
                thread::sleep(PAUSE.min(left));
            }
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
    }
}

fn note() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut command = std::env::args_os()
        .map(|part| part.to_string_lossy().replace(['\n', '\0'], " "))
        .collect::<Vec<_>>()
        .join(" ");
    if let Some((end, _)) = command.char_indices().nth(MAX_COMMAND) {
        command.truncate(end);
    }
    format!("{} {now} {command}\n", std::process::id())
}

fn holder(mut file: &File) -> Holder {
    let mut bytes = Vec::new();
    // Best effort: whoever holds the lock may be about to write the note.
    let _ = (&mut file).take(4096).read_to_end(&mut bytes);
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(text: &str) -> Holder {
    let line = text.lines().next().unwrap_or_default();
    let mut parts = line.splitn(3, ' ');
    Holder {
        pid: parts.next().and_then(|part| part.parse().ok()),
        since: parts.next().and_then(|part| part.parse().ok()),
        command: parts.next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_learns_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = exclusive(&path, Duration::ZERO).unwrap();
        let Err(LockError::Held(holder)) = exclusive(&path, Duration::from_millis(20)) else {
            panic!("two writers at once");
        };
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.since.unwrap() > 1_600_000_000);
        assert!(!holder.command.is_empty());
        assert!(matches!(
            shared(&path, Duration::ZERO),
            Err(LockError::Held(_))
        ));
        drop(first);
        let reader = shared(&path, Duration::ZERO).unwrap();
        let second = shared(&path, Duration::ZERO).unwrap();
        assert!(matches!(
            exclusive(&path, Duration::ZERO),
            Err(LockError::Held(_))
        ));
        drop((reader, second));
        exclusive(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_that_is_given_back_in_time_is_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = exclusive(&path, Duration::ZERO).unwrap();
        let waiting = {
            let path = path.clone();
            thread::spawn(move || exclusive(&path, Duration::from_secs(20)).is_ok())
        };
        thread::sleep(Duration::from_millis(30));
        drop(first);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_note_of_nonsense_names_nobody() {
        assert_eq!(parse(""), Holder::default());
        assert_eq!(parse("\u{fffd}\u{fffd} x").pid, None);
        assert_eq!(parse("12 34 a b c").command, "a b c");
    }
}
