//! The map against `BTreeMap`, its images against change, its shape against history.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::root::NodeRef;
use super::{Change, Radix};

type Model = BTreeMap<u64, u32>;

/// Keys where levels meet, from one leaf to the full range.
const BOUNDARIES: [u64; 14] = [
    0,
    1,
    15,
    16,
    17,
    255,
    256,
    4095,
    4096,
    1 << 32,
    (1 << 60) - 1,
    1 << 60,
    u64::MAX - 1,
    u64::MAX,
];

/// Keys that collide, share nodes at every level, and touch both ends.
fn keys() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..64,
        4 => 0u64..5000,
        1 => (0u64..40).prop_map(|k| u64::MAX - k),
        1 => prop::sample::select(BOUNDARIES.to_vec()),
        1 => (0u32..64, 0u64..20).prop_map(|(shift, k)| k << shift),
        1 => any::<u64>(),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u32),
    Remove(u64),
    Update(u64, u32),
    InsertRun(u64, Vec<u32>),
    RemoveRange(u64, u64),
    RemoveAfter(u64),
    Freeze,
    Restore(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (keys(), any::<u32>()).prop_map(|(k, v)| Op::Insert(k, v)),
        4 => keys().prop_map(Op::Remove),
        2 => (keys(), any::<u32>()).prop_map(|(k, v)| Op::Update(k, v)),
        3 => (keys(), prop::collection::vec(any::<u32>(), 0..400)).prop_map(|(k, v)| Op::InsertRun(k, v)),
        2 => (keys(), 0u64..300).prop_map(|(k, n)| Op::RemoveRange(k, k.saturating_add(n))),
        1 => keys().prop_map(Op::RemoveAfter),
        2 => Just(Op::Freeze),
        1 => any::<usize>().prop_map(Op::Restore),
    ];
    prop::collection::vec(op, 1..60)
}

fn apply(map: &mut Radix<u32>, model: &mut Model, op: Op) {
    match op {
        Op::Insert(key, value) => assert_eq!(map.insert(key, value), model.insert(key, value)),
        Op::Remove(key) => assert_eq!(map.remove(key), model.remove(&key)),
        Op::Update(key, value) => {
            let ours = map.update(key, |v| std::mem::replace(v, value));
            let theirs = model.get_mut(&key).map(|v| std::mem::replace(v, value));
            assert_eq!(ours, theirs);
        }
        Op::InsertRun(first, items) => {
            let mut replaced = Vec::new();
            map.insert_run(first, items.clone().into_iter(), &mut |k, v| {
                replaced.push((k, *v))
            });
            let mut expected = Vec::new();
            for (at, item) in items.into_iter().enumerate() {
                let Some(key) = first.checked_add(at as u64) else {
                    break;
                };
                expected.extend(model.insert(key, item).map(|old| (key, old)));
            }
            assert_eq!(replaced, expected);
        }
        Op::RemoveRange(lo, hi) => {
            let mut removed = Vec::new();
            map.remove_range(lo..=hi, &mut |k, v| removed.push((k, *v)));
            let expected: Vec<_> = model.range(lo..=hi).map(|(&k, &v)| (k, v)).collect();
            model.retain(|k, _| !(lo..=hi).contains(k));
            assert_eq!(removed, expected);
        }
        Op::RemoveAfter(lo) => {
            map.remove_range(lo.., &mut |_, _| {});
            model.split_off(&lo);
        }
        Op::Freeze | Op::Restore(_) => {}
    }
}

/// Every node by level, base and bitmap, in depth-first order.
fn shape(map: &Radix<u32>) -> Vec<(u8, u64, u16)> {
    fn visit(node: NodeRef<'_, u32>, level: u8, base: u64, out: &mut Vec<(u8, u64, u16)>) {
        out.push((level, base, node.bitmap()));
        for slot in 0..16 {
            if let Some(child) = node.child(slot) {
                visit(
                    child,
                    level - 1,
                    base | (u64::from(slot) << (4 * u32::from(level))),
                    out,
                );
            }
        }
    }
    let mut out = Vec::new();
    if let Some((node, level)) = map.root.top() {
        visit(node, level, 0, &mut out);
    }
    out
}

/// Everything that can be asked of a map, against the model.
fn same(map: &Radix<u32>, model: &Model) {
    let entries: Vec<_> = model.iter().map(|(&k, &v)| (k, v)).collect();
    assert_eq!(
        map.iter().map(|(k, &v)| (k, v)).collect::<Vec<_>>(),
        entries
    );
    assert_eq!(map.len(), model.len() as u64);
    assert_eq!(map.is_empty(), model.is_empty());
    assert_eq!(map.first().map(|(k, &v)| (k, v)), entries.first().copied());
    assert_eq!(map.last().map(|(k, &v)| (k, v)), entries.last().copied());
    assert!(
        shape(map).iter().all(|&(_, _, bitmap)| bitmap != 0),
        "no node is empty"
    );
    let greatest = model.keys().next_back();
    assert_eq!(
        map.root.height(),
        greatest.map_or(0, |&k| super::root::height_for(k)),
        "the height is the least"
    );
}

fn answers(map: &Radix<u32>, model: &Model, key: u64) {
    assert_eq!(map.get(key), model.get(&key));
    assert_eq!(map.contains(key), model.contains_key(&key));
    let next = model.range(key..).next().map(|(&k, v)| (k, v));
    assert_eq!(map.next_at_or_after(key), next);
    let mut gap = key;
    while gap < u64::MAX && model.contains_key(&gap) {
        gap += 1;
    }
    assert_eq!(map.next_gap(key), gap);
    let end = key.saturating_add(100);
    let range: Vec<_> = map.range(key, end).map(|(k, &v)| (k, v)).collect();
    assert_eq!(
        range,
        model
            .range(key..=end)
            .map(|(&k, &v)| (k, v))
            .collect::<Vec<_>>()
    );
}

fn brute_diff(before: &Model, after: &Model) -> Vec<(u64, Option<u32>, Option<u32>)> {
    let keys: std::collections::BTreeSet<u64> =
        before.keys().chain(after.keys()).copied().collect();
    keys.into_iter()
        .map(|k| (k, before.get(&k).copied(), after.get(&k).copied()))
        .filter(|(_, before, after)| before != after)
        .collect()
}

fn owned(change: Change<'_, u32>) -> (u64, Option<u32>, Option<u32>) {
    (change.key, change.before.copied(), change.after.copied())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_agrees_with_a_btreemap_and_no_image_ever_changes(ops in ops(), probes in prop::collection::vec(keys(), 8)) {
        let (mut map, mut model) = (Radix::new(), Model::new());
        let mut images: Vec<(Radix<u32>, Model)> = Vec::new();
        for op in ops {
            match op {
                Op::Freeze => images.push((map.clone(), model.clone())),
                Op::Restore(at) if !images.is_empty() => (map, model) = images[at % images.len()].clone(),
                op => apply(&mut map, &mut model, op),
            }
            prop_assert_eq!(map.len(), model.len() as u64);
        }
        same(&map, &model);
        for &key in probes.iter().chain(&BOUNDARIES) {
            answers(&map, &model, key);
        }
        for (image, frozen) in &images {
            same(image, frozen);
            let changes: Vec<_> = image.diff(&map).map(owned).collect();
            let expected = brute_diff(frozen, &model);
            prop_assert_eq!(&changes, &expected);
            prop_assert_eq!(image == &map, expected.is_empty());
            let (lo, hi) = (probes[0].min(probes[1]), probes[0].max(probes[1]));
            let within: Vec<_> = image.diff_range(&map, lo, hi).map(owned).collect();
            let expected: Vec<_> = expected.into_iter().filter(|c| (lo..=hi).contains(&c.0)).collect();
            prop_assert_eq!(within, expected);
        }
    }

    #[test]
    fn the_shape_depends_on_the_content_only(ops in ops(), order in any::<u64>()) {
        let (mut map, mut model) = (Radix::new(), Model::new());
        for op in ops {
            apply(&mut map, &mut model, op);
        }
        let mut entries: Vec<_> = model.iter().map(|(&k, &v)| (k, v)).collect();
        entries.sort_by_key(|&(k, _)| (k ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let fresh: Radix<u32> = entries.into_iter().collect();
        prop_assert_eq!(shape(&map), shape(&fresh));
        prop_assert_eq!(map, fresh);
    }
}

#[test]
fn each_boundary_key_alone_takes_the_least_height_and_comes_out_again() {
    let heights = [1, 1, 1, 2, 2, 2, 3, 3, 4, 9, 15, 16, 16, 16];
    for (key, height) in BOUNDARIES.into_iter().zip(heights) {
        let mut map = Radix::new();
        assert_eq!(map.insert(key, 7), None);
        assert_eq!(map.root.height(), height, "key {key}");
        answers(&map, &Model::from([(key, 7)]), key);
        assert_eq!(map.insert(key, 8), Some(7));
        assert_eq!(map.remove(key), Some(8));
        assert!(map.is_empty() && map.ptr_eq(&Radix::new()));
    }
}

#[test]
fn all_boundary_keys_live_together_and_leave_in_any_order() {
    let mut map: Radix<u32> = BOUNDARIES.iter().map(|&k| (k, k as u32)).collect();
    let mut model: Model = BOUNDARIES.iter().map(|&k| (k, k as u32)).collect();
    same(&map, &model);
    for key in [u64::MAX, 0, 256, 1 << 60, 16, 15] {
        assert_eq!(map.remove(key), model.remove(&key));
        same(&map, &model);
    }
}

#[test]
fn a_run_stops_at_the_greatest_key() {
    let mut map = Radix::new();
    map.insert_run(u64::MAX - 2, 0..10u32, &mut |_, _| {});
    assert_eq!(
        map.iter().map(|(k, &v)| (k, v)).collect::<Vec<_>>(),
        [(u64::MAX - 2, 0), (u64::MAX - 1, 1), (u64::MAX, 2)]
    );
    assert_eq!(map.next_gap(u64::MAX - 2), u64::MAX);
}

#[test]
fn an_empty_or_backward_range_removes_nothing() {
    let mut map: Radix<u32> = (0..100).map(|k| (k, 1)).collect();
    let before = map.clone();
    let mut count = 0;
    map.remove_range(5..5, &mut |_, _| count += 1);
    map.remove_range(0..0, &mut |_, _| count += 1);
    map.remove_range(200..=300, &mut |_, _| count += 1);
    map.remove_range(
        (
            std::ops::Bound::Excluded(u64::MAX),
            std::ops::Bound::Unbounded,
        ),
        &mut |_, _| count += 1,
    );
    assert_eq!(count, 0);
    assert!(map.ptr_eq(&before));
    assert_eq!(map.range(9, 3).next(), None);
    map.remove_range(.., &mut |_, _| count += 1);
    assert_eq!((count, map.len()), (100, 0));
    assert_eq!(before.len(), 100);
}

#[test]
fn what_changes_nothing_copies_nothing() {
    let mut map: Radix<u32> = (0..10_000).map(|k| (k * 3, 1)).collect();
    let image = map.clone();
    assert_eq!(map.remove(1), None);
    assert_eq!(map.update(2, |v| *v = 9), None);
    assert_eq!(map.update(u64::MAX, |v| *v = 9), None);
    assert!(map.ptr_eq(&image));
    map.insert(0, 1);
    assert!(!map.ptr_eq(&image));
    assert_eq!(image.diff(&map).next(), None, "an equal value is no change");
}

/// A value that counts how often it is compared.
#[derive(Clone, Debug)]
struct Counted<'a>(u32, &'a std::cell::Cell<u64>);

impl PartialEq for Counted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.1.set(self.1.get() + 1);
        self.0 == other.0
    }
}

#[test]
fn a_diff_looks_only_where_the_maps_part_even_across_heights() {
    let compared = std::cell::Cell::new(0);
    let mut map = Radix::new();
    map.insert_run(
        0,
        (0..65_536).map(|v| Counted(v, &compared)),
        &mut |_, _| {},
    );
    let image = map.clone();
    map.insert(40_000, Counted(1, &compared));
    map.insert(1 << 50, Counted(2, &compared));
    let keys: Vec<u64> = image.diff(&map).map(|c| c.key).collect();
    assert_eq!(keys, [40_000, 1 << 50]);
    assert!(
        compared.get() <= 17,
        "one leaf and the new key, not {} comparisons",
        compared.get()
    );
    map.remove(1 << 50);
    assert_eq!(map.root.height(), image.root.height());
}

#[test]
fn values_are_dropped_once_and_in_place_changes_do_not_touch_the_image() {
    let value = std::sync::Arc::new(5);
    let mut map = Radix::new();
    for key in 0..1000 {
        map.insert(key * 7, value.clone());
    }
    assert_eq!(std::sync::Arc::strong_count(&value), 1001);
    let image = map.clone();
    map.update(7, |v| *std::sync::Arc::make_mut(v) = 6);
    assert_eq!(
        (map.get(7).map(|v| **v), image.get(7).map(|v| **v)),
        (Some(6), Some(5))
    );
    map.remove_range(.., &mut |_, _| {});
    drop(map);
    assert_eq!(std::sync::Arc::strong_count(&value), 1001);
    drop(image);
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}

#[test]
fn a_map_is_small_to_hold_and_can_cross_threads() {
    fn crosses<T: Send + Sync>(_: &T) {}
    crosses(&Radix::<[u8; 10]>::new());
    assert_eq!(size_of::<Radix<[u8; 10]>>(), 24);
}

/// Where every node lies.
fn addresses(map: &Radix<u32>) -> Vec<usize> {
    fn visit(node: NodeRef<'_, u32>, out: &mut Vec<usize>) {
        out.push(node.address());
        (0..16)
            .filter_map(|slot| node.child(slot))
            .for_each(|child| visit(child, out));
    }
    let mut out = Vec::new();
    if let Some((node, _)) = map.root.top() {
        visit(node, &mut out);
    }
    out
}

#[test]
fn overwriting_works_in_place_until_a_clone_shares_the_nodes() {
    let mut map: Radix<u32> = (0..5000).map(|k| (k, 1)).collect();
    let before = addresses(&map);
    map.insert(4000, 2);
    map.update(77, |v| *v = 3);
    map.insert_run(100, 0..1000u32, &mut |_, _| {});
    assert_eq!(addresses(&map), before);
    let image = map.clone();
    map.insert(4000, 5);
    map.insert(4001, 5);
    let after = addresses(&map);
    let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(moved, map.root.height().into(), "one path, once");
    drop(image);
    map.insert(4000, 6);
    assert_eq!(addresses(&map), after);
}
