//! What the last verification left: when it was, and what could not be read then.

use super::Store;
use crate::error::Error;
use crate::last_verify::{BadVersion, LastVerify};
use std::sync::{Arc, PoisonError};

impl Store {
    /// What the last verification found; `None` where there was none.
    ///
    /// # Errors
    /// [`Error::Damage`] where its record is garbage, [`Error::Journal`] where it cannot be read. Nothing else depends on it.
    pub fn last_verify(&self) -> Result<Option<LastVerify>, Error> {
        LastVerify::load(&*self.disk, self.journal.store())
    }

    /// Keeps what a verification found, for [`Store::last_verify`] and for refusing damaged targets. Read-only access is enough
    /// where the directory can be written.
    ///
    /// # Errors
    /// [`Error::Journal`]: the record before is still there.
    pub fn note_verified(&self, found: &LastVerify) -> Result<(), Error> {
        found.save(&*self.disk, self.journal.store())?;
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) = Some(listed(found));
        Ok(())
    }

    /// Another process may have verified meanwhile: what is known to be bad is read again at the next need.
    pub fn verified_elsewhere(&self) {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The versions that are known to be bad, in journal order.
    pub(super) fn known_bad(&self) -> Arc<[BadVersion]> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bad.get_or_insert_with(|| match self.last_verify() {
            Ok(found) => found.as_ref().map_or_else(|| [].into(), listed),
            Err(error) => {
                tracing::warn!(%error, "what the last verification found is not known");
                [].into()
            }
        });
        Arc::clone(known)
    }
}

fn listed(found: &LastVerify) -> Arc<[BadVersion]> {
    found.data.as_ref().map_or(&[][..], |data| &data.bad).into()
}
