//! State files: what goes in comes out, sharing included; nothing wrong comes out.

use super::history::History;
use super::*;
use crate::ids::VolumeId;
use strand_journal::{Disk, MemoryDisk};

const STORE: StoreId = StoreId([7; 16]);
const DATA: VolumeId = VolumeId(1);

fn start_after(state: &State) -> Start {
    Start {
        number: state.seq + 1,
        segment: 3,
        block: 9,
        time: state.time,
        epoch: 2,
        ..Start::origin(STORE)
    }
}

fn written(state: &State) -> (MemoryDisk, String) {
    let disk = MemoryDisk::new();
    let made = write(&disk, state, &start_after(state), STORE).expect("memory does not fail");
    assert_eq!(made.bytes, size(&disk, state.seq));
    (disk, made.name)
}

fn bytes_of(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    disk.read_small(&format!("{STATE_DIR}/{name}"), u64::MAX)
        .expect("the file is there")
}

fn with_bytes(name: &str, bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir(STATE_DIR).expect("memory does not fail");
    disk.write_small(&format!("{STATE_DIR}/{name}"), bytes)
        .expect("memory does not fail");
    disk
}

/// A small state in which everything occurs that a file can hold.
fn busy(seed: u64, steps: usize) -> History {
    let mut history = History::new(seed);
    for _ in 0..steps {
        history.step();
    }
    history
}

#[test]
fn random_states_come_back_whole_and_share_as_before() {
    for seed in 0..60 {
        let history = busy(seed, 400);
        let (disk, name) = written(&history.state);
        let (state, start) =
            load(&disk, &name, STORE).unwrap_or_else(|damage| panic!("seed {seed}: {damage}"));
        assert_eq!(
            format!("{state:?}"),
            format!("{:?}", history.state),
            "seed {seed}"
        );
        assert_eq!(start, start_after(&history.state));
        // Numbers are given by identity: the same bytes mean the same sharing.
        let (again, name) = written(&state);
        assert!(
            bytes_of(&again, &name) == bytes_of(&disk, &name),
            "seed {seed}: sharing was lost"
        );
    }
}

#[test]
fn histories_reach_everything_a_state_can_hold() {
    let mut seen = [false; 10];
    for seed in 0..60 {
        let state = busy(seed, 400).state;
        let volumes = || state.volumes.values().chain(state.removed_volumes.values());
        seen[0] |= volumes().any(|v| v.origin.is_some());
        seen[1] |= volumes().any(|v| !v.pending.is_empty());
        seen[2] |= volumes().any(|v| !v.spread.is_empty());
        seen[3] |= volumes().any(|v| !v.removed_images.is_empty());
        seen[4] |= volumes().any(|v| !v.live.orphans.is_empty());
        seen[5] |= !state.removed_volumes.is_empty();
        seen[6] |= state.changes.iter().any(|c| c.undone.is_some());
        seen[7] |= volumes().any(|v| v.live.inodes.iter().any(|(_, i)| i.xattrs.is_some()));
        seen[9] |= volumes().any(|v| v.quota.on);
        seen[8] |= volumes().any(|v| v.images.values().any(|i| i.nodata && i.marks > 0));
    }
    assert_eq!(seen, [true; 10]);
}

#[test]
fn checkpoints_cost_a_file_only_what_changed_between_them() {
    let mut history = History::new(1);
    let root = history.state.volumes[&DATA].live.root;
    let ino = history.file(DATA, root, "big");
    for first in (0..20_000).step_by(200) {
        assert!(history.write(DATA, ino, first, 200));
    }
    for n in 0..2_000 {
        history.file(DATA, root, &format!("small-{n}"));
    }
    let (disk, name) = written(&history.state);
    let alone = bytes_of(&disk, &name).len();
    for n in 0..100 {
        history.checkpoint(&format!("c{n}"), &[DATA]);
        assert!(history.write(DATA, ino, n * 150, 1));
        history.file(DATA, root, &format!("late-{n}"));
    }
    let (disk, name) = written(&history.state);
    let with_checkpoints = bytes_of(&disk, &name).len();
    assert!(
        with_checkpoints < alone + 100 * 1_500,
        "{alone} bytes became {with_checkpoints}"
    );

    let (state, _) = load(&disk, &name, STORE).expect("the file is whole");
    let volume = &state.volumes[&DATA];
    let mut images = volume.images.values();
    let (first, second) = (
        images.next().expect("there are 100"),
        images.next().expect("there are 100"),
    );
    assert_eq!(
        first.root.inodes.diff(&second.root.inodes).count(),
        3,
        "the file, the new file, the directory"
    );
    let map = |tree: &crate::state::Fileset| {
        tree.inode(ino)
            .and_then(|i| i.file())
            .expect("it is a file")
            .map
            .clone()
    };
    assert_eq!(map(&first.root).diff(&map(&second.root)).count(), 1);
    let names = |tree: &crate::state::Fileset| {
        tree.inode(root)
            .and_then(|i| i.names())
            .expect("it is a directory")
            .clone()
    };
    assert_eq!(names(&first.root).diff(&names(&second.root)).count(), 1);
}

#[test]
fn an_image_taken_just_now_is_the_live_tree() {
    let mut history = busy(3, 200);
    let live = history.state.volumes[&DATA].live.clone();
    for orphan in &live.orphans {
        assert!(history.fold(crate::event::Event::OrphanDropped {
            volume: DATA,
            ino: *orphan
        }));
    }
    let id = history.checkpoint("now", &[DATA]);
    let (disk, name) = written(&history.state);
    let (state, _) = load(&disk, &name, STORE).expect("the file is whole");
    let volume = &state.volumes[&DATA];
    assert!(volume.live.inodes.ptr_eq(&volume.images[&id].root.inodes));
}

#[test]
fn long_lists_take_several_records() {
    let mut history = History::new(5);
    let root = history.state.volumes[&DATA].live.root;
    let long = "n".repeat(240);
    for n in 0..2_000 {
        history.file(DATA, root, &format!("{long}{n}"));
    }
    let ino = history.file(DATA, root, "attributes");
    for n in 0..40 {
        let (name, value) = (
            super::history::bytes(&format!("user.{n}")),
            vec![n as u8; 60 * 1024].into(),
        );
        assert!(history.fold(crate::event::Event::XattrSet {
            volume: DATA,
            ino,
            name,
            value
        }));
    }
    history.checkpoint("before", &[DATA]);
    for n in 0..500 {
        let ino = history.state.volumes[&DATA]
            .live
            .child(root, format!("{long}{n}").as_bytes())
            .expect("it was made");
        let name = super::history::bytes(&format!("{long}{n}"));
        assert!(history.fold(crate::event::Event::Unlinked {
            volume: DATA,
            dir: root,
            name,
            ino,
            keep: n % 2 == 0
        }));
    }
    let (disk, name) = written(&history.state);
    let (state, _) = load(&disk, &name, STORE).expect("the file is whole");
    assert_eq!(format!("{state:?}"), format!("{:?}", history.state));
}

#[test]
fn a_flip_in_any_byte_is_found() {
    let history = busy(11, 150);
    let (disk, name) = written(&history.state);
    let good = bytes_of(&disk, &name);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let damage = load(&with_bytes(&name, &bad), &name, STORE).expect_err("a flip went unseen");
        assert_eq!(
            damage.place.as_deref(),
            Some(format!("state/{name}").as_str())
        );
        assert!(
            damage
                .offset
                .is_some_and(|offset| offset <= good.len() as u64),
            "byte {at}: {damage}"
        );
    }
}

#[test]
fn a_cut_at_any_byte_is_found() {
    let history = busy(12, 60);
    let (disk, name) = written(&history.state);
    let good = bytes_of(&disk, &name);
    for length in 0..good.len() {
        assert!(
            load(&with_bytes(&name, &good[..length]), &name, STORE).is_err(),
            "cut to {length}"
        );
    }
    let longer = [&good[..], &[0]].concat();
    assert!(load(&with_bytes(&name, &longer), &name, STORE).is_err());
}

#[test]
fn a_file_is_bound_to_its_store_and_its_position() {
    let history = busy(13, 60);
    let (disk, name) = written(&history.state);
    let other = load(&disk, &name, StoreId([8; 16])).expect_err("it is another store's");
    assert!(other.what.contains("belongs to the store 0707"), "{other}");
    let renamed = format!("{:020}.state", history.state.seq + 1);
    disk.rename(&format!("state/{name}"), &format!("state/{renamed}"))
        .expect("memory does not fail");
    assert!(load(&disk, &renamed, STORE).is_err());
    let mut ahead = start_after(&history.state);
    ahead.number += 1;
    assert!(write(&disk, &history.state, &ahead, STORE).is_err());
    assert!(load(&disk, "no such file", STORE).is_err());
}

#[test]
fn a_hostile_payload_with_good_checksums_never_panics() {
    let history = busy(14, 150);
    let (disk, name) = written(&history.state);
    let good = bytes_of(&disk, &name);
    let payload = &good[chunk::HEADER_BYTES + 8..good.len() - chunk::TRAILER_BYTES];
    let mut random = History::new(99);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bad = payload.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bad.len() as u64) as usize;
            match random.below(4) {
                0 => bad[at] = random.below(256) as u8,
                1 => bad[at] = 0xff,
                2 => drop(bad.drain(at..(at + random.below(9) as usize).min(bad.len()))),
                _ => bad.insert(at, bad[random.below(bad.len() as u64) as usize]),
            }
        }
        let mut decoder = Decoder::new();
        if decoder.chunk(&bad).is_ok()
            && let Ok((state, _)) = decoder.finish()
        {
            // What passes is a state like any other: it can be walked and written.
            accepted += 1;
            assert!(!format!("{state:?}").is_empty());
            written(&State {
                seq: state.seq.min(u64::MAX - 1),
                ..state
            });
        }
    }
    assert!(
        accepted > 0,
        "a changed time or crc is still a state; if none passes, the test tests nothing"
    );
}

#[test]
fn list_names_files_oldest_first_and_prune_keeps_the_newest() {
    let disk = MemoryDisk::new();
    assert!(list(&disk).expect("a store may have none").is_empty());
    let mut history = History::new(1);
    let mut made = Vec::new();
    for n in 0..4 {
        history.checkpoint(&format!("c{n}"), &[DATA]);
        let written = write(&disk, &history.state, &start_after(&history.state), STORE)
            .expect("memory does not fail");
        made.push((history.state.seq, written.name));
    }
    for stray in ["00000000000000000009.tmp", "1.state", "notes"] {
        disk.write_small(&format!("state/{stray}"), b"x")
            .expect("memory does not fail");
    }
    assert_eq!(list(&disk).expect("memory does not fail"), made);
    prune(&disk, 2, &[]).expect("memory does not fail");
    assert_eq!(list(&disk).expect("memory does not fail"), made[2..]);
    let left = disk.list(STATE_DIR).expect("memory does not fail");
    assert!(
        left.contains(&"notes".to_owned()) && !left.iter().any(|name| name.ends_with(".tmp")),
        "{left:?}"
    );
}
