//! The digest: equal content gives equal digests, any change another, and a cache changes nothing but the time.

use super::*;
use crate::block::BlockRef;
use crate::event::Cause;
use crate::event::{Event, NewBody, SetAttributes};
use crate::ids::Ino;
use crate::images::Images;
use crate::radix::Radix;
use crate::state::{Body, FileBody, Inode, Names, What, Xattrs};
use crate::statefile::history::{History, bytes};
use strand_journal::BlockAddr;

const DATA: VolumeId = VolumeId(1);

fn fresh(state: &State) -> u128 {
    digest(state, &mut DigestCache::default())
}

#[test]
fn a_cached_digest_equals_a_fresh_one_after_every_step() {
    for seed in 0..40 {
        let mut history = History::new(seed);
        let mut cache = DigestCache::default();
        for step in 0..300 {
            // Now and then several steps pass between two digests.
            for _ in 0..=history.below(4) {
                history.step();
            }
            assert_eq!(
                digest(&history.state, &mut cache),
                fresh(&history.state),
                "seed {seed}, step {step}"
            );
        }
    }
}

#[test]
fn a_cache_of_another_store_changes_nothing() {
    let mut cache = DigestCache::default();
    for seed in [1, 2, 3, 1] {
        let mut history = History::new(seed);
        for _ in 0..200 {
            history.step();
        }
        assert_eq!(digest(&history.state, &mut cache), fresh(&history.state));
    }
}

/// An inode rebuilt entry by entry, in another order and with detours.
fn rebuilt(inode: &Inode) -> Inode {
    let body = match &inode.body {
        Body::File(file) => {
            let mut entries: Vec<(u64, BlockRef)> = file
                .map
                .iter()
                .map(|(block, version)| (block, *version))
                .collect();
            entries.reverse();
            let mut map: Radix<BlockRef> = entries.into_iter().collect();
            map.insert(1 << 40, BlockRef::new(BlockAddr(1), 1));
            map.remove(1 << 40);
            Body::File(FileBody {
                size: file.size,
                map,
            })
        }
        Body::Dir(names) => {
            let mut other = Names::new();
            names.iter().rev().for_each(|(name, ino)| {
                other.insert(name.to_vec().into(), *ino);
            });
            other.insert(bytes("detour"), Ino(3));
            other.remove(&bytes("detour"));
            Body::Dir(other)
        }
        other => other.clone(),
    };
    Inode {
        body,
        xattrs: inode.xattrs.clone(),
        ..inode.clone()
    }
}

#[test]
fn equal_content_gives_equal_digests_however_it_came_about() {
    let mut history = History::new(9);
    for _ in 0..400 {
        history.step();
    }
    let tree = &history.state.volumes[&DATA].live;
    let mut inodes: Vec<(u64, Arc<Inode>)> = tree
        .inodes
        .iter()
        .map(|(ino, i)| (ino, Arc::new(rebuilt(i))))
        .collect();
    inodes.reverse();
    let other = Fileset {
        inodes: inodes.into_iter().collect(),
        ..tree.clone()
    };
    assert!(!other.inodes.ptr_eq(&tree.inodes));
    assert_eq!(tree_digest(&other), tree_digest(tree));
}

#[test]
fn no_attributes_and_an_empty_set_of_them_are_the_same() {
    let mut history = History::new(9);
    let root = history.state.volumes[&DATA].live.root;
    let tree = history.state.volumes[&DATA].live.clone();
    let mut other = tree.clone();
    other.inodes.update(root.0, |inode| {
        Arc::make_mut(inode).xattrs = Some(Arc::new(Xattrs::new()))
    });
    assert_eq!(tree_digest(&other), tree_digest(&tree));
    let name = bytes("user.a");
    assert!(history.fold(Event::XattrSet {
        volume: DATA,
        ino: root,
        name: name.clone(),
        value: bytes("1")
    }));
    let one = tree_digest(&history.state.volumes[&DATA].live);
    assert!(history.fold(Event::XattrSet {
        volume: DATA,
        ino: root,
        name,
        value: bytes("2")
    }));
    assert_ne!(one, tree_digest(&history.state.volumes[&DATA].live));
}

/// A state with one of everything.
fn one_of_each() -> State {
    let mut history = History::new(4);
    let root = history.state.volumes[&DATA].live.root;
    let ino = history.file(DATA, root, "file");
    assert!(history.write(DATA, ino, 0, 20));
    assert!(history.create(DATA, root, "link", NewBody::Symlink(bytes("file"))));
    let first = history.checkpoint("first", &[DATA]);
    let second = history.checkpoint("second", &[DATA]);
    assert!(history.write(DATA, ino, 3, 1));
    let to = history.file(DATA, root, "shared");
    let share = Event::Shared {
        volume: DATA,
        from: ino,
        from_block: 0,
        to,
        to_block: 0,
        count: 2,
        size: Some(8192),
    };
    assert!(history.fold(share));
    assert!(history.fold(Event::CheckpointRemoved { checkpoint: second }));
    let source = Source::Checkpoint(DATA, first);
    assert!(history.fold(Event::CloneCreated {
        volume: VolumeId(2),
        name: "clone".into(),
        source
    }));
    assert!(history.fold(Event::CopiedOutScope {
        volume: DATA,
        cause: Cause::Rollback
    }));
    assert!(history.fold(Event::RolledBack {
        volumes: vec![(DATA, source)],
        before: first
    }));
    history.state
}

/// Changes one of the state's parts.
type Touch = fn(&mut State);

fn data(state: &mut State) -> &mut Volume {
    Arc::make_mut(state.volumes.get_mut(&DATA).expect("it is there"))
}

fn pending(state: &mut State) -> &mut crate::state::Pending {
    Arc::make_mut(data(state).pending.back_mut().expect("one is open"))
}

fn image(state: &mut State, change: impl FnOnce(&mut Image)) {
    let id = CheckpointId(1);
    let mut image = data(state).images.remove(id).expect("it is there");
    change(&mut image);
    data(state).images.insert(id, image);
}

fn inode(state: &mut State, change: impl FnOnce(&mut Inode)) {
    let ino = data(state)
        .live
        .child(Ino(1), b"file")
        .expect("it is there");
    data(state)
        .live
        .inodes
        .update(ino.0, |inode| change(Arc::make_mut(inode)))
        .expect("it is there");
}

fn map(state: &mut State, change: impl FnOnce(&mut Radix<BlockRef>)) {
    inode(state, |inode| match &mut inode.body {
        Body::File(file) => change(&mut file.map),
        _ => unreachable!("it is a file"),
    });
}

#[test]
fn any_single_change_changes_the_digest() {
    let touches: Vec<Touch> = vec![
        |s| s.seq += 1,
        |s| s.time += 1,
        |s| s.boundary -= 1,
        |s| s.next_ino.0 += 1,
        |s| s.boundary_ino.0 -= 1,
        |s| s.next_volume.0 += 1,
        |s| s.next_checkpoint.0 += 1,
        |s| s.next_actor.0 += 1,
        |s| s.created = None,
        |s| {
            s.actors.remove(&ActorId(1));
        },
        |s| {
            s.volume_names.remove("data");
        },
        |s| {
            s.checkpoint_names.remove("first");
        },
        |s| {
            Arc::make_mut(
                s.checkpoints
                    .get_mut(&CheckpointId(1))
                    .expect("it is there"),
            )
            .held = true
        },
        |s| {
            Arc::make_mut(
                s.checkpoints
                    .get_mut(&CheckpointId(1))
                    .expect("it is there"),
            )
            .note = "x".into()
        },
        |s| {
            s.removed_checkpoints.clear();
        },
        |s| Arc::make_mut(s.changes.get_mut(0).expect("it is there")).undone = Some(None),
        |s| {
            Arc::make_mut(s.changes.get_mut(0).expect("it is there")).what =
                What::VolumeRemoved { volume: DATA }
        },
        |s| data(s).name = "other".into(),
        |s| data(s).generation += 1,
        |s| data(s).changed += 1,
        |s| data(s).quota.on = true,
        |s| data(s).quota.hard = Some(1),
        |s| data(s).live.blocks += 1,
        |s| data(s).live.root = Ino(2),
        |s| {
            data(s).live.orphans.insert(Ino(2));
        },
        |s| {
            data(s).spread.insert(77, [].into());
        },
        |s| image(s, |i| i.ledger.released += 1),
        |s| image(s, |i| i.born.0 += 1),
        |s| image(s, |i| i.root.blocks += 1),
        |s| image(s, |i| i.nodata = true),
        |s| {
            data(s).removed_images.clear();
        },
        |s| pending(s).scope += 1,
        |s| pending(s).cause = Cause::Reset,
        |s| pending(s).after = None,
        |s| pending(s).before.live.blocks += 1,
        |s| pending(s).before.images = Images::new(),
        |s| Arc::make_mut(s.volumes.get_mut(&VolumeId(2)).expect("it is there")).origin = None,
        |s| inode(s, |i| i.mode ^= 1),
        |s| inode(s, |i| i.uid += 1),
        |s| inode(s, |i| i.gid += 1),
        |s| inode(s, |i| i.nlink += 1),
        |s| inode(s, |i| i.atime += 1),
        |s| inode(s, |i| i.mtime += 1),
        |s| inode(s, |i| i.ctime += 1),
        |s| inode(s, |i| i.parent.0 += 1),
        |s| inode(s, |i| i.body = Body::Fifo),
        |s| {
            map(s, |m| {
                m.remove(5);
            })
        },
        |s| {
            map(s, |m| {
                m.insert(30, BlockRef::new(BlockAddr(99), 5));
            })
        },
        |s| {
            map(s, |m| {
                m.update(5, |v| *v = BlockRef::new(v.addr(), v.crc() ^ 1))
                    .expect("it is mapped")
            })
        },
        |s| {
            map(s, |m| {
                m.update(5, |v| *v = BlockRef::new(v.addr().plus(1), v.crc()))
                    .expect("it is mapped")
            })
        },
        |s| {
            map(s, |m| {
                let (a, b) = (
                    *m.get(5).expect("it is mapped"),
                    *m.get(6).expect("it is mapped"),
                );
                m.insert(5, b);
                m.insert(6, a);
            })
        },
    ];
    let state = one_of_each();
    let mut seen = BTreeMap::from([(fresh(&state), 0)]);
    let mut cache = DigestCache::default();
    digest(&state, &mut cache);
    for (at, touch) in touches.iter().enumerate() {
        let mut other = state.clone();
        touch(&mut other);
        let found = fresh(&other);
        assert_eq!(
            seen.insert(found, at + 1),
            None,
            "change {at} gives a digest that was there"
        );
        assert_eq!(digest(&other, &mut cache), found, "change {at}");
    }
    let recorded = State {
        digest: Some((1, 1)),
        ..state.clone()
    };
    assert_eq!(
        fresh(&recorded),
        fresh(&state),
        "a recorded digest is no part of what is digested"
    );
}

#[test]
fn the_next_digest_costs_what_changed() {
    let mut history = History::new(2);
    let root = history.state.volumes[&DATA].live.root;
    let ino = history.file(DATA, root, "big");
    for first in (0..20_000).step_by(200) {
        assert!(history.write(DATA, ino, first, 200));
    }
    for n in 0..2_000 {
        history.file(DATA, root, &format!("small-{n}"));
    }
    let mut cache = DigestCache::default();
    digest(&history.state, &mut cache);
    assert!(cache.entries() > 24_000);
    history.checkpoint("before", &[DATA]);
    assert!(history.write(DATA, ino, 77, 1));
    assert!(history.fold(Event::AttributesSet {
        volume: DATA,
        ino,
        set: SetAttributes {
            uid: Some(1),
            ..Default::default()
        }
    }));
    digest(&history.state, &mut cache);
    assert!(
        cache.entries() < 30,
        "{} entries for one block",
        cache.entries()
    );
    let source = Source::Checkpoint(DATA, CheckpointId(1));
    for first in (0..20_000).step_by(200) {
        assert!(history.write(DATA, ino, first, 200));
    }
    digest(&history.state, &mut cache);
    assert!(history.fold(Event::CloneCreated {
        volume: VolumeId(2),
        name: "clone".into(),
        source
    }));
    assert!(history.fold(Event::RolledBack {
        volumes: vec![(DATA, source)],
        before: CheckpointId(1)
    }));
    digest(&history.state, &mut cache);
    assert!(
        cache.entries() < 30,
        "{} entries for a clone and a rollback",
        cache.entries()
    );
}

/// Pins the numbers: a digest stands in the journal for ever.
#[test]
fn the_digest_of_a_known_state_is_known() {
    let known = [State::empty(), one_of_each()].map(|state| format!("{:032x}", fresh(&state)));
    assert_eq!(
        known,
        [
            "6644b0047bc74cea9070a8ffee4e206b",
            "fb3702edb7e8fad333e9fe013fb2780b"
        ]
    );
}
