//! SQLite directly on a volume: a VFS whose files are the volume's, so that every page SQLite writes is an event.
//!
//! [`vfs`] speaks SQLite's C interface and holds all the `unsafe`; [`volume`] is the safe half, over a store; [`locks`] is
//! the pure rule of SQLite's file locks; [`scratch`] keeps SQLite's nameless temporary files in memory. Nothing in here
//! knows of the demo.

mod locks;
mod scratch;
mod vfs;
mod volume;

pub(crate) use vfs::SqliteVfs;

#[cfg(test)]
mod tests;
