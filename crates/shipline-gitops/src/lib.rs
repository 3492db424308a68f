//! Shipline's GitOps repository: byte-exact image edits and compare-and-swap commits.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

mod checkout;
mod deciders;
mod deploy;
pub mod edit;
mod error;
pub mod folder;
mod half;
pub mod image;
mod kustomize;
mod links;
pub mod locate;
mod location;
pub mod record;
mod remote;
mod repository;
mod seed;
mod seen;
mod snapshot;
mod swap;
mod tree;
mod waiting;
mod walk;

pub use error::{EditRefused, RefusedKind, Spot};
pub use links::refuse_links;
pub use location::Location;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use remote::fuzz;
pub use remote::{RemoteGitops, RemoteSettings};
pub use repository::{LocalGitops, LocalSettings};
pub use snapshot::CommitSigner;
