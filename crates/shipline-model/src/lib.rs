//! The pure half of Shipline: `pipeline.yaml` as a checked model, and the plan made from it.
//!
//! Nothing here does I/O, reads a clock or the environment, or is async: text and facts go in, data comes out.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod config;
pub mod finding;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod name;
pub mod path;
pub mod placeholder;
pub mod plan;
pub mod stage_kind;
pub mod stored;
pub mod tag;
pub mod tag_form;
pub mod value;
pub mod yaml;
