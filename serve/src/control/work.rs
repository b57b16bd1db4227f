//! Work that clients ask for and that goes on in the background: giving space back, putting files in order, moving old events away. Each is one of
//! the store's jobs, on a thread of its own; what came of it is remembered until it is asked for, for the last few.

use super::message::{Job, Leased, Reply, Work, WorkDone};
use crate::Live;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use strand_engine::jobs::{JobInfo, JobKind};
use strand_engine::{Error, Kind, ReclaimOptions, Refusal};

/// What came of so many is remembered.
const REMEMBERED: usize = 64;
/// A client is kept waiting for so long at once; it asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// So much works at once; more is refused.
const MOST_AT_ONCE: usize = 8;

/// The work of one daemon.
#[derive(Debug, Default)]
pub(super) struct Works(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    threads: BTreeMap<u64, JoinHandle<()>>,
    came: BTreeMap<u64, WorkDone>,
}

impl Works {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a piece of work; `passed` is the directory that came with it.
    ///
    /// # Errors
    /// [`Kind::Busy`] where too much works already.
    pub(super) fn begin(
        self: &Arc<Self>,
        live: &Arc<Live>,
        work: Work,
        passed: Option<OwnedFd>,
    ) -> Result<Job, Error> {
        let mut inner = self.lock();
        inner.threads.retain(|_, thread| !thread.is_finished());
        if inner.threads.len() >= MOST_AT_ONCE {
            return Err(Refusal::new(Kind::Busy, "too much is being worked on")
                .why(format!(
                    "{MOST_AT_ONCE} jobs that clients asked for are running"
                ))
                .next("strand job list")
                .into());
        }
        let store = live.store();
        let (kind, what) = match &work {
            Work::Reclaim { now: false, .. } => (JobKind::Reclaim, "what is dead".to_owned()),
            Work::Reclaim { now: true, .. } => {
                (JobKind::Reclaim, "what is dead, and the history".to_owned())
            }
            Work::MoveArchives { before, .. } => {
                (JobKind::Archive, format!("events before seq {before}"))
            }
            Work::Defrag { volume, file, .. } => {
                let name = store.look(*volume, |v| v.name.to_string())?;
                let what = match file {
                    Some(ino) => format!("inode {ino} of {name}"),
                    None => name,
                };
                (JobKind::Defrag, what)
            }
        };
        let job = store.jobs().begin_asked(kind, what, store.clock().wall());
        let id = job.id();
        let (works, for_thread) = (Arc::clone(self), Arc::clone(live));
        let thread = std::thread::Builder::new()
            .name(format!("job {id}"))
            .spawn(move || {
                // Whoever waits hears of it, whatever comes.
                let carried = AssertUnwindSafe(|| carry_out(&for_thread, work, passed, job));
                let done = std::panic::catch_unwind(carried).unwrap_or_else(|_| died(id));
                // Before whoever waits for the end of the daemon goes on.
                drop(for_thread);
                let mut inner = works.lock();
                inner.came.insert(id, done);
                while inner.came.len() > REMEMBERED {
                    inner.came.pop_first();
                }
            });
        match thread {
            Ok(thread) => drop(inner.threads.insert(id, thread)),
            Err(error) => {
                return Err(Refusal::new(Kind::Busy, "there is no thread for the job")
                    .why(error.to_string())
                    .into());
            }
        }
        drop(inner);
        job_of(live, id)
    }

    /// Waits for a job; gives how it stands, and what came of it once it has ended and a client had asked for it.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub(super) fn wait(
        &self,
        live: &Live,
        id: u64,
        at_most: Duration,
    ) -> Result<(Job, Option<WorkDone>), Error> {
        let jobs = live.store().jobs();
        let found = jobs
            .wait(id, at_most.min(LONGEST_WAIT))
            .ok_or_else(|| no_job(id))?;
        // What came of it is written down a moment after it ended.
        let ended = found.state.has_ended();
        let thread = ended.then(|| self.lock().threads.remove(&id)).flatten();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("job {id} had died");
        }
        let done = self.lock().came.get(&id).cloned();
        Ok((job(found), done))
    }

    /// Tells all to end, and waits for that.
    pub(super) fn end(&self, live: &Live) {
        live.store().jobs().cancel_all();
        let threads = std::mem::take(&mut self.lock().threads);
        for thread in threads.into_values() {
            if thread.join().is_err() {
                tracing::error!("a job had died");
            }
        }
    }
}

/// Puts an archive into a directory, durably. One that is there already, and the same, is left alone: but whoever put it there may have died
/// before it was durable.
///
/// # Errors
/// What the file system says; `AlreadyExists` where another file has its name.
pub fn keep_archive(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    // Somebody else's pipe of that name would hold the job, and with it the daemon's end, for as long as he likes.
    let common = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(dir, name, OFlags::RDONLY | common, Mode::empty()) {
        Ok(there) => {
            let mut found = Vec::new();
            let most = bytes.len() as u64 + 1;
            let there = File::from(there);
            (&there).take(most).read_to_end(&mut found)?;
            return match found == bytes {
                true => {
                    there.sync_all()?;
                    Ok(fs::fsync(dir)?)
                }
                false => Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("another {name} is there already"),
                )),
            };
        }
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let temporary = format!(".{name}.tmp");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | common;
    let mut file = File::from(fs::openat(
        dir,
        temporary.as_str(),
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::renameat(dir, temporary.as_str(), dir, name)?;
    Ok(fs::fsync(dir)?)
}

fn carry_out(
    live: &Live,
    work: Work,
    passed: Option<OwnedFd>,
    job: strand_engine::jobs::Job,
) -> WorkDone {
    let store = live.store();
    let failed = |error: Error| WorkDone::Failed(error.refusal().into());
    match work {
        Work::Reclaim { rate, now } => {
            let options = ReclaimOptions {
                rate,
                now,
                ..ReclaimOptions::default()
            };
            match store.reclaim_as(&options, job) {
                Ok(done) => WorkDone::Reclaimed(done),
                Err(error) => failed(error),
            }
        }
        Work::Defrag { volume, file, rate } => match store.defrag(volume, file, rate, job) {
            Ok(done) => WorkDone::Defragged(done),
            Err(error) => failed(error),
        },
        Work::MoveArchives { before } => {
            let Some(dir) = passed else {
                let none = Refusal::new(Kind::Invalid, "no directory came with the request");
                return failed(none.into());
            };
            let mut keep = |name: &str, bytes: &[u8]| match job.is_cancelled() {
                true => Err(std::io::Error::other("the job was told to end")),
                false => keep_archive(dir.as_fd(), name, bytes),
            };
            match store.move_archives(before, Some(&mut keep)) {
                Ok(moved) => WorkDone::Moved(moved),
                Err(error) => {
                    if !job.is_cancelled() {
                        job.end(strand_engine::jobs::JobState::Failed(error.to_string()));
                    }
                    failed(error)
                }
            }
        }
    }
}

fn died(id: u64) -> WorkDone {
    tracing::error!("job {id} died");
    let refusal = Refusal::new(Kind::Io, format!("job {id} died"))
        .why("it met what the program does not expect")
        .next("the daemon's log says where; what the job did so far stays");
    WorkDone::Failed(refusal.into())
}

fn no_job(id: u64) -> Refusal {
    Refusal::new(Kind::NotFound, format!("there is no job {id}")).next("strand job list")
}

/// One job, as clients see it.
pub(super) fn job_of(live: &Live, id: u64) -> Result<Job, Error> {
    let found = live.store().jobs().get(id);
    Ok(job(found.ok_or_else(|| no_job(id))?))
}

/// Tells a job to end.
pub(super) fn cancel(live: &Live, id: u64) -> Result<Job, Error> {
    let found = live.store().jobs().cancel(id);
    Ok(job(found.ok_or_else(|| no_job(id))?))
}

/// All jobs.
pub(super) fn jobs(live: &Live) -> Vec<Job> {
    live.store().jobs().list().into_iter().map(job).collect()
}

/// Who keeps which views readable.
pub(super) fn leases(live: &Live) -> Vec<Leased> {
    let leases = live.store().leases().into_iter();
    leases
        .map(|lease| Leased {
            source: lease.source,
            by: lease.by,
            left: lease.left.map(|left| left.as_secs()),
        })
        .collect()
}

/// A job that is under way, as an answer.
pub(super) fn began(job: Job) -> Reply {
    Reply::Job(Box::new((job, None)))
}

fn job(info: JobInfo) -> Job {
    info.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_kept_once_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let at = File::open(dir.path()).unwrap();
        keep_archive(at.as_fd(), "1.arc", b"events").unwrap();
        keep_archive(at.as_fd(), "1.arc", b"events").unwrap();
        for other in [&b"other"[..], b"event", b"events and more"] {
            let error = keep_archive(at.as_fd(), "1.arc", other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read(dir.path().join("1.arc")).unwrap(), b"events");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_in_place_of_an_archive_holds_nobody() {
        let dir = tempfile::tempdir().unwrap();
        for (pipe, wanted) in [
            ("1.arc", io::ErrorKind::AlreadyExists),
            (".2.arc.tmp", io::Error::from(Errno::NXIO).kind()),
        ] {
            let at = File::open(dir.path()).unwrap();
            let mode = Mode::RUSR | Mode::WUSR;
            fs::mknodat(at.as_fd(), pipe, fs::FileType::Fifo, mode, 0).unwrap();
            let name = if pipe == "1.arc" { "1.arc" } else { "2.arc" };
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || tell.send(keep_archive(at.as_fd(), name, b"events")));
            let kept = told.recv_timeout(Duration::from_secs(20));
            let error = kept.expect("it waits for the pipe").unwrap_err();
            assert_eq!(error.kind(), wanted, "{pipe}: {error}");
        }
    }
}
