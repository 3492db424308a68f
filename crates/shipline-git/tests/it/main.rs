//! The source repository on real repositories: made with git, in temporary folders.

#![allow(clippy::unwrap_used)]

mod base;
mod kill;
mod source;
mod workspace;
mod world;
