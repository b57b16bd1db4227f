//! Goldens of the events: the bytes of every kind, the most that each can take, the names of kinds, and the journal of a scripted history.
//! Whoever changes one of these changes the format: `docs/format.md` first.
#![allow(clippy::unwrap_used)] // all of it is test code

mod golden;

use golden::{greatest, history, samples};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use strand_engine::fold::{Decoded, decode};
use strand_engine::{ActorId, Bytes, Event, Kind, MAX_PATHS};
use strand_journal::{BlockAddr, Crcs, Entry, MAX_RECORD_BYTES};

/// Holds `text` against a golden of that name.
fn golden(name: &str, text: &str) {
    insta::with_settings!({snapshot_path => "../../snapshots/events", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

/// A record's bytes, as `docs/format.md` has them.
fn record(actor: u32, last: bool, event: &Event) -> Vec<u8> {
    let mut bytes = postcard::to_allocvec(&(u64::from(actor) * 2 + u64::from(last))).unwrap();
    bytes.extend(postcard::to_allocvec(event).unwrap());
    bytes
}

fn read(bytes: &[u8]) -> Result<Decoded, strand_engine::Damage> {
    let (number, time, first) = (1, 1, BlockAddr(1));
    decode(&Entry {
        number,
        time,
        bytes,
        first,
        crcs: Crcs::from_le_bytes(&[]),
    })
}

/// The number of an event's kind: the first varint of its bytes, below 128 for all there are.
fn number(event: &Event) -> usize {
    usize::from(postcard::to_allocvec(event).unwrap()[0])
}

/// The rows of the table of kinds in `docs/format.md`: number, kind, most bytes.
fn documented() -> Vec<(usize, String, usize)> {
    let page = include_str!("../../docs/format.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split(" | ").collect();
        let kind = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((
            cells[0].parse().ok()?,
            kind.to_owned(),
            cells.get(3)?.replace(',', "").parse().ok()?,
        ))
    });
    rows.collect()
}

#[test]
fn every_kind_has_its_sample() {
    // Zeros are a valid event of every kind: empty texts, no options, the first choice. So the first number that does not decode is
    // the number of kinds.
    let decodes =
        |kind: u8| postcard::take_from_bytes::<Event>(&[&[kind][..], &[0; 64]].concat()).is_ok();
    let kinds = (0..=127).position(|kind| !decodes(kind)).unwrap();
    let sampled: BTreeSet<usize> = samples().iter().map(number).collect();
    assert_eq!(sampled, (0..kinds).collect());
    let maximal: Vec<usize> = greatest().iter().map(number).collect();
    assert_eq!(maximal, (0..kinds).collect::<Vec<_>>());
}

#[test]
fn the_bytes_of_every_kind() {
    let samples = samples();
    let kinds: BTreeSet<usize> = samples.iter().map(number).collect();
    for kind in kinds {
        let mut text = String::new();
        let of_kind: Vec<&Event> = samples.iter().filter(|e| number(e) == kind).collect();
        for (i, event) in of_kind.iter().enumerate() {
            let (actor, last) = (i as u32 * 100 + 1, i % 2 == 0);
            let bytes = record(actor, last, event);
            let decoded = read(&bytes).unwrap();
            assert_eq!(
                decoded,
                Decoded {
                    actor: ActorId(actor),
                    last,
                    event: (*event).clone()
                }
            );
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            writeln!(text, "actor {actor}, last {last}: {event:?}\n  {hex}").unwrap();
        }
        golden(&format!("{kind:02}-{}", of_kind[0].kind()), &text);
    }
}

#[test]
fn no_kind_outgrows_its_record_and_the_format_page_says_how_large_it_gets() {
    let found: Vec<(usize, String, usize)> = greatest()
        .iter()
        .map(|e| {
            (
                number(e),
                e.kind().to_owned(),
                record(u32::MAX, true, e).len(),
            )
        })
        .collect();
    for (_, kind, bytes) in &found {
        assert!(*bytes <= MAX_RECORD_BYTES, "{kind} takes {bytes}");
    }
    assert_eq!(found, documented());
}

#[test]
fn a_record_that_is_cut_or_goes_on_is_damage() {
    for event in samples() {
        let bytes = record(1, true, &event);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{event:?} cut at {cut}");
        }
        assert!(
            read(&[&bytes[..], &[0]].concat()).is_err(),
            "{event:?} with a byte more"
        );
    }
}

#[test]
fn counts_that_no_record_holds_are_refused_without_taking_the_memory() {
    // A checkpoint of 2^32 volumes, a rollback of 2^60 files: the count is there, the elements are not.
    for kind in 0..43 {
        for filler in [0xff, 0x80, 0xf0, 0x7f] {
            let bytes = [&[3, kind][..], &[filler; 64], &[1; 16]].concat();
            if let Ok(decoded) = read(&bytes) {
                assert_eq!(number(&decoded.event), usize::from(kind));
            }
        }
    }
}

#[test]
fn the_names_of_kinds() {
    let mut text = String::new();
    let mut names = BTreeSet::new();
    for event in greatest() {
        assert!(
            names.insert(event.kind()),
            "{} is there twice",
            event.kind()
        );
        writeln!(text, "{:2} {}", number(&event), event.kind()).unwrap();
    }
    golden("kinds", &text);
}

#[test]
fn the_names_of_refusals() {
    let mut text = String::new();
    let mut names = BTreeSet::new();
    for kind in Kind::ALL {
        assert!(names.insert(kind.name()), "{} is there twice", kind.name());
        writeln!(
            text,
            "{} errno {} exit {}",
            kind.name(),
            kind.errno(),
            kind.exit_code()
        )
        .unwrap();
    }
    golden("refusals", &text);
}

#[test]
fn the_journal_of_a_scripted_history() {
    let (dump, kinds) = history::dump();
    let all: BTreeSet<&str> = greatest().iter().map(Event::kind).collect();
    assert_eq!(kinds, all, "the history has every kind of event");
    golden("history", &dump);
}

#[test]
fn paths_of_a_file_rollback_share_one_record() {
    // 256 paths of the greatest length are more than a record holds: what counts is all of them together.
    let longest: Bytes = vec![b'p'; 4096].into();
    let Some(Event::FilesRolledBack {
        volume,
        source,
        before,
        ..
    }) = greatest()
        .into_iter()
        .find(|e| e.kind() == "files-rolled-back")
    else {
        unreachable!("greatest() has every kind");
    };
    let paths = vec![longest; MAX_PATHS];
    let event = Event::FilesRolledBack {
        volume,
        source,
        before,
        paths,
        attributes: true,
        delete_new: true,
    };
    assert!(record(u32::MAX, true, &event).len() > MAX_RECORD_BYTES);
}
