//! Shipline's test doubles: contract suites, fakes and the world of the end-to-end tests.

#![allow(clippy::use_debug, reason = "what tests say when they fail")]

pub mod contract;
pub mod ecr;
pub mod git_server;
pub mod memory;
pub mod needs;
pub mod remote;
pub mod secret;
pub mod service;
pub mod small_disk;
pub mod tiny;
pub mod tunnel;
pub mod world;
