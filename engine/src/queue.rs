//! A short queue that is cheap to clone: whole and shared, copied when it changes while shared.
//!
//! For the few administrative changes within reach and the few bulk movements that wait; not for anything long.
//! (`imbl::Vector` is not used: its `retain` in 7.0.2 gives wrong contents.)

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A shared queue; a clone is one reference count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Queue<T>(Arc<VecDeque<T>>);

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(VecDeque::new()))
    }

    /// The newest item.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.0.back()
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Queue<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        &self.0
    }
}

impl<T: Clone> DerefMut for Queue<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> FromIterator<T> for Queue<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Arc::new(items.into_iter().collect()))
    }
}

impl<'a, T> IntoIterator for &'a Queue<T> {
    type Item = &'a T;
    type IntoIter = std::collections::vec_deque::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut queue: Queue<u32> = (0..5).collect();
        let before = queue.clone();
        queue.retain(|n| n % 2 == 0);
        queue.push_back(9);
        assert_eq!(queue.iter().copied().collect::<Vec<_>>(), [0, 2, 4, 9]);
        assert_eq!(
            before.into_iter().copied().collect::<Vec<_>>(),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(
            (queue.last(), Queue::<u32>::default().last()),
            (Some(&9), None)
        );
    }
}
