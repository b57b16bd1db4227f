//! Random histories on stores that are too small for them, in lock-step with the reference: what gives way is removable, held and read by nobody, and goes in
//! order, history first; nothing gives way to an administrative command; and what is left is byte-equal to the reference's.

use std::sync::Arc;
use strand_journal::disk::MemoryDisk;
use strand_journal::max_record_blocks;
use strand_tests::history::{Profile, Step, choose, dice};
use strand_tests::lockstep::{Depth, Lockstep, SEGMENT_SIZE};
use strand_tests::reference::BLOCK;

/// Steps of several commands may be done in part where there is no room for all; limits are of other tests.
pub(super) fn is_whole(step: &Step) -> bool {
    match step {
        Step::Write { offset, length, .. } => {
            let most = u64::from(max_record_blocks(SEGMENT_SIZE)) * BLOCK;
            *length <= most && offset / most == (offset + length.max(&1) - 1) / most
        }
        Step::CopyRange { .. } | Step::QuotaSet { .. } | Step::GiveWay => false,
        _ => true,
    }
}

#[test]
fn what_gives_way_to_a_full_store_is_removable_and_goes_in_order() {
    let (mut gave_way, mut refused) = (0, 0);
    for seed in 0..14 {
        let capacity = (14 + seed % 4 * 3) * SEGMENT_SIZE;
        let disk = Arc::new(MemoryDisk::new());
        let mut lockstep = Lockstep::of_capacity(disk, 40, Some(capacity)).unwrap();
        for (turn, die) in dice(seed + 5000, 220).into_iter().enumerate() {
            let step = choose(die, &lockstep.reference, Profile::Space);
            if !is_whole(&step) {
                continue;
            }
            let place = format!("seed {seed}, turn {turn}, {step:?}");
            let told = lockstep
                .step(&step)
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            refused += u64::from(told == Some("no-space"));
            let compared = lockstep.compare(Depth::Sampled(3));
            compared.unwrap_or_else(|e| panic!("after {place}: {e}"));
            if die % 5 == 0 {
                lockstep.remember();
            }
            let positions = lockstep.compare_positions(|position| (position + die) % 16 == 0);
            positions.unwrap_or_else(|e| panic!("after {place}: {e}"));
        }
        lockstep
            .check_all()
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        gave_way += lockstep.gave_way;
    }
    println!("{gave_way} gave way, {refused} steps refused");
    assert!(
        gave_way > 30,
        "{gave_way} gave way, {refused} steps refused"
    );
    assert!(refused > 5, "{gave_way} gave way, {refused} steps refused");
}
