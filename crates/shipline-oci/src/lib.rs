//! Shipline's images: the store they live in, the builders that make them and the registries that they are published to.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

pub mod archive;
mod blocking;
pub mod build;
pub mod credentials;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod image;
pub mod layout;
pub mod pull;
pub mod registry;
pub mod store;
