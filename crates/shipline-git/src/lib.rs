//! Shipline's source repository on git2: change sets, bases and the workspace.
//!
//! Nothing is ever written into the user's repository: object IDs of uncommitted content are computed in memory.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

mod base;
mod changes;
pub mod error;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod identity;
mod index;
mod large;
mod lfs;
mod manifest;
mod open;
mod plain;
mod scan;
mod source;
mod status;
mod tree;
mod workspace;

pub use base::{Asked, BaseRequest, Deployed, DeployedTag, PullRequest, change_set};
pub use identity::{Identity, Signing, SigningFormat};
pub use large::{Memory, Telling};
pub use plain::repository as refuse_pipes;
pub use source::{GitSource, WorkTree};
