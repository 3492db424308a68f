//! Reporters, by replaying runs that are made by hand.

#![allow(
    clippy::use_debug,
    clippy::unwrap_used,
    reason = "what tests say when they fail"
)]

mod json;
mod plain;
mod runs;
mod screen;
mod terminal;
