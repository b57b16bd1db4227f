//! Files put in order.

use super::town::{BLOCK, BLOCKS, Town, me, version};
use std::time::{Duration, Instant};
use strand_engine::*;

/// In how many runs the file lies.
fn runs(town: &Town) -> usize {
    let state = town.store.state();
    let live = &state.volume(town.volume).unwrap().live;
    let map = &live.inode(town.file).unwrap().file().unwrap().map;
    let lies: Vec<u64> = map
        .iter()
        .map(|(_, version)| state.places.find(version.addr()).unwrap().0)
        .collect();
    1 + lies.windows(2).filter(|w| w[0] + 1 != w[1]).count()
}

fn defrag(town: &Town, file: Option<Ino>) -> Result<Defragged, Error> {
    let job = town.store.jobs().begin(JobKind::Defrag, "pg", 0);
    town.store.defrag(town.volume, file, None, job)
}

#[test]
fn a_scattered_file_is_put_in_order_and_its_images_stay() {
    let mut town = Town::new(None);
    town.write(200);
    town.checkpoint("kept");
    town.write(200);
    let before = runs(&town);
    let done = defrag(&town, Some(town.file)).unwrap();
    assert_eq!((done.files, done.moved, done.cancelled), (1, 1, false));
    // Records in segments of 64 KiB have at most 14 blocks.
    let after = runs(&town);
    assert!(after <= BLOCKS as usize / 14 + 1, "{before}, then {after}");
    town.check();
    let again = defrag(&town, None).unwrap();
    assert_eq!((again.moved, again.bytes), (0, 0));
    town.reclaim();
    town.check();
    let town = town.reopened();
    town.check();
    assert!(runs(&town) <= after + 2);
}

/// A second file, that lies scattered among the blocks of the first.
fn second(town: &mut Town) -> Ino {
    let dir = town.store.state().volume(town.volume).unwrap().live.root;
    let command = Command::Create {
        volume: town.volume,
        dir,
        name: b"second"[..].into(),
        body: NewBody::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    town.store.run(&me(), command).unwrap();
    let live = town.store.live(town.volume).unwrap();
    let file = live.lookup(b"second").unwrap();
    for block in 0..BLOCKS {
        town.put(block).unwrap();
        let offset = block * BLOCK as u64;
        let bytes = version(block + 1);
        let done = town.store.write(&me(), town.volume, file, offset, &bytes);
        town.store.commit(done.unwrap().ticket).unwrap();
    }
    file
}

/// Puts files in order, slowly; once the first blocks were moved the second file goes, and what nobody reaches is given back.
fn defrag_while_the_second_goes(town: &Town, file: Option<Ino>) -> Defragged {
    let job = town.store.jobs().begin(JobKind::Defrag, "pg", 0);
    let before = town.store.state().seq;
    std::thread::scope(|scope| {
        let work = || town.store.defrag(town.volume, file, Some(128 << 10), job);
        let work = scope.spawn(work);
        let begun = Instant::now();
        while town.store.state().seq == before {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing moves");
            std::thread::sleep(Duration::from_millis(1));
        }
        let unlink = Command::Unlink {
            volume: town.volume,
            dir: town.store.state().volume(town.volume).unwrap().live.root,
            name: b"second"[..].into(),
            dir_wanted: false,
        };
        town.store.run(&me(), unlink).unwrap();
        assert!(town.reclaim().segments > 0);
        assert!(!work.is_finished(), "it went too late");
        work.join().unwrap().unwrap()
    })
}

#[test]
fn a_file_that_goes_before_its_turn_is_passed_over() {
    let mut town = Town::new(None);
    town.write(50);
    town.checkpoint("kept");
    second(&mut town);
    town.write(100);
    let done = defrag_while_the_second_goes(&town, None);
    assert_eq!((done.moved, done.cancelled), (1, false));
    town.check();
    town.reopened().check();
}

#[test]
fn a_file_that_goes_while_it_is_put_in_order_is_no_error() {
    let mut town = Town::new(None);
    town.write(50);
    town.checkpoint("kept");
    let file = second(&mut town);
    town.write(100);
    let done = defrag_while_the_second_goes(&town, Some(file));
    assert!(!done.cancelled);
    let whole = BLOCKS * BLOCK as u64;
    assert!(done.bytes > 0 && done.bytes < whole, "{done:?}");
    assert_eq!(
        defrag(&town, Some(file)).unwrap_err().kind(),
        Kind::NotFound
    );
    town.check();
    town.reopened().check();
}

#[test]
fn what_cannot_be_put_in_order_is_refused() {
    let town = Town::new(None);
    let root = town.store.live(town.volume).unwrap().root;
    let kind = |file| defrag(&town, file).unwrap_err().kind();
    assert_eq!(kind(Some(root)), Kind::Invalid);
    assert_eq!(kind(Some(Ino(999))), Kind::NotFound);
    let job = town.store.jobs().begin(JobKind::Defrag, "nothing", 0);
    let missing = town.store.defrag(VolumeId(99), None, None, job);
    assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_full_store_has_no_room_for_order() {
    let mut town = Town::new(Some(40 << 16));
    let mut number = 0;
    while town.rewrite().is_ok() {
        number += 1;
        if town.try_checkpoint(&format!("c{number}"), false).is_err() {
            break;
        }
        assert!(number < 40, "it never fills");
    }
    let error = defrag(&town, None).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
    town.check();
    town.remove("c1");
    town.remove("c2");
    town.put(0).unwrap();
    town.check();
}
