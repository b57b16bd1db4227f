//! The audit trail.
#![allow(clippy::unwrap_used)] // a test that cannot prepare its store fails

mod common;

use common::{Fixture, SECOND, actor};
use strand_engine::{CheckpointId, Command, EventTime, Kind, VolumeId};
use strand_replay::log::{Filter, Row, events, events_after, expand, files_at, rows};

fn all(f: &Fixture, filter: &Filter) -> Vec<Row> {
    rows(&f.store, filter).collect::<Result<_, _>>().unwrap()
}

fn texts(f: &Fixture, filter: &Filter) -> Vec<String> {
    all(f, filter).into_iter().map(|row| row.text).collect()
}

/// A volume with two files of 8 blocks, a checkpoint, and overwrites by two processes at once, then a pause and one write more.
fn busy() -> (Fixture, VolumeId, CheckpointId) {
    let f = Fixture::new();
    let v = f.volume("pg");
    let (a, b) = (f.file(v, "a"), f.file(v, "b"));
    f.write(v, a, 0, 8, 1);
    f.write(v, b, 0, 8, 1);
    f.advance(10 * SECOND);
    let before = f.checkpoint(v, "before-upgrade");
    f.advance(10 * SECOND);
    let other = actor("postgres", 99);
    for block in 0..4 {
        f.write(v, a, block, 1, 2);
        f.write_as(&other, v, b, 2 * block, 2, 2);
        f.write(v, a, block, 1, 3);
        f.advance(SECOND / 10);
    }
    f.advance(3 * SECOND);
    f.write(v, a, 7, 1, 4);
    (f, v, before)
}

#[test]
fn runs_of_everyday_events_collapse_by_actor() {
    let (f, _, _) = busy();
    let texts = texts(&f, &Filter::default());
    assert_eq!(
        texts,
        [
            "sqlite3[812] wrote 1 block in a; 1 passed to before-upgrade",
            "sqlite3[812] wrote 8 blocks in a; 4 passed to before-upgrade",
            "postgres[99] wrote 8 blocks in b; 8 passed to before-upgrade",
            "sqlite3[812] took checkpoint before-upgrade of pg",
            "sqlite3[812] created 2 names, wrote 16 blocks in 2 files",
            "sqlite3[812] created volume pg",
            "sqlite3[812] created the store with strand 0.1.0",
        ]
    );
}

#[test]
fn rows_tell_their_numbers_and_cover_every_event_once() {
    let (f, _, _) = busy();
    let found = all(&f, &Filter::default());
    let events: u64 = found.iter().flat_map(|row| row.kinds.values()).sum();
    // The first sight of the two actors is no row of its own.
    assert_eq!(events + 2, f.store.state().seq);
    assert!(found.is_sorted_by(|a, b| a.last_seq > b.last_seq));
    let row = &found[1];
    assert_eq!(
        (row.blocks, row.files, row.kind, row.volume.as_deref()),
        (8, 1, "written", Some("pg"))
    );
    assert_eq!(
        (row.passed[0].checkpoint.as_str(), row.passed[0].blocks),
        ("before-upgrade", 4)
    );
    assert_eq!(row.paths, ["a"]);
    assert!(row.last_time - row.first_time < SECOND);
}

#[test]
fn filters_choose_events() {
    let (f, v, before) = busy();
    let by = |filter: Filter| texts(&f, &filter);
    let kind = |kind: &str| vec![kind.to_owned()];
    assert_eq!(
        by(Filter {
            actor: Some("postgres".into()),
            ..Filter::default()
        })
        .len(),
        1
    );
    assert_eq!(
        by(Filter {
            actor: Some("99".into()),
            ..Filter::default()
        })
        .len(),
        1
    );
    assert_eq!(
        by(Filter {
            actor: Some("postgres[99]".into()),
            ..Filter::default()
        })
        .len(),
        1
    );
    assert_eq!(
        by(Filter {
            actor: Some("nobody".into()),
            ..Filter::default()
        }),
        [""; 0]
    );
    assert_eq!(
        by(Filter {
            kinds: kind("checkpoint-created"),
            ..Filter::default()
        }),
        ["sqlite3[812] took checkpoint before-upgrade of pg"]
    );
    let files = Some(files_at(&f.store.state(), v, b"/b"));
    assert_eq!(
        by(Filter {
            files: files.clone(),
            ..Filter::default()
        })
        .len(),
        2,
        "its creation and first write, and the overwrites"
    );
    assert_eq!(
        by(Filter {
            files,
            block: Some(3),
            kinds: kind("written"),
            ..Filter::default()
        }),
        [
            "postgres[99] wrote 2 blocks in b",
            "sqlite3[812] wrote 8 blocks in b"
        ]
    );
    assert_eq!(
        by(Filter {
            volume: Some(VolumeId(77)),
            ..Filter::default()
        }),
        [""; 0]
    );
    let checkpoint = Filter {
        checkpoint: Some(before),
        kinds: kind("copied-out"),
        ..Filter::default()
    };
    assert_eq!(
        by(checkpoint),
        [
            "sqlite3[812]: 1 passed to before-upgrade",
            "postgres[99]: 8 passed to before-upgrade",
            "sqlite3[812]: 4 passed to before-upgrade"
        ]
    );
}

#[test]
fn times_bound_the_log() {
    let (f, _, _) = busy();
    let taken = f
        .store
        .state()
        .checkpoint_named("before-upgrade")
        .unwrap()
        .time;
    let between = |since: Option<EventTime>, until: Option<EventTime>| {
        texts(
            &f,
            &Filter {
                since,
                until,
                ..Filter::default()
            },
        )
        .len()
    };
    assert_eq!(between(Some(taken), None), 4);
    assert_eq!(between(Some(taken + 1), None), 3);
    assert_eq!(between(None, Some(taken)), 4);
    assert_eq!(between(Some(taken), Some(taken)), 1);
}

#[test]
fn copied_out_rows_add_up_to_the_ledger() {
    let (f, v, before) = busy();
    f.rollback(v, before);
    for (id, image) in &f.store.state().volume(v).unwrap().images {
        let filter = Filter {
            checkpoint: Some(*id),
            kinds: vec!["copied-out".into()],
            ..Filter::default()
        };
        let told: u64 = all(&f, &filter)
            .iter()
            .flat_map(|row| &row.passed)
            .map(|p| p.blocks)
            .sum();
        assert_eq!(
            told,
            image.ledger.copied_out,
            "{:?}",
            f.store.state().checkpoints[id].name
        );
    }
}

#[test]
fn a_rollback_is_one_row_that_names_what_keeps_the_state_before() {
    let (f, v, before) = busy();
    let done = f.rollback(v, before);
    let texts = texts(
        &f,
        &Filter {
            kinds: vec!["rolled-back".into()],
            ..Filter::default()
        },
    );
    assert_eq!(
        texts,
        [format!(
            "sqlite3[812] rolled back pg to before-upgrade; auto-before-{} keeps the state before",
            done.first
        )]
    );
}

#[test]
fn a_scope_is_expanded_to_its_blocks() {
    let (f, v, before) = busy();
    let done = f.rollback(v, before);
    let scope = events(
        &f.store,
        &Filter {
            kinds: vec!["copied-out-scope".into()],
            ..Filter::default()
        },
    )
    .next()
    .unwrap()
    .unwrap()
    .seq;
    let moved = expand(&f.store, scope).unwrap();
    let told: Vec<_> = moved
        .iter()
        .map(|m| (m.path.as_str(), m.blocks, m.from.clone(), m.to.clone()))
        .collect();
    let auto = format!("auto-before-{}", done.first);
    let live = || "live".to_owned();
    let sum = |from: &str, to: &str| {
        told.iter()
            .filter(|(_, _, f, t)| f == from && t == to)
            .map(|(_, n, ..)| n)
            .sum::<u64>()
    };
    assert_eq!(sum("live", &auto), 13, "what the overwrites had made");
    assert_eq!(sum("before-upgrade", "live"), 13, "what came back");
    assert_eq!(told.iter().map(|(_, n, ..)| n).sum::<u64>(), 26);
    assert!(told.contains(&("b", 8, live(), auto)));

    let refused = expand(&f.store, done.last).unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    assert_eq!(
        expand(&f.store, u64::MAX).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[test]
fn raw_events_come_both_ways_round() {
    let (f, _, _) = busy();
    let newest: Vec<_> = events(&f.store, &Filter::default())
        .map(|e| e.unwrap().seq)
        .collect();
    let oldest: Vec<_> = events_after(&f.store, &Filter::default(), 0)
        .unwrap()
        .map(|e| e.unwrap().seq)
        .collect();
    let last = f.store.state().seq;
    assert_eq!(oldest, (1..=last).collect::<Vec<_>>());
    assert_eq!(newest, (1..=last).rev().collect::<Vec<_>>());
}

#[test]
fn a_follower_gets_what_is_new() {
    let (f, v, _) = busy();
    let seen = f.store.state().seq;
    assert_eq!(
        events_after(&f.store, &Filter::default(), seen)
            .unwrap()
            .count(),
        0
    );
    f.run(Command::VolumeRename {
        volume: v,
        name: "pg2".into(),
    });
    let new: Vec<_> = events_after(&f.store, &Filter::default(), seen)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(new.len(), 1);
    assert_eq!(
        (
            new[0].kind,
            new[0].volume.as_deref(),
            new[0].fields["name"].as_str()
        ),
        ("volume-renamed", Some("pg2"), Some("pg2"))
    );
}

#[test]
fn fields_are_readable() {
    let (f, v, before) = busy();
    f.rollback(v, before);
    let one = |kind: &str| {
        events(
            &f.store,
            &Filter {
                kinds: vec![kind.into()],
                ..Filter::default()
            },
        )
        .next()
        .unwrap()
        .unwrap()
    };
    let copied = one("copied-out-scope");
    assert_eq!(copied.fields["cause"], "rollback");
    assert_eq!(one("created").fields["name"], "b");
    let passed = events(
        &f.store,
        &Filter {
            kinds: vec!["copied-out".into()],
            checkpoint: Some(before),
            ..Filter::default()
        },
    );
    let passed = passed
        .map(Result::unwrap)
        .find(|e| e.kind == "copied-out")
        .unwrap();
    assert_eq!(
        (&passed.fields["cause"], &passed.fields["checkpoint_name"]),
        (&"write".into(), &"before-upgrade".into())
    );
    assert_eq!(passed.path.as_deref(), Some("a"));
    let back = one("rolled-back");
    assert_eq!(
        back.fields["volumes"][0]["source"]["checkpoint"],
        "before-upgrade"
    );
}

#[test]
fn a_long_run_is_cut_so_that_a_page_stays_cheap() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "data");
    for i in 0..5000 {
        let done = f
            .store
            .write(&f.me, v, file, (i % 64) * 4096, &[i as u8 | 1; 4096])
            .unwrap();
        if i % 500 == 0 {
            f.store.commit(done.ticket).unwrap();
        }
    }
    f.store.sync().unwrap();
    let first = rows(&f.store, &Filter::default()).next().unwrap().unwrap();
    assert_eq!(first.kinds.values().sum::<u64>(), 4096);
}

#[test]
fn a_bulk_unlink_reads_as_an_unlink_and_its_count_follows() {
    let f = Fixture::new();
    let v = f.volume("pg");
    let file = f.file(v, "big");
    for block in (0..1200).step_by(100) {
        f.write(v, file, block, 100, 1);
    }
    f.checkpoint(v, "before");
    f.unlink(v, "big");
    f.store.settle().unwrap();
    f.store.sync().unwrap();
    let texts = texts(&f, &Filter::default());
    assert_eq!(texts[1], "sqlite3[812] removed big");
    assert!(
        texts[0].starts_with("strand counted what seq ")
            && texts[0].ends_with("; 1,200 passed to before"),
        "{}",
        texts[0]
    );
}

#[test]
fn an_undo_says_where_it_led() {
    let (f, v, before) = busy();
    let back = f.rollback(v, before);
    f.run(Command::Undo { volume: Some(v) });
    let texts = texts(&f, &Filter::default());
    let start = format!(
        "sqlite3[812] undid the change of seq {}: pg to auto-before-{}; auto-before-",
        back.last, back.first
    );
    assert!(
        texts[0].starts_with(&start) && texts[0].ends_with(" keeps the state before"),
        "{}",
        texts[0]
    );
}
