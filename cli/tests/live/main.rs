//! Real databases on real mounts: the built binary serves a store, and SQLite and PostgreSQL run on it as separate processes that are
//! killed at random moments, as is the daemon.
//!
//! `machine` knows what this machine offers, `place` is a store with its daemon and mounts, `bank` is the SQLite database and the processes
//! that work on it, `server` a PostgreSQL server. Where FUSE or PostgreSQL is missing a test says so and is skipped;
//! `STRAND_NO_SKIP=1` makes that a failure. Every test makes what it needs in a directory of its own, and ends and unmounts it again,
//! also when it fails. `STRAND_SEED` repeats a run, `STRAND_SOAK=1` makes it long.

mod bank;
mod full_disk;
mod machine;
mod place;
mod postgres;
mod random;
mod server;
mod sqlite;
mod tour;
