//! The invariants of the reference systems that hold here too, by their numbers.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strand_engine::owner::{self, addresses};
use strand_engine::{CheckpointId, Command, Event, Ino, Place, Source, VolumeId};
use strand_journal::disk::FaultyDisk;
use strand_replay::diff::{RangeKind, diff};
use strand_tests::history::{Profile, choose, dice};
use strand_tests::lockstep::Lockstep;
use strand_tests::random::Random;
use strand_tests::scenario::reopen;
use strand_tests::small::{BLOCK, Small, contents};

type Frozen = BTreeMap<(VolumeId, CheckpointId), BTreeMap<u64, Vec<u8>>>;

/// All images of a store that keep their bytes, with all of them.
fn images(store: &strand_engine::Store) -> Frozen {
    let state = store.state();
    let all = state.volumes.iter().flat_map(|(v, volume)| {
        volume
            .images
            .iter()
            .filter(|(_, image)| !image.nodata)
            .map(move |(c, image)| ((*v, *c), image))
    });
    all.map(|(key, image)| (key, contents(store, &image.root)))
        .collect()
}

/// For every checkpoint and every block: what is read never changes from creation to removal, whatever happens to the live volume, to other
/// checkpoints, or to the power.
#[test]
fn invariant_01_image_stability() {
    let mut compared = 0;
    for seed in 0..24 {
        let disk = FaultyDisk::new(seed);
        let mut lockstep = Lockstep::new(Arc::new(disk.clone()), 20).unwrap();
        let mut known = Frozen::new();
        for (turn, die) in dice(seed + 7000, 60).into_iter().enumerate() {
            // In every second history much space is given back.
            let profile = [Profile::All, Profile::Space][(seed % 2) as usize];
            let step = choose(die, &lockstep.reference, profile);
            lockstep
                .step(&step)
                .unwrap_or_else(|e| panic!("seed {seed}, {step:?}: {e}"));
            lockstep
                .compare(strand_tests::lockstep::Depth::Sampled(u64::MAX))
                .unwrap();
            let now = images(lockstep.store());
            for (key, bytes) in &now {
                compared += usize::from(known.contains_key(key));
                assert_eq!(
                    known.entry(*key).or_insert_with(|| bytes.clone()),
                    bytes,
                    "seed {seed}: {key:?} changed by {step:?}"
                );
            }
            known.retain(|key, _| now.contains_key(key));
            if turn % 10 == 9 {
                lockstep.store().sync().unwrap();
                let survivor = disk.crash(die);
                let again = reopen(&survivor, die % 2 == 0).unwrap();
                assert_eq!(images(&again), now, "seed {seed}: after a power loss");
            }
        }
    }
    assert!(compared > 1000, "{compared} images compared");
}

/// Between two checkpoint creations, overwriting a block k times passes exactly one before-image, to the newest checkpoint only.
#[test]
fn invariant_02_one_push_per_block_per_interval() {
    let small = Small::new();
    let volume = small.volume("v");
    let file = small.file(volume, "f");
    small.write(volume, file, 0, 8, 1);
    let older = small.checkpoint("older", &[volume]);
    let mut checkpoints = vec![older];
    for interval in 0..4_u64 {
        let newest = small.checkpoint(&format!("c{interval}"), &[volume]);
        checkpoints.push(newest);
        let mut pushed: BTreeMap<u64, Vec<CheckpointId>> = BTreeMap::new();
        for k in 0..5 {
            for block in [3, 5] {
                for event in small
                    .write(volume, file, block, 1, interval * 100 + k)
                    .events
                {
                    if let Event::CopiedOut {
                        checkpoint, ranges, ..
                    } = event
                    {
                        assert_eq!(
                            ranges
                                .iter()
                                .map(|r| (r.block, r.count))
                                .collect::<Vec<_>>(),
                            [(block, 1)]
                        );
                        pushed.entry(block).or_default().push(checkpoint);
                    }
                }
            }
        }
        assert_eq!(
            pushed,
            BTreeMap::from([(3, vec![newest]), (5, vec![newest])]),
            "interval {interval}"
        );
    }
    let owned: Vec<u64> = checkpoints
        .iter()
        .map(|c| small.image(volume, *c).ledger.owned())
        .collect();
    assert_eq!(owned, [0, 2, 2, 2, 2]);
}

/// A checkpoint owns at most the distinct blocks changed in its own interval, and what removed newer neighbours handed down.
#[test]
fn invariant_03_space_of_a_checkpoint() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 12, seed);
        let mut changed: BTreeMap<CheckpointId, BTreeSet<u64>> = BTreeMap::new();
        for turn in 0..60 {
            match random.below(8) {
                0 => {
                    let made = small.checkpoint(&format!("c{turn}"), &[volume]);
                    changed.insert(made, BTreeSet::new());
                }
                1 if changed.len() > 2 => {
                    let all: Vec<CheckpointId> = changed.keys().copied().collect();
                    let gone = all[random.below(all.len() as u64) as usize];
                    small.run(Command::CheckpointRemove { checkpoint: gone });
                    changed.remove(&gone);
                }
                _ => {
                    let block = random.below(12);
                    small.write(volume, file, block, 1, random.next_u64());
                    // Where the newest was removed, the interval of the one before reaches to now.
                    if let Some((_, blocks)) = changed.iter_mut().next_back() {
                        blocks.insert(block);
                    }
                }
            }
            small.store.settle().unwrap();
            for (checkpoint, blocks) in &changed {
                let ledger = small.image(volume, *checkpoint).ledger;
                assert!(
                    ledger.owned() <= blocks.len() as u64 + ledger.handed_in,
                    "seed {seed}, turn {turn}: {checkpoint} owns {}, {blocks:?} changed, {ledger:?}",
                    ledger.owned()
                );
            }
        }
    }
}

/// Removing a checkpoint changes no other image; it hands down what the older one maps too, and the rest is mapped by nobody any more.
#[test]
fn invariant_04_removal_hands_down() {
    for seed in 0..20 {
        let mut random = Random::new(seed + 400);
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 16, seed);
        let mut checkpoints = Vec::new();
        for turn in 0..8 {
            checkpoints.push(small.checkpoint(&format!("c{turn}"), &[volume]));
            for _ in 0..random.below(6) {
                small.write(
                    volume,
                    file,
                    random.below(16),
                    1 + random.below(3),
                    random.next_u64(),
                );
            }
        }
        while !checkpoints.is_empty() {
            let at = random.below(checkpoints.len() as u64) as usize;
            let gone = checkpoints.remove(at);
            let state = small.store.state();
            let found = state.volume(volume).unwrap();
            let mut newer = addresses(&found.live);
            newer.extend(
                found
                    .images
                    .range(CheckpointId(gone.0 + 1)..)
                    .flat_map(|(_, i)| addresses(&i.root)),
            );
            let owned: BTreeSet<u64> = addresses(&found.images[&gone].root)
                .difference(&newer)
                .copied()
                .collect();
            let older = found
                .images
                .range(..gone)
                .next_back()
                .map(|(c, i)| (*c, addresses(&i.root), i.ledger.owned()));
            let mut expected = images(&small.store);
            expected.remove(&(volume, gone));

            small.run(Command::CheckpointRemove { checkpoint: gone });
            small.store.settle().unwrap();
            assert_eq!(
                images(&small.store),
                expected,
                "seed {seed}: removing {gone} changed another image"
            );
            let state = small.store.state();
            let found = state.volume(volume).unwrap();
            let handed: BTreeSet<u64> = older
                .iter()
                .flat_map(|(_, a, _)| a.intersection(&owned).copied())
                .collect();
            if let Some((below, _, before)) = older {
                let ledger = found.images[&below].ledger;
                assert_eq!(
                    ledger.owned(),
                    before + handed.len() as u64,
                    "seed {seed}: {below} after {gone}: {ledger:?}"
                );
            }
            let mut mapped = addresses(&found.live);
            mapped.extend(found.images.values().flat_map(|i| addresses(&i.root)));
            let freed: BTreeSet<u64> = owned.difference(&mapped).copied().collect();
            assert_eq!(
                freed,
                owned.difference(&handed).copied().collect(),
                "seed {seed}: what {gone} freed"
            );
        }
    }
}

/// The classic rules are that nodata checkpoints come before all with data (5), and that a conversion which breaks this is refused or waits (6).
/// Ours: any checkpoint becomes nodata at once. Those with data read as before, own what they should, and keep alive what they need; what changed
/// between any two is told as before.
#[test]
fn invariant_05_nodata_in_any_order() {
    for seed in 0..20 {
        let mut random = Random::new(seed + 500);
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 16, seed);
        let mut kept = Vec::new();
        for turn in 0..8 {
            kept.push(small.checkpoint(&format!("c{turn}"), &[volume]));
            for _ in 0..random.below(6) {
                let (at, count) = (random.below(16), 1 + random.below(3));
                small.write(volume, file, at, count, random.next_u64());
            }
        }
        let all = kept.clone();
        let differences = || -> Vec<_> {
            let root = |id: &CheckpointId| small.image(volume, *id).root;
            let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (a, b)));
            pairs.map(|(a, b)| diff(&root(a), &root(b))).collect()
        };
        let told = differences();
        while !kept.is_empty() {
            let gone = kept.remove(random.below(kept.len() as u64) as usize);
            let before = images(&small.store);
            small.run(Command::CheckpointConvert { checkpoint: gone });
            small.store.settle().unwrap();
            let after = images(&small.store);
            let (state, mut needed) = (small.store.state(), BTreeSet::new());
            let found = state.volume(volume).unwrap();
            needed.extend(addresses(&found.live));
            for id in &kept {
                assert_eq!(after[&(volume, *id)], before[&(volume, *id)], "seed {seed}");
                needed.extend(addresses(&found.images[id].root));
            }
            assert_eq!(owner::living_brute(&state), needed, "seed {seed}");
            let (owned, marked) = (owner::owned_brute(found), owner::marked_brute(found));
            for (id, image) in &found.images {
                assert_eq!(image.nodata, !kept.contains(id));
                assert_eq!(image.ledger.owned(), owned[id], "seed {seed}: {id}");
                let marks = marked.get(id).copied().unwrap_or(0);
                assert_eq!(image.marks, marks, "seed {seed}: {id}");
            }
            assert_eq!(differences(), told, "seed {seed}: after {gone}");
        }
    }
}

/// The changed blocks between two checkpoints, nodata or not, are those whose version is another one: what differs is among them, nothing that
/// nobody touched is, they lie in the union over the checkpoints between, and tell what was added to the file and what is a hole now.
#[test]
fn invariant_09_changed_blocks() {
    let mut nodata_seen = 0;
    for seed in 0..12 {
        let mut random = Random::new(seed + 900);
        let small = Small::new();
        let volume = small.volume("v");
        let file = small.file(volume, "f");
        small.write(volume, file, 0, 10, seed);
        let mut checkpoints = vec![small.checkpoint("c0", &[volume])];
        // What each showed when it was taken: of a nodata one, nobody can read that afterwards.
        let mut shown = vec![shown(&small, volume, file)];
        let mut touched = Vec::new();
        for turn in 1..6 {
            let mut blocks = BTreeSet::new();
            for _ in 0..=random.below(4) {
                let block = random.below(20);
                let size = size(&small.live(volume), file) / BLOCK;
                match random.below(4) {
                    0 => {
                        small
                            .store
                            .punch(&small.actor, volume, file, block * BLOCK, 2 * BLOCK)
                            .unwrap();
                        blocks.extend(block..block + 2);
                    }
                    1 => {
                        let to = 5 + block;
                        small
                            .store
                            .truncate(&small.actor, volume, file, to * BLOCK)
                            .unwrap();
                        blocks.extend(to.min(size)..to.max(size));
                    }
                    _ => {
                        let count = 1 + random.below(2);
                        small.write(volume, file, block, count, random.next_u64());
                        blocks.extend(block..block + count);
                    }
                }
            }
            touched.push(blocks);
            shown.push(self::shown(&small, volume, file));
            checkpoints.push(checkpoint(&small, volume, turn, random.one_in(3)));
            // Or it becomes one later.
            if random.one_in(4) {
                let checkpoint = checkpoints[random.below(turn) as usize];
                drop(small.ask(Command::CheckpointConvert { checkpoint }));
            }
        }
        let state = small.store.state();
        let nodata = &state.volume(volume).unwrap().images;
        nodata_seen += nodata.values().filter(|image| image.nodata).count();
        for (i, a) in checkpoints.iter().enumerate() {
            for j in i..checkpoints.len() {
                let union: BTreeSet<u64> = (i..j)
                    .flat_map(|n| {
                        let (a, b) = (checkpoints[n], checkpoints[n + 1]);
                        let bytes = [&shown[n], &shown[n + 1]];
                        let mut step = changed(&small, volume, [a, b], bytes);
                        // A change of size says by itself that what lies between the two sizes changed.
                        let [a, b] = [a, b].map(|c| size(&small.image(volume, c).root, file));
                        step.extend(a.min(b) / BLOCK..a.max(b).div_ceil(BLOCK));
                        step
                    })
                    .collect();
                let whole = changed(&small, volume, [*a, checkpoints[j]], [&shown[i], &shown[j]]);
                let written: BTreeSet<u64> = touched[i..j].iter().flatten().copied().collect();
                assert!(
                    whole.is_subset(&written),
                    "seed {seed}: {whole:?} between {i} and {j}, touched were {written:?}"
                );
                assert!(
                    whole.is_subset(&union),
                    "seed {seed}: {whole:?} between {i} and {j}, step by step {union:?}"
                );
            }
        }
    }
    assert!(nodata_seen > 12, "{nodata_seen} nodata checkpoints");
}

fn size(tree: &strand_engine::Fileset, ino: Ino) -> u64 {
    tree.inode(ino).unwrap().size()
}

/// A checkpoint, nodata or not.
fn checkpoint(small: &Small, volume: VolumeId, turn: u64, nodata: bool) -> CheckpointId {
    let name = format!("c{turn}");
    small.run(Command::CheckpointCreate {
        name: Some(name.clone()),
        volumes: vec![volume],
        nomount: false,
        removable: false,
        nodata,
        note: String::new(),
    });
    small.store.state().checkpoint_named(&name).unwrap().id
}

/// The blocks of a file that no history here goes beyond, as they are now; shorter at its end.
fn shown(small: &Small, volume: VolumeId, ino: Ino) -> Vec<Vec<u8>> {
    let live = small.live(volume);
    let block = |block: u64| {
        let mut bytes = vec![0; BLOCK as usize];
        let got = small.store.read(&live, ino, block * BLOCK, &mut bytes);
        bytes.truncate(got.unwrap());
        bytes
    };
    (0..24).map(block).collect()
}

/// The blocks that a diff of two images names, held against the bytes that both showed and the versions that they map.
fn changed(
    small: &Small,
    volume: VolumeId,
    [a, b]: [CheckpointId; 2],
    bytes: [&Vec<Vec<u8>>; 2],
) -> BTreeSet<u64> {
    let (before, after) = (small.image(volume, a).root, small.image(volume, b).root);
    let ino = before.lookup(b"f").unwrap();
    let mut named: BTreeMap<u64, RangeKind> = BTreeMap::new();
    for range in diff(&before, &after).into_iter().flat_map(|f| f.ranges) {
        for block in range.offset / BLOCK..(range.offset + range.length).div_ceil(BLOCK) {
            named.insert(block, range.kind);
        }
    }
    for at in 0..24 {
        let (mut old, new) = (bytes[0][at as usize].clone(), &bytes[1][at as usize]);
        let extended = at * BLOCK >= size(&before, ino) && at * BLOCK < size(&after, ino);
        let hole = new.iter().all(|b| *b == 0) && old.iter().any(|b| *b != 0);
        // What the file was extended by reads as zeros until it is written; the sizes tell that much.
        old.resize(new.len(), 0);
        if old != *new {
            assert!(
                named.contains_key(&at),
                "block {at} differs between {a} and {b}, named are {named:?}"
            );
        }
        let place = Place { ino, block: at };
        let [was, is] = [&before, &after].map(|tree| tree.version(place).map(|v| v.addr()));
        let cut_off = at * BLOCK >= size(&after, ino);
        assert_eq!(
            named.contains_key(&at),
            was != is && !cut_off,
            "block {at} of {a} is the version {was:?}, of {b} {is:?}; named are {named:?}"
        );
        match named.get(&at) {
            Some(RangeKind::Extended) => assert!(extended, "block {at} is named extended"),
            Some(RangeKind::Hole) => assert!(hole, "block {at} is named a hole"),
            Some(RangeKind::Changed) => assert!(!extended && !hole, "block {at} is named changed"),
            None => {}
        }
    }
    named.into_keys().collect()
}

/// After a rollback of a file it reads as in the checkpoint, nothing stands beyond its size, every other checkpoint is as it was, no byte was
/// copied, and a second rollback does nothing.
#[test]
fn invariant_10_rollback_of_a_file() {
    for seed in 0..15 {
        let mut random = Random::new(seed + 1000);
        let small = Small::new();
        let volume = small.volume("v");
        let (file, other) = (small.file(volume, "f"), small.file(volume, "g"));
        let mut checkpoints = Vec::new();
        for turn in 0..6 {
            for ino in [file, other] {
                small.write(
                    volume,
                    ino,
                    random.below(10),
                    1 + random.below(4),
                    random.next_u64(),
                );
            }
            if random.one_in(3) {
                small
                    .store
                    .truncate(&small.actor, volume, file, random.below(9 * BLOCK))
                    .unwrap();
            }
            checkpoints.push(small.checkpoint(&format!("c{turn}"), &[volume]));
        }
        for _ in 0..8 {
            let to = checkpoints[random.below(checkpoints.len() as u64) as usize];
            let (before, others) = (
                images(&small.store),
                small.contents(&small.live(volume))[&other.0].clone(),
            );
            let command = || Command::RollbackFiles {
                volume,
                source: Source::Checkpoint(volume, to),
                paths: vec![b"f".as_slice().into()],
                attributes: false,
                delete_new: false,
            };
            let done = small.run(command());
            assert!(
                !done
                    .events
                    .iter()
                    .any(|e| matches!(e, Event::Written { .. })),
                "seed {seed}: bytes were copied"
            );
            let (live, image) = (small.live(volume), small.image(volume, to).root);
            assert_eq!(
                small.contents(&live)[&file.0],
                small.contents(&image)[&file.0],
                "seed {seed}: f is not the image's"
            );
            assert_eq!(
                small.contents(&live)[&other.0],
                others,
                "seed {seed}: another file changed"
            );
            let mut after = images(&small.store);
            after.retain(|key, _| before.contains_key(key));
            assert_eq!(after, before, "seed {seed}: another checkpoint changed");
            let again = small.run(command());
            assert_eq!(again.events, [], "seed {seed}: again is a no-op");
            if random.one_in(2) {
                small.write(volume, Ino(file.0), random.below(10), 2, random.next_u64());
            }
        }
    }
}
