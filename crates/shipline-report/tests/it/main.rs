//! Reporters, by replaying runs that are made by hand.

#![allow(clippy::unwrap_used)]

mod json;
mod plain;
mod runs;
mod screen;
mod terminal;
