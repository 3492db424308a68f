//! The source repository on real repositories: made with git, in temporary folders.

#![allow(
    clippy::use_debug,
    clippy::unwrap_used,
    reason = "what tests say when they fail"
)]

mod base;
mod files;
mod kill;
mod source;
mod workspace;
mod world;
