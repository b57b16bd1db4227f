//! The numbers of `strand top`: what happened between two looks at the daemon. Pure.

use crate::output::units;
use serde_json::{Value, json};
use strand_engine::{BLOCK, State};
use strand_serve::control::Status;
use strand_serve::{Figures, OpFigures, SlowFigures};

/// One look.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) status: Status,
    pub(super) space: Vec<Owned>,
}

/// What one checkpoint owns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owned {
    pub(super) checkpoint: String,
    pub(super) bytes: u64,
    /// A bulk movement is not counted yet.
    pub(super) settling: bool,
}

/// One kind of operation, between two looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) name: String,
    pub(super) per_second: f64,
    /// Mean time of one, in µs.
    pub(super) micros: f64,
    /// How many failed.
    pub(super) errors: u64,
}

/// What happened between two looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Passed {
    /// Seconds between them.
    pub(super) seconds: f64,
    pub(super) operations: f64,
    pub(super) read_bytes: f64,
    pub(super) written_bytes: f64,
    pub(super) flushes: f64,
    /// Mean time of a flush, in µs; `None` where there was none.
    pub(super) flush_micros: Option<f64>,
    /// 99 of 100 flushes took less than so many µs; `None` where there was none, or it took longer than the last bucket says.
    pub(super) flush_p99: Option<u64>,
    /// Mean number of requests that one flush answered.
    pub(super) group: Option<f64>,
    /// By kind, the busiest first; those that did not happen are left out.
    pub(super) kinds: Vec<Rate>,
    /// The slowest of late.
    pub(super) slow: Vec<SlowFigures>,
}

/// What every checkpoint owns, the largest first.
pub(super) fn owned(state: &State) -> Vec<Owned> {
    let mut rows: Vec<Owned> = state
        .checkpoints
        .values()
        .map(|checkpoint| {
            let volumes = checkpoint.volumes.iter().filter_map(|id| state.volume(*id));
            let (blocks, settling) = volumes.fold((0_u64, false), |(blocks, settling), volume| {
                let owned = volume
                    .images
                    .get(&checkpoint.id)
                    .map_or(0, |image| image.ledger.owned());
                (blocks.saturating_add(owned), settling | volume.settling())
            });
            Owned {
                checkpoint: checkpoint.name.to_string(),
                bytes: blocks.saturating_mul(BLOCK),
                settling,
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        b.bytes
            .cmp(&a.bytes)
            .then_with(|| a.checkpoint.cmp(&b.checkpoint))
    });
    rows
}

/// Compares two looks; without an earlier one, with the daemon's start.
pub(super) fn passed(before: Option<&Figures>, now: &Figures) -> Passed {
    let millis = now.up_millis - before.map_or(0, |b| b.up_millis.min(now.up_millis));
    let seconds = (millis.max(1)) as f64 / 1000.0;
    let grown = |of: fn(&Figures) -> u64| of(now).saturating_sub(before.map_or(0, of));
    let flushes = grown(|f| f.flushes);
    let mean = |sum: u64| (flushes > 0).then(|| sum as f64 / flushes as f64);
    let mut kinds: Vec<Rate> = now
        .ops
        .iter()
        .filter_map(|op| rate(op, before, seconds))
        .collect();
    kinds.sort_by(|a, b| {
        b.per_second
            .total_cmp(&a.per_second)
            .then_with(|| a.name.cmp(&b.name))
    });
    let mut slow = now.slow.clone();
    slow.sort_by_key(|s| std::cmp::Reverse(s.micros));
    Passed {
        seconds,
        // A sum of nothing is minus zero.
        operations: kinds.iter().map(|k| k.per_second).sum::<f64>() + 0.0,
        read_bytes: grown(|f| f.read_bytes) as f64 / seconds,
        written_bytes: grown(|f| f.written_bytes) as f64 / seconds,
        flushes: flushes as f64 / seconds,
        flush_micros: mean(grown(|f| f.flush_micros)),
        flush_p99: percentile(before, now),
        group: mean(grown(|f| f.grouped)),
        kinds,
        slow,
    }
}

fn rate(op: &OpFigures, before: Option<&Figures>, seconds: f64) -> Option<Rate> {
    let earlier = before.and_then(|b| b.ops.iter().find(|o| o.name == op.name));
    let grown = |now: u64, of: fn(&OpFigures) -> u64| now.saturating_sub(earlier.map_or(0, of));
    let count = grown(op.count, |o| o.count);
    (count > 0).then(|| Rate {
        name: op.name.clone(),
        per_second: count as f64 / seconds,
        micros: grown(op.micros, |o| o.micros) as f64 / count as f64,
        errors: grown(op.errors, |o| o.errors),
    })
}

/// The bound of the bucket that holds the 99th of 100 flushes.
fn percentile(before: Option<&Figures>, now: &Figures) -> Option<u64> {
    let earlier = |i: usize| {
        before
            .and_then(|b| b.flush_buckets.get(i))
            .copied()
            .unwrap_or(0)
    };
    let grown: Vec<u64> = now
        .flush_buckets
        .iter()
        .enumerate()
        .map(|(i, count)| count.saturating_sub(earlier(i)))
        .collect();
    let all: u64 = grown.iter().sum();
    let mut seen = 0;
    for (i, count) in grown.iter().enumerate() {
        seen += count;
        if all > 0 && seen.saturating_mul(100) >= all.saturating_mul(99) {
            return (i + 1 < grown.len()).then(|| 16_u64 << i);
        }
    }
    None
}

/// For programs: one line of JSON a look.
pub(super) fn as_json(moment: &Moment, passed: &Passed) -> Value {
    let status = &moment.status;
    let kinds: Vec<Value> = passed
        .kinds
        .iter()
        .map(|k| json!({"name": k.name, "per_second": k.per_second, "mean_micros": k.micros, "errors": k.errors}))
        .collect();
    let space: Vec<Value> = moment
        .space
        .iter()
        .map(
            |o| json!({"checkpoint": o.checkpoint, "owned_bytes": o.bytes, "settling": o.settling}),
        )
        .collect();
    let slow: Vec<Value> = passed
        .slow
        .iter()
        .map(|s| json!({"name": s.name, "path": s.path, "ino": s.ino, "micros": s.micros, "time": units::json_time(s.at), "actor": s.actor}))
        .collect();
    json!({
        "seconds": passed.seconds, "position": status.position, "flushed": status.flushed, "unflushed_bytes": status.unflushed_bytes,
        "operations_per_second": passed.operations, "read_bytes_per_second": passed.read_bytes,
        "written_bytes_per_second": passed.written_bytes, "flushes_per_second": passed.flushes,
        "flush_mean_micros": passed.flush_micros, "flush_p99_below_micros": passed.flush_p99, "group_mean": passed.group,
        "group_largest": status.figures.largest_group, "operations": kinds, "space": space, "slow": slow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(up_millis: u64, writes: u64, buckets: &[u64]) -> Figures {
        let flushes = buckets.iter().sum();
        Figures {
            up_millis,
            ops: vec![
                OpFigures {
                    name: "write".into(),
                    count: writes,
                    errors: 1,
                    micros: writes * 20,
                },
                OpFigures {
                    name: "read".into(),
                    count: 7,
                    errors: 0,
                    micros: 70,
                },
            ],
            read_bytes: 0,
            written_bytes: writes * 8192,
            flushes,
            flush_micros: flushes * 100,
            flush_buckets: buckets.to_vec(),
            grouped: flushes * 4,
            largest_group: 9,
            held_back: 0,
            nodes: 0,
            handles: 0,
            slow: Vec::new(),
        }
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let (before, now) = (
            figures(1000, 100, &[5, 0, 0]),
            figures(3000, 300, &[5, 99, 1]),
        );
        let passed = passed(Some(&before), &now);
        assert_eq!(passed.seconds, 2.0);
        assert_eq!(passed.kinds.len(), 1, "no read happened in between");
        assert_eq!(
            (passed.kinds[0].per_second, passed.kinds[0].micros),
            (100.0, 20.0)
        );
        assert_eq!(passed.kinds[0].errors, 0);
        assert_eq!(passed.written_bytes, 819_200.0);
        assert_eq!(passed.flushes, 50.0);
        assert_eq!(
            (passed.flush_micros, passed.group),
            (Some(100.0), Some(4.0))
        );
        assert_eq!(passed.flush_p99, Some(32));
    }

    #[test]
    fn the_last_bucket_has_no_bound_and_no_flush_has_no_time() {
        let (before, now) = (figures(0, 0, &[0, 0, 0]), figures(1000, 0, &[0, 0, 9]));
        assert_eq!(passed(Some(&before), &now).flush_p99, None);
        let idle = passed(Some(&now), &now);
        assert_eq!(
            (idle.flush_micros, idle.flush_p99, idle.group),
            (None, None, None)
        );
        assert!(idle.seconds > 0.0);
        assert!(idle.operations.is_sign_positive(), "no -0/s");
    }
}
