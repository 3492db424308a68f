//! The engine on backends in memory and real processes.

#![allow(
    clippy::use_debug,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests start programs, fail at once, and look at one thing of many"
)]

mod attach;
mod cancel;
mod plain;
mod process;
mod publish;
mod record;
mod redaction;
mod reporter;
mod schedule;
mod workspace;
mod world;
