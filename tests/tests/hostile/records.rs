//! Records as bytes, and many of them.

use super::{PATIENCE, command, forge, ground, is_stopped, open, record};
use std::time::Instant;
use strand_engine::owner::owned_brute;
use strand_engine::{Access, Cause, CheckpointId, Command, Event, Source};
use strand_tests::lockstep::{actor, fresh_digest};
use strand_tests::random::Random;
use strand_tests::scenario::{Scenario, read_everything};
use strand_tests::small::Small;

#[test]
fn hostile_records_are_stopped() {
    let g = ground();
    let good = record(
        &Event::CheckpointHeld {
            checkpoint: g.checkpoint,
            held: true,
        },
        true,
    );
    let mut huge_text = vec![3, 3];
    huge_text.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let mut huge_list = record(
        &Event::CopiedOut {
            volume: g.volume,
            checkpoint: g.checkpoint,
            cause: Cause::Write,
            ino: g.file,
            ranges: vec![],
        },
        true,
    );
    huge_list.pop();
    huge_list.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let cut = good[..good.len() - 1].to_vec();
    for (what, bytes) in [
        ("an unknown kind", vec![3, 200, 1]),
        ("the greatest kind", vec![3, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("a tag alone", vec![3]),
        (
            "a tag in too many bytes",
            [vec![0x83, 0x00], good[1..].to_vec()].concat(),
        ),
        ("a tag without end", vec![0xff; 12]),
        ("a record cut short", cut),
        ("bytes behind the end", [good.clone(), vec![0]].concat()),
        ("a text without end", huge_text),
        ("a list without end", huge_list),
        ("zeros", vec![0; 60]),
        ("the longest record", vec![0x41; 60_000]),
    ] {
        is_stopped(&g, &[(bytes, 0)], what);
    }
    let unknown = [vec![0xff, 0xff, 0xff, 0xff, 0x0f], good[1..].to_vec()].concat();
    is_stopped(&g, &[(unknown, 0)], "an actor that nobody ever saw");
}

/// Rollbacks to hundreds of positions in one journal: each needs the state there, and none may cost a fold of its own.
#[test]
fn many_positions_fold_in_bounded_time() {
    let small = Small::new();
    let volume = small.volume("v");
    let file = small.file(volume, "f");
    for n in 0..300 {
        small.write(volume, file, n % 8, 1, n);
    }
    let (first, last) = (small.store.state().seq - 300, small.store.state().seq);
    let Small { store, disk, .. } = small;
    store.close().unwrap();
    let began = Instant::now();
    let before = open(&disk, Access::ReadOnly).unwrap().state();
    let events: Vec<(Event, u8)> = (first..last)
        .map(|at| {
            let source = Source::Position(volume, at);
            (
                Event::RolledBack {
                    volumes: vec![(volume, source)],
                    before: CheckpointId(1),
                },
                0,
            )
        })
        .collect();
    for half in events.chunks(150) {
        let disk = forge(&disk, &command(half));
        let store = open(&disk, Access::ReadWrite).unwrap();
        assert!(store.state().seq >= before.seq + half.len() as u64);
        read_everything(&store).unwrap();
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

/// Any bytes of any record changed, in a sound frame: stopped, or admitted and then harmless. What is admitted can be read, counted, digested,
/// written on and settled.
#[test]
fn changed_records_are_stopped_or_harmless() {
    let disk = Scenario::random(61, 60).closed_disk();
    let store = open(&disk, Access::ReadOnly).unwrap();
    let mut records = Vec::new();
    for frame in store
        .journal()
        .reader()
        .frames(store.journal().reader().origin())
    {
        let frame = frame.unwrap();
        records.extend(
            frame
                .entries()
                .map(|entry| entry.map(|e| (e.bytes.to_vec(), e.crcs.len())).unwrap()),
        );
    }
    drop(store);
    let mut random = Random::new(99);
    let (mut stopped, mut admitted) = (0, 0);
    let began = Instant::now();
    for turn in 0..3000 {
        let (mut bytes, blocks) = random.pick(&records).unwrap().clone();
        bytes[0] = 3;
        for _ in 0..random.below(4) {
            let at = 1 + random.below(bytes.len() as u64 - 1) as usize;
            match random.below(5) {
                0 => bytes[at] = random.next_u64() as u8,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes[at] = bytes[at].wrapping_sub(1),
                3 => bytes
                    .splice(at..=at, [0xff; 9].into_iter().chain([1]))
                    .for_each(drop),
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        let forged = forge(&disk, &[(bytes.clone(), blocks.min(4) as u8)]);
        let store = open(&forged, Access::ReadOnly)
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        if store.opening().damage.is_some() {
            stopped += 1;
            continue;
        }
        admitted += 1;
        let state = store.state();
        let _ = fresh_digest(&state);
        state.volumes.values().for_each(|v| drop(owned_brute(v)));
        drop(read_everything(&store));
        drop(store);
        let store = open(&forged, Access::ReadWrite)
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        store
            .settle()
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        for volume in state.volumes.keys() {
            let name = format!("after-{volume}");
            let members = vec![*volume];
            let command = Command::CheckpointCreate {
                name: Some(name),
                volumes: members,
                nomount: false,
                removable: false,
                nodata: false,
                note: String::new(),
            };
            store
                .run(&actor("later"), command)
                .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
        }
        store
            .close()
            .unwrap_or_else(|e| panic!("turn {turn}, {bytes:?}: {e}"));
    }
    println!(
        "{stopped} stopped, {admitted} admitted, {:?}",
        began.elapsed()
    );
    assert!(
        stopped > 300 && admitted > 40,
        "{stopped} stopped, {admitted} admitted"
    );
}
