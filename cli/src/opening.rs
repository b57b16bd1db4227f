//! In words: why a store cannot be opened, and what an opened one cannot show.

use crate::context::held_by;
use crate::error::plain;
use std::io::{self, ErrorKind};
use std::path::Path;
use strand_engine::{Error, Kind, Refusal, Store};
use strand_journal::Error as JournalError;
use strand_serve::control::Client;

/// The store's directory cannot be entered.
pub(crate) fn no_directory(path: &Path, error: &io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Refusal::new(Kind::NotAStore, format!("{} is no store", path.display()))
                .why(plain(error))
                .next(format!("strand init {}", path.display()))
        }
        kind => denied(path, kind)
            .unwrap_or_else(|| {
                Refusal::new(
                    Kind::Io,
                    format!("cannot open the store {}", path.display()),
                )
            })
            .why(plain(error)),
    }
}

/// The store in that directory does not open.
pub(crate) fn not_opened(path: &Path, error: &Error) -> Refusal {
    let mut refusal = error.refusal();
    match error {
        Error::Journal(JournalError::Locked { holder }) => refusal.why = Some(held_by(holder)),
        Error::Journal(JournalError::Io { source, .. }) => {
            if let Some(denied) = denied(path, source.kind()) {
                return denied.why(without_number(&error.to_string()));
            }
        }
        Error::Journal(JournalError::NotAStore { reason }) if holds_segments(path) => {
            return Refusal::new(
                Kind::Damaged,
                format!("the store {} is damaged", path.display()),
            )
            .why(format!("{reason}, but journal/ holds its segments"))
            .next("put the file STORE back from a copy of the store; the journal is untouched");
        }
        _ => {}
    }
    if refusal.kind == Kind::NotAStore {
        refusal.message = format!("{} is no store", path.display());
        refusal
            .next
            .get_or_insert_with(|| "strand init DIR makes one".into());
    }
    refusal
}

/// The daemon that answers serves another store than the directory's.
pub(crate) fn another_store(path: &Path, daemon: &Client) -> Refusal {
    Refusal::new(
        Kind::Stale,
        format!("the daemon does not serve the store {}", path.display()),
    )
    .why(format!("pid {} serves another one", daemon.pid()))
    .next("end that daemon")
}

fn denied(path: &Path, kind: ErrorKind) -> Option<Refusal> {
    let (kind, next) = match kind {
        ErrorKind::PermissionDenied => (Kind::Permission, "run it as the owner of the store"),
        ErrorKind::ReadOnlyFilesystem => (
            Kind::ReadOnly,
            "mount the file system for writing, or copy the store to another one",
        ),
        _ => return None,
    };
    let message = format!("cannot open the store {}", path.display());
    Some(Refusal::new(kind, message).next(next))
}

fn without_number(text: &str) -> String {
    text.split(" (os error").next().unwrap_or(text).to_owned()
}

/// Says whether a directory's journal has segments: then it is, or was, a store, whatever its file `STORE` says.
pub(crate) fn holds_segments(store: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(store.join("journal")) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "seg")))
}

/// Why the journal of a store opened for reading ends before its last commit; `None` where it does not.
pub(crate) fn cut_short(store: &Store) -> Option<Refusal> {
    let opening = store.opening();
    let recovery = opening.recovery.as_ref().and_then(|r| r.damage.as_ref());
    let (what, why) = match (recovery, &opening.damage) {
        (Some(damage), _) => ("the journal", damage.to_string()),
        (None, Some(damage)) => ("an event of the journal", damage.to_string()),
        (None, None) => return None,
    };
    let message = format!("{what} is damaged: what you see ends before the damage");
    Some(
        Refusal::new(Kind::Damaged, message)
            .why(why)
            .next("strand verify --data says how far; do not rely on what follows it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_denies_has_its_own_kind_and_a_way_out() {
        let path = Path::new("tank");
        for (from, kind) in [
            (ErrorKind::PermissionDenied, Kind::Permission),
            (ErrorKind::ReadOnlyFilesystem, Kind::ReadOnly),
        ] {
            let refusal = no_directory(path, &from.into());
            assert_eq!(refusal.kind, kind);
            assert!(refusal.next.is_some());
            let error = Error::Journal(JournalError::Io {
                action: "read",
                path: "STORE".into(),
                source: from.into(),
            });
            let refusal = not_opened(path, &error);
            assert_eq!(refusal.kind, kind);
            assert!(refusal.why.is_some_and(|why| why.contains("STORE")));
        }
    }

    #[test]
    fn only_what_never_was_a_store_is_told_to_be_made() {
        let missing = no_directory(Path::new("tank"), &ErrorKind::NotFound.into());
        assert_eq!(missing.next.as_deref(), Some("strand init tank"));
    }
}
