//! Jobs: what works in the background, how far it is, and how to end it.

use crate::error::Error;
use crate::ids::EventTime;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many jobs that ended are remembered: so many that somebody asked for, and so many of the store's own, which on a full store come and go by the minute.
const REMEMBERED: usize = 64;

/// What a job does.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Gives space back.
    Reclaim,
    /// Puts files in order.
    Defrag,
    /// Counts bulk movements.
    Settle,
    /// Moves archives out of the store.
    Archive,
}

impl JobKind {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JobKind::Reclaim => "reclaim",
            JobKind::Defrag => "defrag",
            JobKind::Settle => "settle",
            JobKind::Archive => "archive",
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JobState {
    /// It works.
    Running,
    /// It works, and was told to end.
    Cancelling,
    /// It ended, and did all.
    Done,
    /// It ended because it was told to. What it did stays.
    Cancelled,
    /// It failed.
    Failed(String),
}

impl JobState {
    /// Its stable name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Cancelling => "cancelling",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
            JobState::Failed(_) => "failed",
        }
    }

    /// Whether it works no more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !matches!(self, JobState::Running | JobState::Cancelling)
    }
}

/// A job, as lists show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobInfo {
    /// Its number, from 1 in each process.
    pub id: u64,
    /// What it does.
    pub kind: JobKind,
    /// To what, for people.
    pub what: String,
    /// How much is done, in bytes (settling: movements).
    pub done: u64,
    /// How much there is, as far as is known.
    pub total: u64,
    /// When it began, by the wall clock, in ns since the Unix epoch.
    pub started: EventTime,
    /// How it stands.
    pub state: JobState,
}

/// The jobs of a store that is open here. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Jobs(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    list: Mutex<List>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct List {
    last: u64,
    jobs: VecDeque<Arc<Entry>>,
    /// How many want that nothing begins any more.
    ending: usize,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    kind: JobKind,
    what: String,
    started: EventTime,
    /// Somebody asked for it, and may ask what came of it.
    asked: bool,
    done: AtomicU64,
    total: AtomicU64,
    cancel: AtomicBool,
    end: Mutex<Option<JobState>>,
}

impl Entry {
    fn state(&self) -> JobState {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        match &*end {
            Some(state) => state.clone(),
            None if self.cancel.load(Ordering::Relaxed) => JobState::Cancelling,
            None => JobState::Running,
        }
    }

    fn info(&self) -> JobInfo {
        JobInfo {
            id: self.id,
            kind: self.kind,
            what: self.what.clone(),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            started: self.started,
            state: self.state(),
        }
    }
}

/// A job while it works: held by whoever does the work. Dropped, it has ended.
#[derive(Debug)]
pub struct Job {
    entry: Arc<Entry>,
    jobs: Jobs,
}

/// While it lives, every job is told to end as soon as it begins.
#[derive(Debug)]
pub struct Ending(Jobs);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.list_locked().ending -= 1;
    }
}

impl Jobs {
    fn list_locked(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job of the store's own begins; `now` is the wall clock.
    #[must_use]
    pub fn begin(&self, kind: JobKind, what: impl Into<String>, now: EventTime) -> Job {
        self.begin_as(kind, what.into(), now, false)
    }

    /// A job begins that somebody asked for: however much the store works by itself meanwhile, it is remembered as long as few such follow.
    #[must_use]
    pub fn begin_asked(&self, kind: JobKind, what: impl Into<String>, now: EventTime) -> Job {
        self.begin_as(kind, what.into(), now, true)
    }

    fn begin_as(&self, kind: JobKind, what: String, now: EventTime, asked: bool) -> Job {
        let mut list = self.list_locked();
        list.last += 1;
        let entry = Arc::new(Entry {
            id: list.last,
            kind,
            what,
            started: now,
            asked,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            cancel: AtomicBool::new(list.ending > 0),
            end: Mutex::new(None),
        });
        list.jobs.push_back(entry.clone());
        let forgettable = |job: &Arc<Entry>| job.asked == asked && job.state().has_ended();
        if list.jobs.iter().filter(|job| forgettable(job)).count() > REMEMBERED
            && let Some(oldest) = list.jobs.iter().position(forgettable)
        {
            list.jobs.remove(oldest);
        }
        drop(list);
        Job {
            entry,
            jobs: self.clone(),
        }
    }

    /// The jobs, oldest first: those that work, and the last ones that ended.
    #[must_use]
    pub fn list(&self) -> Vec<JobInfo> {
        let list = self.list_locked();
        list.jobs.iter().map(|job| job.info()).collect()
    }

    /// One job.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<JobInfo> {
        let list = self.list_locked();
        let found = list.jobs.iter().find(|job| job.id == id);
        found.map(|job| job.info())
    }

    /// Tells a job to end; what it did stays. `None` where there is none of that number.
    pub fn cancel(&self, id: u64) -> Option<JobInfo> {
        let list = self.list_locked();
        let found = list.jobs.iter().find(|job| job.id == id)?;
        found.cancel.store(true, Ordering::Relaxed);
        Some(found.info())
    }

    /// Tells all jobs to end.
    pub fn cancel_all(&self) {
        for job in &self.list_locked().jobs {
            job.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Tells all jobs to end, and those that begin while what it gives lives: for whoever waits until they have.
    #[must_use]
    pub fn end(&self) -> Ending {
        self.list_locked().ending += 1;
        self.cancel_all();
        Ending(self.clone())
    }

    /// Waits until a job has ended, so long at most; gives how it stands then. `None` where there is none of that number.
    #[must_use]
    pub fn wait(&self, id: u64, at_most: Duration) -> Option<JobInfo> {
        let until = Instant::now().checked_add(at_most);
        let mut list = self.list_locked();
        let entry = list.jobs.iter().find(|job| job.id == id)?.clone();
        loop {
            let info = entry.info();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if info.state.has_ended() || left.is_some_and(|left| left.is_zero()) {
                return Some(info);
            }
            let left = left.unwrap_or(Duration::from_secs(3600));
            let woken = self.0.ended.wait_timeout(list, left);
            list = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Job {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.entry.id
    }

    /// Whether it was told to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.entry.cancel.load(Ordering::Relaxed)
    }

    /// How much there is to do, as far as is known now.
    pub fn set_total(&self, total: u64) {
        self.entry.total.store(total, Ordering::Relaxed);
    }

    /// So much more is done.
    pub fn add_done(&self, done: u64) {
        self.entry.done.fetch_add(done, Ordering::Relaxed);
    }

    /// It ends, and says how.
    pub fn end(self, state: JobState) {
        self.note(state);
    }

    /// It ends with what came of it; `cut_short` says whether that is less than it was begun for, because it was told to end.
    pub fn end_with<T>(self, done: &Result<T, Error>, cut_short: impl FnOnce(&T) -> bool) {
        self.end(match done {
            Ok(done) if cut_short(done) => JobState::Cancelled,
            Ok(_) => JobState::Done,
            Err(error) => JobState::Failed(error.to_string()),
        });
    }

    /// It ends, and lists show it no more: it was over before anybody could have looked.
    pub fn end_unseen(self) {
        self.note(JobState::Done);
        let mut list = self.jobs.list_locked();
        list.jobs.retain(|job| job.id != self.entry.id);
    }

    fn note(&self, state: JobState) {
        // Under the list's lock: whoever waits looks at it there.
        let _list = self.jobs.list_locked();
        let end = &self.entry.end;
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_none() {
            *end = Some(state);
        }
        drop(end);
        self.jobs.0.ended.notify_all();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.note(match self.is_cancelled() {
            _ if std::thread::panicking() => JobState::Failed("it died: the log says where".into()),
            true => JobState::Cancelled,
            false => JobState::Done,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_listed_waited_for_and_cancelled() {
        let jobs = Jobs::default();
        let job = jobs.begin(JobKind::Reclaim, "the store", 7);
        let id = job.id();
        job.set_total(10);
        job.add_done(4);
        let info = jobs.get(id).unwrap();
        assert_eq!((info.done, info.total, info.started), (4, 10, 7));
        assert_eq!(info.state, JobState::Running);
        let waited = jobs.wait(id, Duration::from_millis(1)).unwrap();
        assert!(!waited.state.has_ended());
        let worker = std::thread::spawn(move || {
            while !job.is_cancelled() {
                std::thread::yield_now();
            }
        });
        assert_eq!(jobs.cancel(id).unwrap().state, JobState::Cancelling);
        let ended = jobs.wait(id, Duration::from_secs(60)).unwrap();
        assert_eq!(ended.state, JobState::Cancelled);
        worker.join().unwrap();
        assert!(jobs.wait(99, Duration::ZERO).is_none() && jobs.cancel(99).is_none());
    }

    #[test]
    fn a_job_that_dies_has_failed() {
        let jobs = Jobs::default();
        let job = jobs.begin(JobKind::Defrag, "v", 0);
        let id = job.id();
        let died = std::thread::spawn(move || {
            assert!(job.is_cancelled(), "as a test wants it");
        });
        died.join().unwrap_err();
        assert!(matches!(jobs.get(id).unwrap().state, JobState::Failed(_)));
    }

    #[test]
    fn at_the_end_what_works_and_what_begins_is_told_to_end() {
        let jobs = Jobs::default();
        let working = jobs.begin(JobKind::Reclaim, "the store", 0);
        let (ending, another) = (jobs.end(), jobs.end());
        assert!(working.is_cancelled());
        assert!(jobs.begin(JobKind::Reclaim, "late", 0).is_cancelled());
        drop(ending);
        assert!(jobs.begin(JobKind::Reclaim, "later", 0).is_cancelled());
        drop(another);
        assert!(!jobs.begin(JobKind::Reclaim, "afterwards", 0).is_cancelled());
    }

    #[test]
    fn what_was_over_at_once_is_not_listed() {
        let jobs = Jobs::default();
        let reclaim = jobs.begin(JobKind::Reclaim, "the store", 0);
        let quick = jobs.begin(JobKind::Settle, "bulk movements", 0);
        assert_eq!(jobs.list().len(), 2);
        quick.end_unseen();
        let list = jobs.list();
        assert_eq!((list.len(), list[0].id), (1, reclaim.id()));
    }

    #[test]
    fn what_ended_long_ago_is_forgotten_and_what_works_is_not() {
        let jobs = Jobs::default();
        let working = jobs.begin(JobKind::Defrag, "v", 0);
        for _ in 0..3 * REMEMBERED {
            jobs.begin(JobKind::Settle, "v", 0)
                .end(JobState::Failed("no".into()));
        }
        let list = jobs.list();
        assert!(list.len() <= REMEMBERED + 2);
        assert_eq!(list[0].id, working.id());
    }
    #[test]
    fn what_somebody_asked_for_is_not_forgotten_for_the_stores_own_work() {
        let jobs = Jobs::default();
        let begin = |asked| match asked {
            true => jobs.begin_asked(JobKind::Reclaim, "what is dead", 0),
            false => jobs.begin(JobKind::Reclaim, "room for a command", 0),
        };
        let asked = begin(true).id();
        for _ in 0..3 * REMEMBERED {
            drop(begin(false));
        }
        let found = jobs.wait(asked, Duration::ZERO).unwrap();
        assert_eq!(found.state, JobState::Done);
        for _ in 0..3 * REMEMBERED {
            drop(begin(true));
        }
        assert!(jobs.get(asked).is_none());
        assert!(jobs.list().len() <= 2 * (REMEMBERED + 2));
    }
}
