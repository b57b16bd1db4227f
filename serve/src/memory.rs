//! Memory that is free goes back to the system: the C library keeps what was freed between two pieces that still live, in one arena for each thread.
//! What moments of much work took would stay with the daemon for ever, and grow with every such moment. And large pieces that are wanted for a moment (to compress
//! an archive, to write a state file) are mapped apart, always: left to itself the library takes the second one from where small pieces live, and finds it cut up
//! the next time.

use crate::ticker::Ticker;
use std::time::Duration;

/// How often it looks.
const TICK: Duration = Duration::from_secs(5);
/// Memory is given back where the process has grown by this share since the last time, …
const GROWN_SHARE: u64 = 16;
/// … and by so many bytes at least: a store at rest costs nothing.
const GROWN_LEAST: u64 = 1 << 20;
/// Bytes of a page as `/proc/self/statm` counts them, wherever that cannot be asked for.
const PAGE: u64 = 4096;

/// Pieces from this size on are mapped apart. The bytes of one request (1 MiB) are not: those come and go all the time.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 4 << 20;

/// The thread that gives memory back.
#[derive(Debug)]
pub(crate) struct Memory {
    _ticker: Ticker,
}

impl Memory {
    /// Starts the thread; without one, or without `/proc`, the C library keeps what it keeps.
    pub(crate) fn start() -> Self {
        map_large_pieces();
        let mut before = 0;
        let look = move || look(&mut before);
        Self {
            _ticker: Ticker::start("memory", TICK, look),
        }
    }
}

fn look(before: &mut u64) {
    let Some(now) = own_bytes() else { return };
    if now < before.saturating_add((*before / GROWN_SHARE).max(GROWN_LEAST)) {
        return;
    }
    give_back();
    *before = own_bytes().unwrap_or(now);
    tracing::debug!(before = now, after = *before, "free memory was given back");
}

/// Bytes of memory that are this process's own: not those of files.
fn own_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = statm.split_ascii_whitespace().skip(1);
    let mut pages = || fields.next()?.parse::<u64>().ok();
    let (resident, shared) = (pages()?, pages()?);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(PAGE);
    Some(resident.saturating_sub(shared).saturating_mul(page))
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)] // the C library is told so in no other way
fn map_large_pieces() {
    // SAFETY: it may be called at any time; both values are sizes within the library's limits.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

/// Other C libraries do so by themselves.
#[cfg(not(target_env = "gnu"))]
fn map_large_pieces() {}

/// Gives the system all whole pages that are free, of every arena. Takes some ms for each 100 MiB, in which one arena after the other waits.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)] // the C library says how much to keep in no other way
fn give_back() {
    // SAFETY: it is always safe to call, from any thread; it touches only memory that is free.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give free pages back by themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn what_a_moment_of_much_work_took_goes_back() {
        // Much beside what the tests take that run at the same time.
        const MUCH: u64 = 256 << 20;
        let mut before = own_bytes().unwrap();
        let at_first = before;
        // In an arena of its own, as the threads of a mount; what lives on lies between what goes.
        let worker = std::thread::spawn(|| {
            let blocks: Vec<Vec<u8>> = (0..MUCH / 4096).map(|i| vec![i as u8; 4096]).collect();
            let keep = blocks.into_iter().step_by(64);
            keep.collect::<Vec<_>>()
        });
        let kept = black_box(worker.join().unwrap());
        let held = own_bytes().unwrap();
        assert!(
            held > at_first + MUCH / 2,
            "{held} after {at_first}: it goes by itself"
        );
        look(&mut before);
        let after = own_bytes().unwrap();
        assert!(after + MUCH / 4 * 3 < held, "{held}, then {after}");
        assert_eq!(kept.len() as u64, MUCH / 4096 / 64);
    }

    #[test]
    fn a_large_piece_is_mapped_apart_also_after_one_was_freed() {
        const PIECE: usize = 5 << 20;
        map_large_pieces();
        drop(black_box(vec![1_u8; PIECE]));
        let pieces: Vec<Vec<u8>> = (0..4).map(|_| vec![1_u8; PIECE]).collect();
        // What is mapped apart begins a page, behind the library's sixteen bytes.
        let begins: Vec<usize> = pieces.iter().map(|p| p.as_ptr().addr() % 4096).collect();
        assert_eq!(begins, [16; 4]);
    }

    #[test]
    fn who_did_not_grow_is_left_alone() {
        let now = own_bytes().unwrap();
        let mut before = now + (64 << 20);
        look(&mut before);
        assert_eq!(before, now + (64 << 20));
    }
}
