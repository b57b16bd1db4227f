//! The same random operations on a mount and in an ordinary directory: the same errors, the same content, the same attributes.

use crate::setting::setting;
use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Operations of one sequence.
const STEPS: usize = 1500;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn name(&mut self) -> String {
        let names = [
            "a", "b", "c", "d/a", "d/b", "d", "e", "e/a", "d/e", "d/e/x", "e/a/y",
        ];
        names[self.below(names.len() as u64) as usize].to_owned()
    }

    fn offset(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(8) * 4096,
            1 => self.below(64 * 1024),
            2 => self.below(4096),
            _ => self.below(300 * 1024),
        }
    }
}

#[derive(Debug)]
enum Step {
    Create(String, bool),
    Write(String, u64, u64, u8),
    Append(String, u64),
    Truncate(String, u64),
    Fallocate(String, u64, u64, u32),
    Copy(String, u64, String, u64, u64),
    Read(String, u64, u64),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String, u64),
    Link(String, String),
    Symlink(String, String),
    Chmod(String, u32),
    Sync(String),
    OpenHeld(String),
    WriteHeld(u64, u64),
    CloseHeld,
    Xattr(String, u64),
}

fn step(random: &mut Random) -> Step {
    let r = random;
    match r.below(30) {
        0..3 => Step::Create(r.name(), r.below(2) == 0),
        3..9 => Step::Write(r.name(), r.offset(), r.below(80_000) + 1, r.below(5) as u8),
        9 => Step::Append(r.name(), r.below(9000) + 1),
        10..12 => Step::Truncate(r.name(), r.offset()),
        12..14 => {
            let mode = [0, 1, 3, 16, 17][r.below(5) as usize];
            Step::Fallocate(r.name(), r.offset(), r.below(50_000), mode)
        }
        14 => Step::Copy(r.name(), r.offset(), r.name(), r.offset(), r.below(70_000)),
        15..18 => Step::Read(r.name(), r.offset(), r.below(70_000)),
        18 => Step::Mkdir(r.name()),
        19 => Step::Rmdir(r.name()),
        20 => Step::Unlink(r.name()),
        21 | 22 => Step::Rename(r.name(), r.name(), r.below(4)),
        23 => Step::Link(r.name(), r.name()),
        24 => Step::Symlink(r.name(), r.name()),
        25 => Step::Chmod(r.name(), r.below(0o10000) as u32 | 0o600),
        26 => Step::OpenHeld(r.name()),
        27 => Step::WriteHeld(r.offset(), r.below(9000) + 1),
        28 => match r.below(3) {
            0 => Step::CloseHeld,
            1 => Step::Sync(r.name()),
            _ => Step::Xattr(r.name(), r.below(4)),
        },
        _ => Step::Truncate(r.name(), 0),
    }
}

/// One of the two directories, and a file kept open in it.
struct Side {
    at: PathBuf,
    held: Option<File>,
}

/// What a step gave: an error's number, or what was read.
type Outcome = Result<Vec<u8>, i32>;

fn number(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(-1)
}

impl Side {
    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    fn writing(&self, name: &str) -> Result<File, i32> {
        // Not through links: they may point anywhere.
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        options.read(true).write(true);
        options.custom_flags(libc::O_NOFOLLOW);
        options.open(self.path(name)).map_err(number)
    }

    fn take(&mut self, step: &Step) -> Outcome {
        let unit = |outcome: std::io::Result<()>| outcome.map(|()| Vec::new()).map_err(number);
        let raw = |outcome: rustix::io::Result<()>| {
            outcome.map(|()| Vec::new()).map_err(|e| e.raw_os_error())
        };
        match step {
            Step::Create(name, exclusive) => {
                use std::os::unix::fs::OpenOptionsExt;
                let mut options = File::options();
                options.write(true).custom_flags(libc::O_NOFOLLOW);
                if *exclusive {
                    options.create_new(true);
                } else {
                    options.create(true).truncate(true);
                }
                unit(options.open(self.path(name)).map(drop))
            }
            Step::Write(name, offset, length, byte) => {
                let data = vec![*byte; *length as usize];
                unit(self.writing(name)?.write_all_at(&data, *offset))
            }
            Step::Append(name, length) => {
                use std::io::Write;
                use std::os::unix::fs::OpenOptionsExt;
                let mut options = File::options();
                options.append(true).custom_flags(libc::O_NOFOLLOW);
                let mut file = options.open(self.path(name)).map_err(number)?;
                unit(file.write_all(&vec![7; *length as usize]))
            }
            Step::Truncate(name, size) => unit(self.writing(name)?.set_len(*size)),
            Step::Fallocate(name, offset, length, mode) => {
                let flags = FallocateFlags::from_bits_retain(*mode);
                raw(rustix::fs::fallocate(
                    self.writing(name)?,
                    flags,
                    *offset,
                    *length,
                ))
            }
            Step::Copy(from, at, to, put, length) => {
                let (from, to) = (self.writing(from)?, self.writing(to)?);
                let (mut at, mut put, mut left) = (*at, *put, *length as usize);
                while left > 0 {
                    let part = rustix::fs::copy_file_range(
                        &from,
                        Some(&mut at),
                        &to,
                        Some(&mut put),
                        left,
                    );
                    match part {
                        Ok(0) => break,
                        Ok(n) => left -= n,
                        Err(error) => return Err(error.raw_os_error()),
                    }
                }
                Ok(at.to_le_bytes().to_vec())
            }
            Step::Read(name, offset, length) => {
                let mut bytes = vec![0; *length as usize];
                let got = self.writing(name)?.read_at(&mut bytes, *offset);
                bytes.truncate(got.map_err(number)?);
                Ok(bytes)
            }
            Step::Mkdir(name) => unit(fs::create_dir(self.path(name))),
            Step::Rmdir(name) => unit(fs::remove_dir(self.path(name))),
            Step::Unlink(name) => unit(fs::remove_file(self.path(name))),
            Step::Rename(from, to, how) => {
                let flags = match how {
                    0 => RenameFlags::NOREPLACE,
                    1 => RenameFlags::EXCHANGE,
                    _ => RenameFlags::empty(),
                };
                let (from, to) = (self.path(from), self.path(to));
                raw(rustix::fs::renameat_with(CWD, &from, CWD, &to, flags))
            }
            Step::Link(from, to) => unit(fs::hard_link(self.path(from), self.path(to))),
            Step::Symlink(target, name) => {
                unit(std::os::unix::fs::symlink(target, self.path(name)))
            }
            Step::Chmod(name, mode) => {
                let file = self.writing(name)?;
                unit(file.set_permissions(fs::Permissions::from_mode(*mode)))
            }
            Step::Sync(name) => unit(self.writing(name)?.sync_data()),
            Step::OpenHeld(name) => {
                self.held = None;
                self.held = Some(self.writing(name)?);
                Ok(Vec::new())
            }
            Step::WriteHeld(offset, length) => {
                let Some(held) = &self.held else {
                    return Ok(Vec::new());
                };
                let data = vec![b'h'; *length as usize];
                held.write_all_at(&data, *offset).map_err(number)?;
                let metadata = held.metadata().map_err(number)?;
                Ok([metadata.len(), metadata.nlink()]
                    .map(u64::to_le_bytes)
                    .concat())
            }
            Step::CloseHeld => {
                self.held = None;
                Ok(Vec::new())
            }
            Step::Xattr(name, what) => {
                let file = self.writing(name)?;
                let none = rustix::fs::XattrFlags::empty();
                let value = what.to_le_bytes();
                match what {
                    0 => raw(rustix::fs::fremovexattr(&file, "user.x")),
                    _ => raw(rustix::fs::fsetxattr(&file, "user.x", &value, none)),
                }
            }
        }
    }

    /// Everything there is: kind, mode, links, size, content, target, attribute.
    fn all(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        self.walk(&self.at, &mut all);
        all
    }

    fn walk(&self, dir: &Path, all: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mut row = format!("{:o} {}", metadata.mode(), metadata.nlink());
            if metadata.is_dir() {
                self.walk(&path, all);
            } else if metadata.is_symlink() {
                row += &format!(" -> {}", fs::read_link(&path).unwrap().display());
            } else {
                let content = fs::read(&path).unwrap();
                assert_eq!(content.len() as u64, metadata.len());
                let sum = content
                    .iter()
                    .fold(7u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(*b));
                let mut value = [0; 64];
                let xattr = rustix::fs::getxattr(&path, "user.x", &mut value);
                row += &format!(" {} {sum:x} {xattr:?} {}", metadata.len(), value[0]);
            }
            all.insert(path.strip_prefix(&self.at).unwrap().to_owned(), row);
        }
    }
}

fn compare(seed: u64) {
    let Some(s) = setting() else { return };
    let plain = tempfile::tempdir_in(s.scratch.path()).unwrap();
    let mut sides = [s.at.clone(), plain.path().to_owned()].map(|at| Side { at, held: None });
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut steps: Vec<String> = Vec::new();
    for i in 0..STEPS {
        let step = step(&mut random);
        steps.push(format!("{step:?}"));
        let [ours, theirs] = sides.each_mut().map(|side| side.take(&step));
        let told = || steps[i.saturating_sub(40)..].join("\n");
        assert!(
            ours == theirs,
            "seed {seed}, step {i}: {step:?} gave {:?} here, {:?} there, after\n{}",
            ours.as_ref().map(Vec::len),
            theirs.as_ref().map(Vec::len),
            told()
        );
        if i % 50 == 49 {
            let [ours, theirs] = sides.each_ref().map(Side::all);
            assert_eq!(ours, theirs, "seed {seed}, step {i}, after\n{}", told());
        }
    }
}

#[test]
fn random_operations_give_the_same_on_a_mount_and_beside_it() {
    let first = std::env::var("STRAND_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    match first {
        Some(seed) => compare(seed),
        None => (1..=8).for_each(compare),
    }
}
