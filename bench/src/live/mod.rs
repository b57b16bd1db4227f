//! Live use: the built binary serves a store, and what works on its mount is measured in turns with the same on the file system that
//! the store lies on.
//!
//! `bed` is a served store beside a plain directory; `files` measures system calls, `databases` PostgreSQL (on `server`), `views` mounts,
//! clones and checkpoints under load, `soak` the daemon's memory. Not part of the whole table, because it needs the binary `strand` in a
//! release build beside this one (`cargo build --release`; or `STRAND_BIN` names one), FUSE, some minutes, and PostgreSQL 15 for
//! its part.

mod bed;
mod databases;
mod files;
mod server;
mod soak;
mod views;

pub(crate) use databases::measure as databases;
pub(crate) use files::measure as files;
pub(crate) use soak::measure as soak;
pub(crate) use views::measure as views;
