//! What live use has done and how long it took: counters cheap enough for every request.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use strand_engine::{Actor, Ino, VolumeId};

/// How many slow operations are remembered.
const SLOW_KEPT: usize = 32;
/// From this on an operation is slow.
const SLOW: Duration = Duration::from_millis(1);
/// Buckets of the latency histogram: bucket `i` counts flushes below `2^(i + 4)` µs, the last one all others.
const BUCKETS: usize = 18;

macro_rules! ops {
    ($($variant:ident => $name:literal,)*) => {
        /// Kinds of operations that are counted.
        #[derive(Copy, Clone, Debug, Eq, PartialEq)]
        #[allow(missing_docs)] // the names are the system's own
        pub enum Op { $($variant,)* }

        impl Op {
            /// Every kind, in order.
            pub const ALL: &[Op] = &[$(Op::$variant,)*];

            /// The name, as metrics show it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Op::$variant => $name,)* }
            }
        }
    };
}

ops! {
    Lookup => "lookup",
    Getattr => "getattr",
    Setattr => "setattr",
    Readlink => "readlink",
    Create => "create",
    Mknod => "mknod",
    Mkdir => "mkdir",
    Symlink => "symlink",
    Link => "link",
    Unlink => "unlink",
    Rmdir => "rmdir",
    Rename => "rename",
    Open => "open",
    Release => "release",
    Read => "read",
    Write => "write",
    Fsync => "fsync",
    Fallocate => "fallocate",
    Lseek => "lseek",
    CopyRange => "copy_file_range",
    Readdir => "readdir",
    Statfs => "statfs",
    Xattr => "xattr",
    Command => "command",
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    errors: AtomicU64,
    nanos: AtomicU64,
}

/// The counters of a store in live use.
#[derive(Debug)]
pub struct Metrics {
    since: Instant,
    ops: Vec<Counter>,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    flushes: AtomicU64,
    flush_nanos: AtomicU64,
    flush_buckets: [AtomicU64; BUCKETS],
    grouped: AtomicU64,
    largest_group: AtomicU64,
    held_back: AtomicU64,
    slow: Mutex<VecDeque<Slow>>,
}

/// A slow operation.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    op: Op,
    volume: VolumeId,
    ino: Ino,
    took: Duration,
    at: SystemTime,
    actor: Arc<Actor>,
}

/// One kind of operation.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct OpFigures {
    /// Its name.
    pub name: String,
    /// How many were answered.
    pub count: u64,
    /// How many of them with an error.
    pub errors: u64,
    /// How long they took together, in µs.
    pub micros: u64,
}

/// A slow operation, as lists show it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SlowFigures {
    /// What it was.
    pub name: String,
    /// The volume's number.
    pub volume: u32,
    /// The file's inode number.
    pub ino: u64,
    /// The file's path, where it still has one.
    pub path: Option<String>,
    /// How long it took, in µs.
    pub micros: u64,
    /// When it ended, in ns since the Unix epoch.
    pub at: u64,
    /// Who asked: name and pid.
    pub actor: String,
}

/// All figures at one moment. Counts are since the start.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Time since the start, in ms.
    pub up_millis: u64,
    /// Operations by kind; kinds never seen are left out.
    pub ops: Vec<OpFigures>,
    /// Bytes that requests read from the store (the kernel's cache answers others).
    pub read_bytes: u64,
    /// Bytes that requests wrote.
    pub written_bytes: u64,
    /// Flushes of the journal.
    pub flushes: u64,
    /// How long they took together, in µs.
    pub flush_micros: u64,
    /// How many took less than 16 µs, 32 µs, and so on doubling; the last one counts the rest.
    pub flush_buckets: Vec<u64>,
    /// Requests that waited for those flushes.
    pub grouped: u64,
    /// The most that waited for one.
    pub largest_group: u64,
    /// Writes answered late because too much was not flushed.
    pub held_back: u64,
    /// Files and directories that the kernel holds, over all mounts.
    pub nodes: u64,
    /// Files and directories that are open, over all mounts.
    pub handles: u64,
    /// The slowest operations of late, newest first.
    pub slow: Vec<SlowFigures>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            ops: Op::ALL.iter().map(|_| Counter::default()).collect(),
            read_bytes: AtomicU64::default(),
            written_bytes: AtomicU64::default(),
            flushes: AtomicU64::default(),
            flush_nanos: AtomicU64::default(),
            flush_buckets: Default::default(),
            grouped: AtomicU64::default(),
            largest_group: AtomicU64::default(),
            held_back: AtomicU64::default(),
            slow: Mutex::default(),
        }
    }
}

impl Metrics {
    /// An operation was answered.
    pub(crate) fn answered(
        &self,
        op: Op,
        begun: Instant,
        failed: bool,
        who: impl FnOnce() -> (VolumeId, Ino, Arc<Actor>),
    ) {
        let took = begun.elapsed();
        let counter = &self.ops[op as usize];
        counter.count.fetch_add(1, Relaxed);
        counter.nanos.fetch_add(nanos(took), Relaxed);
        if failed {
            counter.errors.fetch_add(1, Relaxed);
        }
        if took >= SLOW {
            let (volume, ino, actor) = who();
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            if slow.len() >= SLOW_KEPT {
                slow.pop_front();
            }
            slow.push_back(Slow {
                op,
                volume,
                ino,
                took,
                at: SystemTime::now(),
                actor,
            });
        }
    }

    /// Bytes were read.
    pub(crate) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Relaxed);
    }

    /// Bytes were written.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Relaxed);
    }

    /// A write waits until less is unflushed.
    pub(crate) fn held_back(&self) {
        self.held_back.fetch_add(1, Relaxed);
    }

    /// A group of so many requests was answered, after a flush where there was anything to flush.
    pub(crate) fn flushed(&self, took: Option<Duration>, group: u64) {
        self.grouped.fetch_add(group, Relaxed);
        let Some(took) = took else {
            return;
        };
        self.flushes.fetch_add(1, Relaxed);
        self.flush_nanos.fetch_add(nanos(took), Relaxed);
        let micros = took.as_micros().max(1).ilog2() as usize;
        let bucket = (micros + 1).saturating_sub(4).min(BUCKETS - 1);
        self.flush_buckets[bucket].fetch_add(1, Relaxed);
        self.largest_group.fetch_max(group, Relaxed);
    }

    /// All figures now but those of mounts; `path` finds the path of a file.
    pub(crate) fn figures(&self, path: impl Fn(VolumeId, Ino) -> Option<Vec<u8>>) -> Figures {
        let slow: Vec<Slow> = {
            let kept = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            kept.iter().rev().cloned().collect()
        };
        let ops = Op::ALL.iter().zip(&self.ops);
        Figures {
            up_millis: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            ops: ops
                .map(|(op, counter)| OpFigures {
                    name: op.name().to_owned(),
                    count: counter.count.load(Relaxed),
                    errors: counter.errors.load(Relaxed),
                    micros: counter.nanos.load(Relaxed) / 1000,
                })
                .filter(|op| op.count > 0)
                .collect(),
            read_bytes: self.read_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            flushes: self.flushes.load(Relaxed),
            flush_micros: self.flush_nanos.load(Relaxed) / 1000,
            flush_buckets: self.flush_buckets.iter().map(|b| b.load(Relaxed)).collect(),
            grouped: self.grouped.load(Relaxed),
            largest_group: self.largest_group.load(Relaxed),
            held_back: self.held_back.load(Relaxed),
            nodes: 0,
            handles: 0,
            slow: slow
                .into_iter()
                .map(|slow| SlowFigures {
                    name: slow.op.name().to_owned(),
                    volume: slow.volume.0,
                    ino: slow.ino.0,
                    path: path(slow.volume, slow.ino)
                        .map(|p| String::from_utf8_lossy(&p).into_owned()),
                    micros: u64::try_from(slow.took.as_micros()).unwrap_or(u64::MAX),
                    at: slow.at.duration_since(UNIX_EPOCH).map_or(0, nanos),
                    actor: format!("{}[{}]", slow.actor.name, slow.actor.pid),
                })
                .collect(),
        }
    }
}

impl Figures {
    /// The figures in the text format that Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
            let _ = writeln!(text, "# HELP strand_{name} {help}");
            let _ = writeln!(text, "# TYPE strand_{name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "strand_{name}{labels} {value}");
            }
        };
        let by_op = |value: fn(&OpFigures) -> f64| -> Vec<(String, f64)> {
            let row = |op: &OpFigures| (format!("{{op=\"{}\"}}", op.name), value(op));
            self.ops.iter().map(row).collect()
        };
        let one = |value: u64| [(String::new(), value as f64)];
        family(
            "uptime_seconds",
            "gauge",
            "Time since the start.",
            &[(String::new(), self.up_millis as f64 / 1e3)],
        );
        family(
            "operations_total",
            "counter",
            "Operations answered.",
            &by_op(|op| op.count as f64),
        );
        family(
            "operation_errors_total",
            "counter",
            "Operations answered with an error.",
            &by_op(|op| op.errors as f64),
        );
        family(
            "operation_seconds_total",
            "counter",
            "Time that operations took.",
            &by_op(|op| op.micros as f64 / 1e6),
        );
        family(
            "read_bytes_total",
            "counter",
            "Bytes read from the store.",
            &one(self.read_bytes),
        );
        family(
            "written_bytes_total",
            "counter",
            "Bytes written.",
            &one(self.written_bytes),
        );
        family(
            "flush_waiters_total",
            "counter",
            "Requests that waited for a flush.",
            &one(self.grouped),
        );
        family(
            "flush_largest_group",
            "gauge",
            "The most requests that one flush served.",
            &one(self.largest_group),
        );
        family(
            "writes_held_back_total",
            "counter",
            "Writes answered late because too much was unflushed.",
            &one(self.held_back),
        );
        family(
            "nodes",
            "gauge",
            "Files and directories that the kernel holds.",
            &one(self.nodes),
        );
        family(
            "handles",
            "gauge",
            "Open files and directories.",
            &one(self.handles),
        );
        let _ = writeln!(text, "# HELP strand_flush_seconds Flushes of the journal.");
        let _ = writeln!(text, "# TYPE strand_flush_seconds histogram");
        let mut below = 0;
        for (i, count) in self.flush_buckets.iter().enumerate() {
            below += count;
            if i + 1 < self.flush_buckets.len() {
                let edge = (1u64 << (i + 4)) as f64 / 1e6;
                let _ = writeln!(text, "strand_flush_seconds_bucket{{le=\"{edge}\"}} {below}");
            }
        }
        let _ = writeln!(text, "strand_flush_seconds_bucket{{le=\"+Inf\"}} {below}");
        let sum = self.flush_micros as f64 / 1e6;
        let _ = writeln!(text, "strand_flush_seconds_sum {sum}");
        let _ = writeln!(text, "strand_flush_seconds_count {}", self.flushes);
        text
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_falls_into_the_bucket_below_its_edge() {
        let metrics = Metrics::default();
        for micros in [0, 15, 16, 31, 32, 1 << 40] {
            metrics.flushed(Some(Duration::from_micros(micros)), 1);
        }
        let figures = metrics.figures(|_, _| None);
        assert_eq!(figures.flush_buckets[..3], [2, 2, 1]);
        assert_eq!(figures.flush_buckets[BUCKETS - 1], 1);
        let text = figures.prometheus();
        assert!(text.contains("strand_flush_seconds_bucket{le=\"0.000032\"} 4\n"));
        assert!(text.contains("strand_flush_seconds_bucket{le=\"+Inf\"} 6\n"));
    }

    #[test]
    fn only_the_latest_slow_operations_are_kept() {
        let metrics = Metrics::default();
        let begun = Instant::now() - Duration::from_secs(1);
        for ino in 0..100 {
            metrics.answered(Op::Read, begun, ino % 2 == 0, || {
                (VolumeId(1), Ino(ino), Arc::new(Actor::program()))
            });
        }
        let figures = metrics.figures(|_, ino| (ino.0 == 99).then(|| b"a/b".to_vec()));
        assert_eq!((figures.ops[0].count, figures.ops[0].errors), (100, 50));
        assert_eq!(figures.slow.len(), SLOW_KEPT);
        assert_eq!(figures.slow[0].path.as_deref(), Some("a/b"));
        assert_eq!(figures.slow[SLOW_KEPT - 1].ino, 68);
    }
}
