//! Live use: a daemon holds a store, mounts its volumes and answers commands over a control socket. No rule of the store lives here:
//! requests of the kernel and of clients become the engine's own commands.

mod actors;
mod committer;
pub mod control;
mod core;
pub mod daemon;
mod errno;
mod fuse;
mod ground;
mod handles;
mod housekeeper;
mod live;
mod memory;
mod metrics;
mod mounted;
pub mod mountinfo;
mod nodes;
mod scheduler;
mod settler;
mod ticker;

pub use live::{Force, Live, LiveOptions, MountInfo, MountRequest, Seen};
pub use metrics::{Figures, Metrics, Op, OpFigures, SlowFigures};
