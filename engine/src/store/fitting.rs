//! Long writes are cut where a segment ends, so that small segments are filled: a record never spans two, and one of 1 MiB leaves
//! a large part of a segment of 1 to 4 MiB empty where it does not fit.

use crate::command::{Command, WriteRun};
use strand_journal::{Journal, record_blocks_in};

/// The same command, its data runs cut so that the first fill what is left of the journal's present segment.
pub(super) fn fitted(mut command: Command, journal: &Journal) -> Command {
    if let Command::Write { runs, .. } = &mut command
        && runs.iter().any(|run| run.data && run.count > 1)
    {
        let (rest, whole) = (journal.rest_of_segment(), journal.blocks_per_segment());
        if blocks_of(runs) > u64::from(rest) && rest > 0 {
            *runs = cut(runs, rest, whole);
        }
    }
    command
}

/// Blocks that runs take, their headers included, if they lie in one frame; at least.
fn blocks_of(runs: &[WriteRun]) -> u64 {
    let data = runs.iter().filter(|run| run.data);
    with_header(data.fold(0, |sum, run| sum.saturating_add(run.count)))
}

/// A frame's blocks with so many payload blocks: one header block holds the sums of about 128 of them.
fn with_header(payload: u64) -> u64 {
    payload.saturating_add(1 + payload / 128)
}

/// The runs, cut where `rest` blocks, and after them `whole` ones, are full.
fn cut(runs: &[WriteRun], rest: u32, whole: u32) -> Vec<WriteRun> {
    let mut left = rest;
    let mut cut = Vec::with_capacity(runs.len() + 1);
    for run in runs {
        let mut run = *run;
        while run.data {
            let fits = u64::from(record_blocks_in(left));
            if run.count <= fits {
                left -= u32::try_from(with_header(run.count)).map_or(left, |taken| taken.min(left));
                break;
            }
            let most = u64::from(record_blocks_in(whole));
            if left < whole && fits > 0 {
                cut.push(WriteRun { count: fits, ..run });
                run.block += fits;
                run.count -= fits;
            } else if run.count > most {
                // No segment takes it: the journal refuses, and says so.
                break;
            }
            left = whole;
        }
        cut.push(run);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::event::{Actor, Event};
    use crate::ids::{Ino, VolumeId};
    use crate::{InitOptions, NewBody, Store};
    use std::sync::Arc;
    use strand_journal::{BLOCK_SIZE, Block, MemoryDisk, StoreId};

    fn data(block: u64, count: u64) -> WriteRun {
        WriteRun {
            block,
            count,
            data: true,
        }
    }

    #[test]
    fn a_run_is_cut_where_the_segment_ends() {
        assert_eq!(
            cut(&[data(7, 200)], 100, 256),
            [data(7, 99), data(106, 101)]
        );
        assert_eq!(
            cut(&[data(0, 254), data(254, 2)], 100, 256),
            [data(0, 99), data(99, 155), data(254, 2)]
        );
        let hole = WriteRun {
            data: false,
            ..data(50, 1000)
        };
        assert_eq!(
            cut(&[data(0, 50), hole, data(1050, 60)], 100, 256),
            [data(0, 50), hole, data(1050, 48), data(1098, 12)]
        );
    }

    #[test]
    fn what_fits_is_left_alone_and_what_never_fits_too() {
        assert_eq!(cut(&[data(0, 98)], 100, 256), [data(0, 98)]);
        assert_eq!(cut(&[data(0, 254)], 256, 256), [data(0, 254)]);
        assert_eq!(cut(&[data(0, 255)], 256, 256), [data(0, 255)]);
    }

    /// A store with one file in segments of this size.
    fn store(segment_size: u64) -> (Store, VolumeId, Ino) {
        let options = InitOptions {
            segment_size,
            capacity: None,
            store: StoreId([5; 16]),
        };
        let disk = Arc::new(MemoryDisk::new());
        let clock = Arc::new(SystemClock::new());
        let store = Store::init(disk, clock, options, &Actor::program()).unwrap();
        let create = Command::VolumeCreate {
            name: "v".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let done = store.run(&Actor::program(), create).unwrap();
        let Some((volume, dir)) = done.events.iter().find_map(|event| match event {
            Event::VolumeCreated { volume, root, .. } => Some((*volume, *root)),
            _ => None,
        }) else {
            panic!("no volume was made");
        };
        let create = Command::Create {
            volume,
            dir,
            name: b"f".as_slice().into(),
            body: NewBody::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        let done = store.run(&Actor::program(), create).unwrap();
        let Some(ino) = done.events.iter().find_map(|event| match event {
            Event::Created { ino, .. } => Some(*ino),
            _ => None,
        }) else {
            panic!("no file was made");
        };
        (store, volume, ino)
    }

    #[test]
    fn a_file_of_16_mib_fills_small_segments() {
        let mib = 1 << 20;
        for (segment_size, most) in [(mib, 18), (2 * mib, 10), (4 * mib, 5)] {
            let (store, volume, ino) = store(segment_size);
            let content: Vec<u8> = (0..16 * mib)
                .map(|i| (i / 4096 + i % 251) as u8 | 1)
                .collect();
            for (i, piece) in content.chunks(1 << 20).enumerate() {
                let done = store
                    .write(&Actor::program(), volume, ino, i as u64 * mib, piece)
                    .unwrap();
                store.commit(done.ticket).unwrap();
            }
            let segments = store.journal().space().segments;
            assert!(segments <= most, "{segment_size}: {segments} segments");
            let tree = store.state().volume(volume).unwrap().live.clone();
            let mut found = vec![0; content.len()];
            assert_eq!(store.read(&tree, ino, 0, &mut found).unwrap(), found.len());
            assert!(found == content);
        }
    }

    #[test]
    fn commands_of_two_runs_fill_small_segments_too() {
        let (store, volume, ino) = store(1 << 20);
        let payload = vec![Block::from_slice(&[7; BLOCK_SIZE]); 256];
        for i in 0..16 {
            let command = Command::Write {
                volume,
                ino,
                runs: vec![data(256 * i, 254), data(256 * i + 254, 2)],
                size: (i + 1) << 20,
            };
            store
                .submit_with(&Actor::program(), command, &payload)
                .unwrap();
            store.sync().unwrap();
        }
        let segments = store.journal().space().segments;
        assert!(segments <= 20, "{segments} segments");
    }
}
