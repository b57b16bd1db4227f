//! The control socket, spoken to by good clients and by bad ones: what a peer may do to the daemon is bounded, and ends with it.
#![allow(clippy::unwrap_used)] // all of it is test code

mod bad_clients;
mod good_clients;
mod setting;
mod work;
