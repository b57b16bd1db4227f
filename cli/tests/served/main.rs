//! The suite `cli` again, on stores that a daemon serves: every command goes through the control socket, and every output is the same
//! byte for byte, but for what `strand::DIFFERS` lists.
//!
//! Left out, because they are about a store at rest: `damaged` and `verified` change the files past the program (a damaged store is not
//! served at all), `locking` is about two commands that want one lock, `room` fills small disks, `help` needs no store.

#[path = "../cli/bad_input.rs"]
mod bad_input;
#[path = "../cli/consent.rs"]
mod consent;
#[path = "../cli/conventions.rs"]
mod conventions;
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
mod work;
