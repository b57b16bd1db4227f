//! Which of the engine's numbers stands for which of the reference's: found by comparison, and one to one for ever.

use std::collections::HashMap;

/// A one-to-one relation that only grows.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    theirs: HashMap<u64, u64>,
    ours: HashMap<u64, u64>,
}

impl Pairs {
    /// The engine's number.
    #[must_use]
    pub fn theirs(&self, ours: u64) -> Option<u64> {
        self.theirs.get(&ours).copied()
    }

    /// The reference's number.
    #[must_use]
    pub fn ours(&self, theirs: u64) -> Option<u64> {
        self.ours.get(&theirs).copied()
    }

    /// Says that two numbers mean the same.
    ///
    /// # Errors
    /// Where one of them already stands for another.
    pub fn pair(&mut self, ours: u64, theirs: u64) -> Result<(), String> {
        let before = *self.theirs.entry(ours).or_insert(theirs);
        let back = *self.ours.entry(theirs).or_insert(ours);
        if before == theirs && back == ours {
            return Ok(());
        }
        Err(format!(
            "the reference's {ours} is the engine's {theirs}, but they were paired as {ours}-{before} and {back}-{theirs}"
        ))
    }
}
