//! A store with a capacity: who gives way, in which order, and who never does.

use super::town::{Town, me};
use std::sync::Arc;
use strand_engine::*;
use strand_journal::{FaultyDisk, MemoryDisk};

const CAPACITY: u64 = 48 << 16;

#[test]
fn a_small_store_takes_many_times_its_capacity() {
    let mut town = Town::new(Some(CAPACITY));
    town.checkpoint("first");
    for round in 0..12 {
        town.write(120);
        if round == 2 {
            town.checkpoint("kept");
        }
        let space = town.store.journal().space();
        assert!(space.segments * (64 << 10) + space.archive_bytes <= CAPACITY);
        town.check();
        if round % 5 == 4 {
            town = town.reopened();
        }
    }
    town.check();
}

/// The names of the checkpoints that were given up, and the numbers of those events, and of those that released history.
fn given_up(store: &Store) -> (Vec<(Seq, String)>, Vec<Seq>) {
    let (mut names, mut gone, mut released) =
        (std::collections::BTreeMap::new(), Vec::new(), Vec::new());
    let (_, start) = store.beginning().unwrap();
    for frame in store.journal().reader().frames(start) {
        let frame = frame.unwrap();
        for entry in frame.entries() {
            let entry = entry.unwrap();
            match fold::decode(&entry).unwrap().event {
                Event::CheckpointCreated {
                    checkpoint, name, ..
                } => {
                    names.insert(checkpoint, name);
                }
                Event::CheckpointGivenUp { checkpoint, cause } => {
                    assert_eq!(cause, GiveUp::Capacity);
                    gone.push((entry.number, names[&checkpoint].clone()));
                }
                Event::HistoryReleased { .. } => released.push(entry.number),
                _ => {}
            }
        }
    }
    (gone, released)
}

#[test]
fn history_gives_way_before_checkpoints_and_safety_images_before_others() {
    let mut town = Town::new(Some(CAPACITY));
    town.rewrite().unwrap();
    let mine = town.checkpoint("mine");
    town.try_checkpoint("old", true).unwrap();
    town.images.remove("old");
    town.rewrite().unwrap();
    let command = Command::Rollback {
        volume: town.volume,
        source: Source::Checkpoint(town.volume, mine),
        only: false,
    };
    town.store.run(&me(), command).unwrap();
    town.content = town.images["mine"].clone();
    for number in 0..12 {
        town.rewrite().unwrap();
        let name = format!("r{number}");
        while let Err(error) = town.try_checkpoint(&name, true) {
            // Nothing that can be viewed is given up for it; a write makes room.
            assert_eq!(error.kind(), Kind::NoSpace);
            town.put(0).unwrap();
        }
        town.images.remove(&name);
        town.check();
    }
    let (gone, released) = given_up(&town.store);
    assert!(released[0] < gone[0].0, "history goes first");
    let names: Vec<&str> = gone.iter().map(|(_, name)| name.as_str()).collect();
    assert!(names[0].starts_with("auto-before-"), "{names:?}");
    assert_eq!(names[1..3], ["old", "r0"], "{names:?}");
    assert!(!names.contains(&"mine"));
    town.reopened().check();
}

#[test]
fn damage_within_the_history_does_not_stop_writes_to_a_full_store() {
    let disk = FaultyDisk::new(1);
    let mut town = Town::on(Arc::new(disk.clone()), Some(CAPACITY)).unwrap();
    let command = Command::RetentionSet {
        volume: town.volume,
        retention: Retention {
            age: None,
            bytes: Some(1 << 30),
        },
    };
    town.store.run(&me(), command).unwrap();
    while given_up(&town.store).1.is_empty() {
        town.rewrite().unwrap();
    }
    let mut town = town.reopened();
    // The window begins where no state is known: it is folded.
    let begins = town.store.state().oldest_window().unwrap();
    let (_, start) = town.store.beginning().unwrap();
    let mut frames = town.store.journal().reader().frames(start);
    let frame = frames.find(|f| f.as_ref().unwrap().next_number() > begins);
    let frame = frame.unwrap().unwrap();
    let path = format!("journal/{:020}.seg", frame.segment);
    assert!(disk.flip(&path, u64::from(frame.block) * 4096 + 8, 1));
    let damaged = town.store.state_at(begins).unwrap_err();
    assert_eq!(damaged.kind(), Kind::Damaged);
    for _ in 0..4 {
        town.rewrite().unwrap();
        town.check();
    }
}

#[test]
fn where_nothing_may_give_way_a_write_is_refused_and_a_removal_helps() {
    let mut town = Town::new(Some(CAPACITY));
    let mut number = 0;
    let refused = loop {
        if let Err(error) = town.rewrite() {
            break error;
        }
        number += 1;
        if let Err(error) = town.try_checkpoint(&format!("c{number}"), false) {
            break error;
        }
        assert!(number < 40, "it never fills");
    };
    assert_eq!(refused.kind(), Kind::NoSpace);
    assert!(number > 5, "{number} images fit");
    town.check();
    // A checkpoint, which is refused, has nothing given up for it.
    let before = town.store.state().checkpoints.len();
    let full = town.try_checkpoint("more", false);
    assert!(full.is_ok() || town.store.state().checkpoints.len() == before);
    // Nobody waited for the writes before the one that was refused.
    town.store.sync().unwrap();
    let mut town = town.reopened();
    town.check();
    town.remove("c1");
    town.remove("c2");
    town.rewrite().unwrap();
    town.check();
    town.reopened().check();
}

#[test]
fn for_a_promise_of_room_that_cannot_be_kept_nothing_is_given_up() {
    let mut town = Town::new(Some(CAPACITY));
    town.rewrite().unwrap();
    town.try_checkpoint("passing", true).unwrap();
    town.rewrite().unwrap();
    for length in [1 << 20, 1 << 40, MAX_FILE_SIZE] {
        let command = Command::Preallocate {
            volume: town.volume,
            ino: town.file,
            offset: 0,
            length,
            keep_size: true,
        };
        if let Err(error) = town.store.run(&me(), command) {
            assert_eq!(error.kind(), Kind::NoSpace);
        }
    }
    assert_eq!(given_up(&town.store).0, Vec::new());
    town.check();
}

#[test]
fn on_a_disk_that_is_full_itself_nothing_is_given_up_in_vain() {
    let disk = FaultyDisk::new(5);
    let mut town = Town::on(Arc::new(disk.clone()), None).unwrap();
    town.rewrite().unwrap();
    town.try_checkpoint("passing", true).unwrap();
    for _ in 0..4 {
        town.rewrite().unwrap();
    }
    let paths = disk.paths();
    let used = paths.iter().filter_map(|path| disk.file_bytes(path));
    let used: usize = used.map(|bytes| bytes.len()).sum();
    disk.limit_space(Some(used as u64));
    let full = loop {
        if let Err(error) = town.rewrite() {
            break error;
        }
    };
    assert_eq!(full.kind(), Kind::NoSpace);
    assert_eq!(given_up(&town.store).0, Vec::new());
    disk.limit_space(None);
    town.check();
    town.write(10);
    town.reopened().check();
}

/// Writes whole passes over a file of so many bytes, each kept by a checkpoint that does not give way, until the store is full; gives how many.
fn filled(town: &Town, bytes: u64) -> u64 {
    let chunk = vec![7; 256 << 10];
    let write = |offset: u64, data: &[u8]| {
        let done = town
            .store
            .write(&me(), town.volume, town.file, offset, data)?;
        town.store.commit(done.ticket)
    };
    let checkpoint = |number: u64| Command::CheckpointCreate {
        name: Some(format!("c{number}")),
        volumes: vec![town.volume],
        nomount: false,
        removable: false,
        nodata: false,
        note: String::new(),
    };
    for number in 0.. {
        for offset in (0..bytes).step_by(chunk.len()) {
            if write(offset, &chunk).is_err() {
                // To the last block.
                while write(0, &chunk[..4096]).is_ok() {}
                return number;
            }
        }
        if town.store.run(&me(), checkpoint(number)).is_err() {
            return number;
        }
    }
    unreachable!("it never fills")
}

#[test]
fn a_full_store_of_few_segments_can_be_emptied_whatever_its_other_files_take() {
    const SEGMENT: u64 = 4 << 20;
    for segments in [8, 12, 20, 31] {
        let disk = Arc::new(MemoryDisk::new());
        let town = Town::of_segments(disk, SEGMENT, Some(segments * SEGMENT)).unwrap();
        let images = filled(&town, segments * SEGMENT / 8);
        assert!(images >= 3, "{images} images fit into {segments} segments");
        // State files come in between: nobody asks whether there is room for them.
        town.store.write_state_file().unwrap();
        town.store.write_state_file().unwrap();
        let mut town = town.reopened();
        for image in ["c0", "c1"] {
            let id = town.store.state().checkpoint_named(image).unwrap().id;
            let command = Command::CheckpointRemove { checkpoint: id };
            let removed = town.store.run(&me(), command);
            removed.unwrap_or_else(|e| panic!("{segments} segments, {image}: {e}"));
            town = town.reopened();
            let given_back = town.reclaim();
            assert!(
                given_back.segments > 0,
                "{segments} segments, {image}: {given_back:?}"
            );
        }
        let space = town.store.journal().space();
        let states = statefile::sizes(&*town.disk).iter().sum::<u64>();
        let used = space.segments * SEGMENT + space.archive_bytes + states;
        assert!(used <= segments * SEGMENT, "{used} of {segments} segments");
        town.put(0).unwrap();
    }
}
