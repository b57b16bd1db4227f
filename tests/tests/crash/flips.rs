//! Flipped bits.

use std::sync::Arc;
use strand_engine::{Access, Kind, ManualClock, OpenOptions, Store};
use strand_journal::disk::Disk;
use strand_tests::history::Step;
use strand_tests::lockstep::{BEGIN, Pairs, fresh_digest, open_options};
use strand_tests::reference::{BLOCK, Kind as NodeKind};
use strand_tests::scenario::{Scenario, Versions, boundaries, read_versions};

/// A store with something of everything: data over data, an image, a state file, a tail behind it.
fn small_store() -> Scenario {
    let kind = NodeKind::File {
        size: 0,
        blocks: std::collections::BTreeMap::new(),
    };
    let write = |block: u64, blocks: u64, seed| Step::Write {
        volume: 1,
        ino: 2,
        offset: block * BLOCK,
        length: blocks * BLOCK,
        seed: Some(seed),
    };
    let checkpoint = Step::CheckpointCreate {
        name: "red".into(),
        volumes: vec![1],
        nomount: false,
        removable: false,
        nodata: false,
    };
    let steps = vec![
        Step::VolumeCreate("first".into()),
        Step::Create {
            volume: 1,
            dir: 1,
            name: b"f".to_vec(),
            kind,
            mode: 0o644,
        },
        write(0, 4, 1),
        checkpoint,
        write(1, 2, 2),
        Step::SetXattr {
            volume: 1,
            ino: 2,
            name: b"user.a".to_vec(),
            value: b"something".to_vec(),
            create: None,
        },
        Step::StateFile,
        write(3, 1, 3),
        Step::Sync,
    ];
    Scenario::of(steps, Pairs::default(), None)
}

/// One flipped byte anywhere: found, or without effect. Never a panic, never other bytes.
#[test]
fn every_byte_of_a_small_store_flipped_once() {
    let disk = small_store().closed_disk();
    let clock = || Arc::new(ManualClock::new(BEGIN));
    let read_only = || {
        let options = OpenOptions {
            access: Access::ReadOnly,
            ..open_options(0, false)
        };
        Store::open(Arc::new(disk.clone()) as Arc<dyn Disk>, clock(), options)
    };
    let whole = read_only().expect("a healthy store");
    let promised = boundaries(&whole).expect("a healthy journal");
    let last = whole.state().seq;
    let mut written = Versions::new();
    read_versions(&whole, &mut written).expect("a healthy store");
    assert!(written.len() > 5, "{} blocks", written.len());
    drop(whole);
    let (mut unnoticed, mut found) = (0_u64, 0_u64);
    for path in disk.paths() {
        let bytes = disk.file_bytes(&path).expect("a file that was listed");
        for offset in 0..bytes.len() as u64 {
            let mask = 1 << (offset % 8);
            assert!(disk.flip(&path, offset, mask));
            let place = format!("{path}, byte {offset}");
            match read_only() {
                Err(error) => {
                    found += 1;
                    assert!(
                        matches!(
                            error.kind(),
                            Kind::NotAStore | Kind::Damaged | Kind::NewerFormat
                        ),
                        "{place}: {} ({error})",
                        error.kind().name()
                    );
                }
                Ok(store) => {
                    let state = store.state();
                    let opening = store.opening();
                    let recovery = opening.recovery.as_ref().expect("a store that was opened");
                    let reported = recovery.damage.is_some()
                        || recovery.torn.is_some()
                        || opening.damage.is_some();
                    assert!(
                        state.seq == last || reported,
                        "{place}: {} of {last} events, and nothing said",
                        state.seq
                    );
                    if state.seq > 0 {
                        let digest = promised.get(&state.boundary).copied();
                        assert_eq!(
                            digest,
                            Some(fresh_digest(&state)).filter(|_| state.seq == state.boundary),
                            "{place}"
                        );
                    }
                    // A read gives the right bytes or an error; the crc32 in the map decides, and the map was just compared.
                    match (
                        read_versions(&store, &mut written.clone()),
                        reported || !opening.bad_state_files.is_empty(),
                    ) {
                        (Err(_), _) | (Ok(_), true) => found += 1,
                        (Ok(_), false) => unnoticed += 1,
                    }
                }
            }
            assert!(disk.flip(&path, offset, mask));
        }
    }
    assert!(
        found > 10_000,
        "{found} flips found, {unnoticed} without effect"
    );
}
