//! The control socket: how commands reach a store that a daemon holds. The journal is the interface for reading, this is the one for
//! changing: requests are the engine's own commands, and answers say where their events went.
//!
//! `message` is what is said, `wire` how it is framed, `socket` where. `server` takes clients, `session` answers one of them, and `client`
//! is the other side. `work` is what goes on in the background. `http` shows the metrics on a loopback port. No rule of the store lives here.

mod client;
mod http;
mod leases;
pub mod message;
mod server;
mod session;
mod socket;
mod wire;
mod work;

pub use client::{Client, Mounting};
pub(crate) use http::Port;
pub use http::{Loopback, NotLoopback};
pub use message::{MountPoint, PROTOCOL, Status};
pub use server::{Asked, Server};
pub use socket::{CONTROL, Stale};
pub use work::keep_archive;
