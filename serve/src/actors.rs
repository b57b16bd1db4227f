//! Who makes a request: the process behind a pid, looked up in `/proc` and remembered for a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use strand_engine::{Actor, Grade};

/// How long a process is believed to be who it was: a pid may pass to another process.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Processes remembered at most; beyond, all are looked up again.
const MOST: usize = 4096;
/// The longest name of the holders of a file, in bytes.
const LONGEST_NAME: usize = 200;

/// The processes seen lately.
#[derive(Debug, Default)]
pub(crate) struct Actors {
    seen: Mutex<Seen>,
}

/// By thread and user: when it was looked up, and who it is.
type Seen = HashMap<(u32, u32), (Instant, Arc<Actor>)>;

impl Actors {
    /// The process that makes a request; the kernel names the thread.
    pub(crate) fn caller(&self, thread: u32, uid: u32) -> Arc<Actor> {
        let now = Instant::now();
        let known = self.lock().get(&(thread, uid)).cloned();
        if let Some((at, actor)) = known
            && now.duration_since(at) < REMEMBERED
        {
            return actor;
        }
        // Without the lock: others need not wait for `/proc`.
        let pid = process_of(thread).unwrap_or(thread);
        let (name, started) = process(pid).unwrap_or_else(|| ("?".into(), 0));
        let actor = Arc::new(actor(Grade::Caller, pid, uid, started, name));
        let mut seen = self.lock();
        if seen.len() >= MOST {
            seen.clear();
        }
        seen.insert((thread, uid), (now, actor.clone()));
        actor
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who hold a file open, for writes that the kernel makes for one of them: `postgres[812], psql[900]`.
pub(crate) fn holders<'a>(openers: impl Iterator<Item = &'a Arc<Actor>>) -> Actor {
    let openers: BTreeSet<_> = openers
        .map(|a| (a.name.as_str(), a.pid, a.started, a.uid))
        .collect();
    let mut all = openers.iter();
    let (name, pid, started, uid) = match (all.next(), all.next()) {
        (Some((name, pid, started, uid)), None) => ((*name).to_owned(), *pid, *started, *uid),
        (None, _) => ("?".to_owned(), 0, 0, 0),
        (Some((_, _, _, uid)), Some(_)) => {
            let mut name = String::new();
            for (process, pid, ..) in &openers {
                let part = format!(
                    "{}{process}[{pid}]",
                    if name.is_empty() { "" } else { ", " }
                );
                if name.len() + part.len() > LONGEST_NAME {
                    name.push_str(", …");
                    break;
                }
                name.push_str(&part);
            }
            (name, 0, 0, *uid)
        }
    };
    actor(Grade::Handle, pid, uid, started, name)
}

fn actor(grade: Grade, pid: u32, uid: u32, started: u64, name: String) -> Actor {
    Actor {
        grade,
        uid,
        pid,
        started,
        name,
        command: String::new(),
        login: String::new(),
        reason: String::new(),
    }
}

/// The process that a thread belongs to.
fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{thread}/status")).ok()?;
    let row = status
        .split(|b| *b == b'\n')
        .find_map(|row| row.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(row).ok()?.trim().parse().ok()
}

/// Name and start time of a process; `None` where it is gone.
fn process(pid: u32) -> Option<(String, u64)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold brackets and spaces itself: its end is the last one.
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // The start time is field 22; the state, after the name, is field 3.
    let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((name, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_its_name_and_start() {
        let actor = Actors::default().caller(std::process::id(), 7);
        assert_ne!(actor.name, "?");
        assert!(actor.started > 0);
        assert_eq!((actor.uid, actor.grade), (7, Grade::Caller));
    }

    #[test]
    fn a_thread_is_its_process() {
        let thread = std::thread::spawn(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            (thread, process_of(u32::try_from(thread).unwrap()))
        });
        let (thread, process) = thread.join().unwrap();
        assert_eq!(process, Some(std::process::id()));
        assert_ne!(u32::try_from(thread), Ok(std::process::id()));
    }

    #[test]
    fn a_process_that_is_gone_has_no_name() {
        let actor = Actors::default().caller(u32::MAX, 0);
        assert_eq!((actor.name.as_str(), actor.started), ("?", 0));
    }

    #[test]
    fn holders_are_named_together_and_cut() {
        let one = Arc::new(actor(Grade::Caller, 1, 0, 5, "a".into()));
        let two = Arc::new(actor(Grade::Caller, 2, 0, 6, "b".into()));
        assert_eq!(holders([&one].into_iter()).name, "a");
        assert_eq!(holders([&one].into_iter()).pid, 1);
        assert_eq!(holders([&one, &two, &one].into_iter()).name, "a[1], b[2]");
        let many: Vec<_> = (0..100)
            .map(|i| Arc::new(actor(Grade::Caller, i, 0, 0, "process".into())))
            .collect();
        assert!(holders(many.iter()).name.len() <= LONGEST_NAME + ", …".len());
    }
}
