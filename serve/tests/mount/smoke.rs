//! A mount is a file system: the least of it, and that what was written is in the store.

use crate::setting::setting;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use strand_engine::Source;

#[test]
fn a_volume_is_mounted_used_and_found_again() {
    let Some(mut s) = setting() else { return };
    let dir = s.at.join("base");
    fs::create_dir(&dir).unwrap();
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(true)
        .open(dir.join("one"))
        .unwrap();
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    file.write_all(&content).unwrap();
    file.sync_all().unwrap();
    let journal = s.live().store().journal();
    assert_eq!(journal.flushed(), journal.placed(), "fsync flushes");
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut back = Vec::new();
    file.read_to_end(&mut back).unwrap();
    assert!(back == content);
    drop(file);
    assert!(s.stored("base/one").unwrap() == content);

    fs::rename(dir.join("one"), dir.join("two")).unwrap();
    assert!(!dir.join("one").exists());
    let metadata = fs::metadata(dir.join("two")).unwrap();
    assert_eq!(metadata.size(), content.len() as u64);
    assert_eq!(metadata.blocks(), content.len().div_ceil(4096) as u64 * 8);
    fs::write(dir.join("gone"), b"x").unwrap();
    fs::remove_file(dir.join("gone")).unwrap();
    let names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["two"]);

    let at = s.at.clone();
    s.live().unmount(&at).unwrap();
    assert!(fs::read_dir(&at).unwrap().next().is_none());
    s.reopen();
    let volume = s.volume;
    let again = s.mount(Source::Live(volume), "again");
    assert!(fs::read(again.join("base/two")).unwrap() == content);
    assert!(!again.join("base/gone").exists());
}
