//! The audit trail: who changed what and when, read from the journal's end backwards.
//!
//! `back` walks events newest first, `filter` chooses among them, `touch` says what an event concerns, `rows` collapses runs into
//! what a person reads, `events` gives them raw, `expand` lists the blocks of a bulk movement. Nothing here prints.

mod back;
mod events;
mod expand;
mod filter;
mod labels;
mod rows;
mod run;
mod sentence;
pub(crate) mod touch;

pub(crate) use back::read_all;
pub use back::{Logged, NewestFirst, newest_first};
pub use events::{EventRow, Events, events, events_after};
pub use expand::{Moved, expand};
pub use filter::{Filter, files_at};
pub use labels::{Labels, actor_label, actor_value, cause_name};
pub use rows::{Passed, Row, Rows, rows};
