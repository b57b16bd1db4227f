//! A frame: header blocks (core, leaves, zeros, crc32) and the payload blocks behind them.
//!
//! `core` has the byte offsets; `build` makes a header, `parse` checks one and reads its records. Nothing here touches
//! a disk.

mod build;
pub(crate) mod core;
mod parse;

pub(crate) use build::{Placed, write_header};
pub(crate) use core::{Layout, NO_BLOCK, flags, header_blocks_for, header_fits, record_len};
pub use parse::{Crcs, Entries, Entry, Frame, FrameError};
pub(crate) use parse::{looks_like_frame, shape};
