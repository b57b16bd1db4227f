//! The faulty disk does what its head says, and nothing worse.

use super::*;

fn put(disk: &FaultyDisk, bytes: &[u8], offset: u64) {
    disk.open("f")
        .unwrap()
        .write_at(&[IoSlice::new(bytes)], offset)
        .unwrap();
}

fn fresh() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.create("f", 4096).unwrap().sync_data().unwrap();
    disk.sync_dir("").unwrap();
    disk
}

#[test]
fn what_was_flushed_survives_every_crash_and_the_rest_may_be_lost_kept_or_torn() {
    let disk = fresh();
    put(&disk, &[1; 1024], 0);
    disk.open("f").unwrap().sync_data().unwrap();
    put(&disk, &[2; 2048], 1024);
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let bytes = disk.crash(seed).file_bytes("f").unwrap();
        assert!(bytes[..1024].iter().all(|&byte| byte == 1));
        match bytes[1024..3072].iter().filter(|&&byte| byte == 2).count() {
            0 => lost += 1,
            2048 => kept += 1,
            part => {
                assert_eq!(part % 512, 0);
                torn += 1;
            }
        }
    }
    assert!(lost > 10 && kept > 10 && torn > 10, "{lost} {kept} {torn}");
}

#[test]
fn a_name_that_was_not_synced_may_be_gone() {
    let disk = fresh();
    disk.create("g", 10).unwrap().sync_data().unwrap();
    let there = (0..50)
        .filter(|&seed| disk.crash(seed).file_bytes("g").is_some())
        .count();
    assert!(there > 5 && there < 45, "{there}");
    disk.sync_dir("").unwrap();
    assert!((0..50).all(|seed| disk.crash(seed).file_bytes("g").is_some()));
}

#[test]
fn after_a_failed_flush_the_cache_lies() {
    let disk = fresh();
    let file = disk.open("f").unwrap();
    disk.fail_nth(CallKind::Sync, 2);
    for block in 0..8 {
        put(&disk, &[7; 512], block * 512);
    }
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.file_bytes("f").unwrap(), [7; 4096]);
    let mut medium = [0u8; 4096];
    file.read_direct(&mut medium, 0).unwrap();
    assert!(medium.contains(&0));
    assert_eq!(disk.crash(3).file_bytes("f").unwrap(), medium);
}

#[test]
fn the_nth_call_fails_and_the_power_goes_when_told() {
    let disk = fresh();
    let before = disk.calls();
    disk.fail_call(before + 1);
    let file = disk.open("f").unwrap();
    file.write_at(&[IoSlice::new(&[1; 512])], 0).unwrap_err();
    file.write_at(&[IoSlice::new(&[1; 512])], 0).unwrap();
    disk.crash_at(before + 3);
    file.sync_data().unwrap_err();
    assert!(disk.is_dead());
    file.write_at(&[IoSlice::new(&[1; 512])], 0).unwrap_err();
    let mut buf = [0; 4];
    file.read_at(&mut buf, 0).unwrap_err();
    disk.crash(1)
        .open("f")
        .unwrap()
        .read_at(&mut buf, 0)
        .unwrap();
}

#[test]
fn space_runs_out_and_small_files_are_replaced_whole() {
    let disk = fresh();
    disk.limit_space(Some(6000));
    let full = disk.create("g", 4096).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert!(disk.file_bytes("g").is_none());
    disk.write_small("s", b"one").unwrap();
    for crash_at in 1..=5 {
        let disk = disk.crash(9);
        disk.crash_at(crash_at);
        let written = disk.write_small("s", b"three");
        for seed in 0..20 {
            let found = disk.crash(seed).read_small("s", 100).unwrap();
            assert!(found == b"one" || found == b"three", "{found:?}");
            if written.is_ok() {
                assert_eq!(found, b"three");
            }
        }
    }
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    let disk = fresh();
    disk.misdirect_nth_write(1, 2048);
    put(&disk, &[5; 512], 0);
    let bytes = disk.file_bytes("f").unwrap();
    assert_eq!((bytes[0], bytes[2048]), (0, 5));
    assert!(disk.flip("f", 2048, 1) && !disk.flip("f", 4096, 1));
    assert_eq!(disk.file_bytes("f").unwrap()[2048], 4);
}
