//! Where trees end that nobody looks at any more. Whoever lets go of the last root of a tree that shares little frees millions of nodes, which takes
//! from some 100 ms to seconds; he may serve a mount, or hold what others wait for.

use crate::state::Fileset;

/// Trees of fewer blocks and inodes end where they are let go: freeing them takes less time than starting a thread (some 20 µs).
const LARGE: u64 = 1024;

/// Lets go of what holds a tree: at once where the tree is small, on a thread of its own where it may take long.
pub fn let_go<T: Send + 'static>(what: T, tree: impl FnOnce(&T) -> &Fileset) {
    let tree = tree(&what);
    if tree.blocks.saturating_add(tree.inodes.len()) < LARGE {
        return;
    }
    let reaper = std::thread::Builder::new().name("reaper".into());
    if let Err(error) = reaper.spawn(move || drop(what)) {
        // It went with the thread that there was not: late, but in order.
        tracing::debug!(%error, "a tree was let go without a thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{ThreadId, current};
    use std::time::Duration;

    struct Probe(Fileset, Sender<ThreadId>);

    impl Drop for Probe {
        fn drop(&mut self) {
            self.1.send(current().id()).unwrap();
        }
    }

    #[test]
    fn a_large_tree_ends_on_another_thread_and_a_small_one_here() {
        let (said, heard) = channel();
        for (blocks, here) in [(LARGE - 1, true), (LARGE, false)] {
            let tree = Fileset {
                blocks,
                ..Fileset::default()
            };
            let_go(Probe(tree, said.clone()), |probe| &probe.0);
            let on = heard.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(on == current().id(), here, "{blocks} blocks");
        }
    }
}
