//! Integration tests of the image crate, one module for each part. `support` holds what they share; a module that compares
//! builders takes its Dockerfiles from the same table.
#![allow(
    clippy::use_debug,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr
)]

mod archives;
mod bases;
mod bearer;
mod build;
mod cases;
mod credentials;
mod distribution;
mod docker;
mod dockerfiles;
mod ecr;
mod kill;
mod lost;
mod moto;
mod odd;
mod parity;
mod pull;
mod redirects;
mod referrers;
mod registry;
mod store;
mod support;
mod tls;
mod tools;
mod world;
