//! The built binary, driven as a person or a script would. One test program, so that it is linked once.
//!
//! `strand` runs it and makes what its output holds of clocks, processes and places the same everywhere; `town` is the
//! scripted store that most tests begin with. Golden outputs are in `snapshots/cli`.

mod bad_input;
mod consent;
mod conventions;
mod damaged;
mod events;
mod examples;
mod files;
mod giving;
mod help;
mod interrupted;
mod keeping;
mod locking;
mod outputs;
mod removal;
mod room;
mod stories;
mod strand;
mod town;
mod verified;
