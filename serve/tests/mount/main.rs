//! Real mounts, in temporary directories. Without `/dev/fuse` these tests say so and pass; with `STRAND_NO_SKIP=1` they fail then.
#![allow(clippy::unwrap_used)] // all of it is test code

mod alike;
mod commands;
mod durability;
mod files;
mod full;
mod names;
mod obstacles;
mod rollback;
mod setting;
mod smoke;
mod strand;
