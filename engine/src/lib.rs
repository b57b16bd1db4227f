//! Events, commands, state, decide/admit/evolve, and the store that ties them to a journal.
//!
//! The functional core is `decide` (every rule and refusal), `admit` (what may be folded at all) and `evolve` (the only code that changes state):
//! pure and deterministic, no clock, no randomness, no hash maps. The imperative shell is [`Store`]: lock, journal, clock, threads, disks.
//!
//! What must not come in here: printing, terminals, paths of the host, FUSE, sockets.

mod admit;
mod block;
mod clock;
mod command;
mod damage;
mod decide;
pub mod digest;
mod duration;
mod error;
mod event;
mod evolve;
pub mod fold;
mod ids;
mod images;
pub mod in_use;
pub mod jobs;
pub mod last_verify;
pub mod marks;
mod name;
pub mod numbers;
pub mod owner;
mod queue;
pub mod quota;
pub mod radix;
pub mod reaper;
mod refusal;
pub mod schedule;
pub mod space;
mod state;
pub mod statefile;
mod store;
mod views;

pub use admit::{MAX_TIME, admit};
pub use block::{BLOCK, BlockRef, MAX_FILE_BLOCKS, MAX_FILE_SIZE};
pub use clock::{Clock, ManualClock, SystemClock};
pub use command::{Command, Request, View, WriteRun};
pub use damage::Damage;
pub use decide::{BULK_BLOCKS, decide, permitted};
pub use duration::{duration, is_duration, parse_duration};
pub use error::Error;
pub use event::{
    Actor, Bytes, Cause, Event, Grade, MAX_EVENT_BLOCKS, MAX_MEMBERS, MAX_PATHS, MAX_RANGES,
    MAX_RECLAIMED, MAX_RELOCATED, MAX_SHIFTS, MAX_TEXT, MAX_XATTR_VALUE, NewBody, Placed, Range,
    SetAttributes, Shift, Source,
};
pub use evolve::evolve;
pub use ids::{ActorId, CheckpointId, EventTime, Ino, Seq, VolumeId};
pub use images::Images;
pub use in_use::{InUse, Swapped, Writer, swapped};
pub use jobs::{Job, JobInfo, JobKind, JobState, Jobs};
pub use name::{MAX_FILE_NAME, MAX_OBJECT_NAME, MAX_SYMLINK, check_file_name, check_user_name};
pub use queue::Queue;
pub use quota::{Limit, Quota};
pub use refusal::{Kind, Refusal};
pub use schedule::{Keep, Schedule};
pub use space::{GiveUp, Places, Retention};
pub use state::{
    BlockMap, Body, Change, Checkpoint, FileBody, Fileset, Image, Inode, LONGEST_PAUSE, Ledger,
    Names, Origin, Pending, Place, Returned, Roots, Spread, State, UNDO_DEPTH, Volume, What,
    Xattrs,
};
pub use store::{
    Defragged, Done, FileReader, InitOptions, Lease, LeaseInfo, LeftAlone, MovedArchives,
    OpenOptions, Opening, ReclaimOptions, Reclaimed, Step, Store, Trail, base_state,
};
pub use views::Views;

pub use strand_journal::{Access, Block, Durable, StoreId, Ticket};
