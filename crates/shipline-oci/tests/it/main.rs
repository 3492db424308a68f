//! Integration tests of the image crate, one module for each part. `support` holds what they share; a module that compares
//! builders takes its Dockerfiles from the same table.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr
)]

mod build;
mod cases;
mod distribution;
mod docker;
mod ecr;
mod kill;
mod parity;
mod pull;
mod registry;
mod store;
mod support;
mod world;
