//! What carries a plan out: the run loop, its events, child processes, redaction, records, and the traits of the
//! backends that stages work with. No vendor is named here.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod archive;
pub mod backend;
pub mod cache;
pub mod disk;
pub mod error;
pub mod event;
pub mod fault;
pub mod findings;
pub mod folder;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod glob;
pub mod lock;
pub mod process;
pub mod record;
pub mod redact;
pub mod run;
mod stage;
pub mod task;
pub mod tools;
mod workspace;
pub mod zstd;
