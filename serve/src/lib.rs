//! Live use: a daemon holds a store, mounts its volumes and answers commands over a control socket. No rule of the store lives here:
//! requests of the kernel and of clients become the engine's own commands.

mod live;

pub use live::{Force, Live, LiveOptions, MountInfo, MountRequest};
