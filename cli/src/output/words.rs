//! Sentences and members that several commands share.

use super::units;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strand_engine::{Actor, ActorId, BLOCK, Body, Event, Grade, Inode, Ledger, Seq, State};
use strand_replay::log::actor_label;

/// `sqlite3[812]`, `strand[812] alice`: who did it, in one word or two.
pub(crate) fn who(actor: &Actor) -> String {
    if actor.grade == Grade::Program {
        return actor.name.clone();
    }
    // The same words as in the log, which tells apart who only held the file open.
    let process = units::path(actor_label(actor).as_bytes());
    if actor.login.is_empty() {
        process
    } else {
        format!("{process} {}", units::path(actor.login.as_bytes()))
    }
}

/// The actor of that number, or what can be said without.
pub(crate) fn who_id(state: &State, id: ActorId) -> String {
    state
        .actors
        .get(&id)
        .map_or_else(|| format!("actor {id}"), |actor| who(actor))
}

/// Blocks that passed to checkpoints in these events, by the checkpoint's name.
pub(crate) fn passed(state: &State, events: &[Event]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for event in events {
        if let Event::CopiedOut {
            checkpoint, ranges, ..
        } = event
        {
            let name = state.checkpoints.get(checkpoint).map_or_else(
                || format!("checkpoint {checkpoint}"),
                |c| c.name.to_string(),
            );
            *sums.entry(name).or_insert(0) += ranges.iter().map(|r| r.count).sum::<u64>();
        }
    }
    sums
}

/// `; 2,001 blocks passed to before-upgrade (0 bytes moved)`, or nothing.
pub(crate) fn passed_text(passed: &BTreeMap<String, u64>) -> String {
    let parts = passed.iter().map(|(name, blocks)| {
        format!(
            "; {} passed to {name} (0 bytes moved)",
            units::counted(*blocks, "block")
        )
    });
    parts.collect()
}

/// The same for programs.
pub(crate) fn passed_json(passed: &BTreeMap<String, u64>) -> Value {
    let rows = passed.iter().map(
        |(name, blocks)| json!({"checkpoint": name, "blocks": blocks, "bytes": blocks * BLOCK}),
    );
    Value::Array(rows.collect())
}

/// `copied out 10 + handed in 0 − handed down 0 − released 2 = owned 8`, in blocks.
pub(crate) fn ledger(ledger: &Ledger) -> String {
    format!(
        "copied out {} + handed in {} − handed down {} − released {} = owned {}",
        units::count(ledger.copied_out),
        units::count(ledger.handed_in),
        units::count(ledger.handed_down),
        units::count(ledger.released),
        units::count(ledger.owned()),
    )
}

/// The ledger for programs, in blocks and bytes.
pub(crate) fn ledger_json(ledger: &Ledger) -> Value {
    let both = |blocks: u64| json!({"blocks": blocks, "bytes": blocks.saturating_mul(BLOCK)});
    json!({
        "copied_out": both(ledger.copied_out), "handed_in": both(ledger.handed_in),
        "handed_down": both(ledger.handed_down), "released": both(ledger.released), "owned": both(ledger.owned()),
    })
}

/// `seq 48,211, 2026-11-21 10:00:02 +01:00`.
pub(crate) fn position(seq: Seq, time: u64) -> String {
    format!("seq {seq}, {}", units::time(time))
}

/// What an inode is, in one stable word.
pub(crate) fn kind(inode: &Inode) -> &'static str {
    match inode.body {
        Body::File(_) => "file",
        Body::Dir(_) => "directory",
        Body::Symlink(_) => "symlink",
        Body::Fifo => "fifo",
        Body::Socket => "socket",
        Body::Char(_) => "char",
        Body::Block(_) => "block",
    }
}

/// `-rw-r--r--`.
pub(crate) fn mode(inode: &Inode) -> String {
    let kind = match inode.body {
        Body::File(_) => '-',
        Body::Dir(_) => 'd',
        Body::Symlink(_) => 'l',
        Body::Fifo => 'p',
        Body::Socket => 's',
        Body::Char(_) => 'c',
        Body::Block(_) => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = inode.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (inode.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
