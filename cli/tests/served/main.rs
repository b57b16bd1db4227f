//! The suite `cli` again, on stores that a daemon serves: every command goes through the control socket, and every output is the same
//! byte for byte, but for what `strand::DIFFERS` lists.
//!
//! What is left out, and why, `same` says, and sees that nothing else is.

#[path = "../cli/bad_input.rs"]
mod bad_input;
#[path = "../cli/consent.rs"]
mod consent;
#[path = "../cli/conventions.rs"]
mod conventions;
#[path = "../cli/events.rs"]
mod events;
#[path = "../cli/examples.rs"]
mod examples;
#[path = "../cli/files.rs"]
mod files;
#[path = "../cli/giving.rs"]
mod giving;
#[path = "../cli/interrupted.rs"]
mod interrupted;
#[path = "../cli/keeping.rs"]
mod keeping;
#[path = "../cli/outputs.rs"]
mod outputs;
#[path = "../cli/removal.rs"]
mod removal;
#[path = "../cli/stories.rs"]
mod stories;
#[path = "../cli/strand.rs"]
mod strand;
#[path = "../cli/town.rs"]
mod town;

mod daemon;
mod mounts;
mod same;
mod work;
