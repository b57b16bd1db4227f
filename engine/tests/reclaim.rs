//! Space given back: what is dead goes, what is alive stays and reads as ever, wherever a crash or a failing disk comes between.
#![allow(clippy::unwrap_used)] // all of it is test code

mod reclaim {
    mod defrag;
    mod faults;
    mod room;
    mod space;
    mod town;
    mod views;
}
