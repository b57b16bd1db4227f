//! Dumped maps come back equal and share what they shared; hostile nodes do not come back at all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{DumpedRoot, LoadError, Loader, NodeId, NodeSink, Radix, SeenNodes};

#[derive(Clone, Debug)]
enum Record {
    Leaf(u16, Vec<u32>),
    Branch(u16, Vec<NodeId>),
}

/// Keeps what it is given; fails once it has `room` records.
struct Records {
    records: Vec<Record>,
    room: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            room: usize::MAX,
        }
    }
}

impl Records {
    fn push(&mut self, record: Record) -> Result<NodeId, &'static str> {
        if self.records.len() >= self.room {
            return Err("no room");
        }
        self.records.push(record);
        Ok(NodeId(self.records.len() as u64 - 1))
    }
}

fn bitmap<V>(entries: &[(u8, V)]) -> u16 {
    assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
    entries.iter().fold(0, |bits, entry| bits | (1 << entry.0))
}

impl NodeSink<u32> for Records {
    type Error = &'static str;

    fn leaf(&mut self, entries: &[(u8, &u32)]) -> Result<NodeId, &'static str> {
        self.push(Record::Leaf(
            bitmap(entries),
            entries.iter().map(|&(_, v)| *v).collect(),
        ))
    }

    fn branch(&mut self, children: &[(u8, NodeId)]) -> Result<NodeId, &'static str> {
        self.push(Record::Branch(
            bitmap(children),
            children.iter().map(|&(_, id)| id).collect(),
        ))
    }
}

fn load(records: &[Record]) -> Result<Loader<u32>, LoadError> {
    let mut loader = Loader::new();
    for (at, record) in records.iter().enumerate() {
        let id = match record {
            Record::Leaf(bitmap, items) => loader.leaf(*bitmap, items.iter().copied())?,
            Record::Branch(bitmap, ids) => loader.branch(*bitmap, ids)?,
        };
        assert_eq!(id, NodeId(at as u64));
    }
    Ok(loader)
}

fn one(node: u64, height: u8, len: u64) -> DumpedRoot {
    DumpedRoot {
        node: Some(NodeId(node)),
        height,
        len,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn maps_come_back_equal_and_nodes_are_written_once(
        base in prop::collection::btree_map(prop_oneof![0u64..3000, any::<u64>()], any::<u32>(), 0..300),
        changes in prop::collection::vec((prop_oneof![0u64..3000, any::<u64>()], any::<u32>()), 0..8),
    ) {
        let first: Radix<u32> = base.into_iter().collect();
        let mut second = first.clone();
        second.extend(changes.iter().copied());
        let (mut seen, mut sink) = (SeenNodes::new(), Records::default());
        let roots = [&first, &second, &first].map(|map| map.dump(&mut seen, &mut sink).unwrap());
        prop_assert_eq!(seen.len(), sink.records.len());
        prop_assert_eq!(roots[0], roots[2]);
        let loader = load(&sink.records).unwrap();
        let loaded = roots.map(|root| loader.root(root).unwrap());
        prop_assert_eq!(&loaded[0], &first);
        prop_assert_eq!(&loaded[1], &second);
        prop_assert!(loaded[0].ptr_eq(&loaded[2]));
        // What was shared is shared again: dumped again, the maps take as many nodes.
        let (mut again, mut sink2) = (SeenNodes::new(), Records::default());
        for map in &loaded {
            map.dump(&mut again, &mut sink2).unwrap();
        }
        prop_assert_eq!(again.len(), seen.len());
    }

    /// Nodes of any content, with names that mostly exist: refused, or a map as sound as one that was built.
    #[test]
    fn hostile_nodes_give_an_error_or_a_sound_map(
        records in prop::collection::vec(prop_oneof![
            (any::<u16>(), prop::collection::vec(any::<u32>(), 0..18)).prop_map(|(b, v)| Record::Leaf(b, v)),
            (0u16..16).prop_map(|b| Record::Leaf(b, vec![1; b.count_ones() as usize])),
            (any::<u16>(), prop::collection::vec((0u64..12).prop_map(NodeId), 0..18)).prop_map(|(b, v)| Record::Branch(b, v)),
            (1u16..16, 0u64..40).prop_map(|(b, id)| Record::Branch(b, vec![NodeId(id); b.count_ones() as usize])),
        ], 1..60),
        root in (any::<u64>(), 0u8..18, 0u64..40),
    ) {
        let mut loader = Loader::new();
        for record in &records {
            let _ = match record {
                Record::Leaf(bitmap, items) => loader.leaf(*bitmap, items.iter().copied()),
                Record::Branch(bitmap, ids) => loader.branch(*bitmap, ids),
            };
        }
        for id in 0..loader.len() {
            for len in 0..40 {
                for height in 0..17 {
                    if let Ok(map) = loader.root(one(id, height, len)) {
                        let content: BTreeMap<u64, u32> = map.iter().map(|(k, &v)| (k, v)).collect();
                        prop_assert_eq!(content.len() as u64, len);
                        let built: Radix<u32> = content.into_iter().collect();
                        prop_assert_eq!(built.root.height(), height);
                        prop_assert_eq!(built, map);
                    }
                }
            }
        }
        if let Ok(map) = loader.root(one(root.0, root.1, root.2)) {
            prop_assert_eq!(map.iter().count() as u64, root.2);
        }
    }
}

#[test]
fn each_fault_has_its_name() {
    let mut loader: Loader<u32> = Loader::new();
    assert_eq!(loader.leaf(0, []), Err(LoadError::Empty(0)));
    assert_eq!(loader.leaf(3, [1]), Err(LoadError::Count(0)));
    assert_eq!(
        loader.leaf(1, std::iter::repeat(1)),
        Err(LoadError::Count(0)),
        "an endless source is left"
    );
    let leaf = loader.leaf(3, [1, 2]).unwrap();
    assert_eq!(loader.branch(0, &[]), Err(LoadError::Empty(1)));
    assert_eq!(loader.branch(1, &[]), Err(LoadError::Empty(1)));
    assert_eq!(loader.branch(3, &[leaf]), Err(LoadError::Count(1)));
    assert_eq!(
        loader.branch(1, &[NodeId(1)]),
        Err(LoadError::Unknown(1)),
        "a node cannot name itself"
    );
    assert_eq!(
        loader.branch(1, &[NodeId(u64::MAX)]),
        Err(LoadError::Unknown(u64::MAX))
    );
    assert_eq!(loader.branch(3, &[leaf, leaf]), Err(LoadError::Repeated(1)));
    let slot0 = loader.branch(1, &[leaf]).unwrap();
    assert_eq!(loader.branch(3, &[slot0, leaf]), Err(LoadError::Level(2)));
    assert_eq!(
        loader.root(one(1, 2, 2)).err(),
        Some(LoadError::Height {
            found: 2,
            expected: 1
        })
    );
    let twig = loader.branch(2, &[leaf]).unwrap();
    assert_eq!(
        loader.root(one(2, 1, 2)).err(),
        Some(LoadError::Height {
            found: 1,
            expected: 2
        })
    );
    assert_eq!(
        loader.root(one(2, 2, 3)).err(),
        Some(LoadError::Length {
            found: 3,
            expected: 2
        })
    );
    assert_eq!(loader.root(one(9, 2, 2)).err(), Some(LoadError::Unknown(9)));
    let none = DumpedRoot {
        node: None,
        height: 0,
        len: 1,
    };
    assert_eq!(
        loader.root(none).err(),
        Some(LoadError::Length {
            found: 1,
            expected: 0
        })
    );
    let map = loader
        .root(DumpedRoot {
            node: Some(twig),
            height: 2,
            len: 2,
        })
        .unwrap();
    assert_eq!(map.iter().collect::<Vec<_>>(), [(16, &1), (17, &2)]);
}

#[test]
fn a_tower_is_sixteen_levels_at_most() {
    let mut loader: Loader<u32> = Loader::new();
    let mut node = loader.leaf(1 << 15, [7]).unwrap();
    for _ in 1..16 {
        node = loader.branch(1 << 15, &[node]).unwrap();
    }
    assert_eq!(loader.branch(1 << 15, &[node]), Err(LoadError::Level(16)));
    let map = loader
        .root(DumpedRoot {
            node: Some(node),
            height: 16,
            len: 1,
        })
        .unwrap();
    assert_eq!(map.last(), Some((u64::MAX, &7)));
}

#[test]
fn a_sink_that_fails_can_go_on_where_it_stopped() {
    let map: Radix<u32> = (0..1000u64).map(|k| (k * 5, k as u32)).collect();
    let (mut seen, mut sink) = (
        SeenNodes::new(),
        Records {
            room: 100,
            ..Records::default()
        },
    );
    assert_eq!(map.dump(&mut seen, &mut sink), Err("no room"));
    assert_eq!(seen.len(), 100);
    sink.room = usize::MAX;
    let root = map.dump(&mut seen, &mut sink).unwrap();
    assert_eq!(load(&sink.records).unwrap().root(root).unwrap(), map);
}
