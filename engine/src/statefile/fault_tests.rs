//! Trees and states that do not hang together are refused, whatever their checksums say.

use super::decode::Wrong;
use super::history::{History, bytes};
use super::tree::check_tree;
use super::whole::check_state;
use crate::event::NewBody;
use crate::ids::{ActorId, CheckpointId, Ino, VolumeId};
use crate::images::Images;
use crate::state::{Body, Fileset, Inode, State, Volume};
use std::sync::Arc;

const DATA: VolumeId = VolumeId(1);
const ROOT: Ino = Ino(1);

/// `/dir/sub/file`, a second name of the file in the root, and a clean tree: inodes 1 (root), 2 (dir), 3 (sub), 4 (file).
fn good() -> Fileset {
    let mut history = History::new(1);
    assert!(history.create(DATA, ROOT, "dir", NewBody::Dir));
    assert!(history.create(DATA, Ino(2), "sub", NewBody::Dir));
    let file = history.file(DATA, Ino(3), "file");
    assert!(history.write(DATA, file, 0, 3));
    assert!(history.fold(crate::event::Event::Linked {
        volume: DATA,
        dir: ROOT,
        name: bytes("again"),
        ino: file
    }));
    history.state.volumes[&DATA].live.clone()
}

fn change(tree: &mut Fileset, ino: u64, change: impl FnOnce(&mut Inode)) {
    tree.inodes
        .update(ino, |inode| change(Arc::make_mut(inode)))
        .expect("it is there");
}

fn name(tree: &mut Fileset, dir: u64, entry: &str, ino: Option<u64>) {
    change(tree, dir, |inode| match (&mut inode.body, ino) {
        (Body::Dir(names), Some(ino)) => {
            names.insert(bytes(entry), Ino(ino));
        }
        (Body::Dir(names), None) => {
            names.remove(&bytes(entry));
        }
        _ => unreachable!("it is a directory"),
    });
}

/// A fault, and what is said about it: one of the words between the bars.
type Fault = (fn(&mut Fileset), &'static str);

const FAULTS: &[Fault] = &[
    (|t| name(t, 2, "ghost", Some(99)), "which is not there"),
    (|t| name(t, 2, "more", Some(4)), "named as often"),
    (|t| name(t, 3, "file", None), "named as often"),
    (|t| change(t, 4, |i| i.nlink = 3), "named as often"),
    (
        |t| drop(t.inodes.remove(4)),
        "which is not there|mapped blocks",
    ),
    (|t| change(t, 2, |i| i.nlink = 2), "links as subdirectories"),
    (|t| change(t, 3, |i| i.parent = ROOT), "do not agree"),
    (|t| change(t, 4, |i| i.body = Body::Fifo), "mapped blocks"),
    (|t| t.blocks += 1, "mapped blocks"),
    (|t| t.root = Ino(9), "no root directory"),
    (|t| t.root = Ino(4), "no root directory"),
    (|t| t.root = Ino(2), "has a parent"),
    (|t| change(t, 1, |i| i.parent = Ino(2)), "has a parent"),
    (
        |t| t.orphans = [Ino(77)].into_iter().collect(),
        "without a name",
    ),
    (
        |t| t.orphans = [Ino(4)].into_iter().collect(),
        "without a name",
    ),
    (
        |t| t.orphans = [Ino(3)].into_iter().collect(),
        "without a name",
    ),
    (
        // dir and sub contain each other, and nothing leads there.
        |t| {
            name(t, 1, "dir", None);
            change(t, 1, |i| i.nlink = 2);
            name(t, 3, "up", Some(2));
            change(t, 3, |i| i.nlink = 3);
            change(t, 2, |i| i.parent = Ino(3));
        },
        "lead to the root",
    ),
    (
        |t| {
            let inode = t.inode(ROOT).expect("it is there").clone();
            t.inodes.insert(0, inode);
        },
        "number 0",
    ),
];

#[test]
fn a_tree_that_does_not_hang_together_is_refused_alone_and_beside_a_good_one() {
    let good = good();
    assert!(check_tree(None, &good).is_ok());
    assert!(check_tree(Some(&good), &good).is_ok());
    for (at, (fault, word)) in FAULTS.iter().enumerate() {
        let mut bad = good.clone();
        fault(&mut bad);
        for near in [None, Some(&good)] {
            let Err(Wrong(what)) = check_tree(near, &bad) else {
                panic!("fault {at} ({word}) passes")
            };
            let other_kind = near.is_some() && what.contains("another kind");
            assert!(
                word.split('|').any(|word| what.contains(word)) || other_kind,
                "fault {at}: {what}"
            );
        }
    }
}

#[test]
fn good_trees_pass_beside_any_other_good_tree() {
    let mut trees = vec![good()];
    let mut history = History::new(8);
    for _ in 0..40 {
        for _ in 0..10 {
            history.step();
        }
        trees.extend(
            history
                .state
                .volumes
                .values()
                .map(|volume| volume.live.clone()),
        );
    }
    let last = trees.len() - 1;
    for (at, tree) in trees.iter().enumerate().skip(1) {
        for near in [&trees[1], &trees[last], &trees[at - 1]] {
            // The first is another history's, whose inodes are other files.
            let near = if at == 1 { None } else { Some(near) };
            assert!(check_tree(near, tree).is_ok(), "tree {at}");
        }
    }
}

fn data(state: &mut State) -> &mut Volume {
    Arc::make_mut(state.volumes.get_mut(&DATA).expect("it is there"))
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let mut history = History::new(2);
    history.checkpoint("one", &[DATA]);
    assert!(history.fold(crate::event::Event::VolumeRenamed {
        volume: DATA,
        name: "other".into()
    }));
    let good = history.state;
    assert!(check_state(&good, 1).is_ok());
    assert!(
        check_state(&good, good.next_ino.0).is_err(),
        "an inode number from the future"
    );
    let faults: &[fn(&mut State)] = &[
        |s| s.boundary = s.seq + 1,
        |s| s.boundary_ino.0 = s.next_ino.0 + 1,
        |s| s.next_volume = DATA,
        |s| s.next_checkpoint = CheckpointId(1),
        |s| s.next_actor = ActorId(1),
        |s| s.digest = Some((s.seq + 1, 0)),
        |s| s.created = Some(s.time + 1),
        |s| data(s).id = VolumeId(7),
        |s| data(s).name = "no/name".into(),
        |s| data(s).created = 0,
        |s| data(s).changed = s.time + 1,
        |s| data(s).images = Images::new(),
        |s| s.checkpoints.clear(),
        |s| data(s).removed_images = (*data(s).images).clone(),
        |s| s.removed_volumes = s.volumes.clone(),
        |s| s.removed_checkpoints = s.checkpoints.clone(),
        |s| {
            Arc::make_mut(
                s.checkpoints
                    .get_mut(&CheckpointId(1))
                    .expect("it is there"),
            )
            .volumes
            .clear()
        },
        |s| {
            Arc::make_mut(
                s.checkpoints
                    .get_mut(&CheckpointId(1))
                    .expect("it is there"),
            )
            .seq = 1000
        },
        |s| {
            Arc::make_mut(
                s.checkpoints
                    .get_mut(&CheckpointId(1))
                    .expect("it is there"),
            )
            .actor = ActorId(9)
        },
        |s| {
            let first = s.changes[0].clone();
            s.changes.push_back(first);
        },
    ];
    for (at, fault) in faults.iter().enumerate() {
        let mut bad = good.clone();
        fault(&mut bad);
        assert!(check_state(&bad, 1).is_err(), "fault {at} passes");
    }
}
