//! Shipline's GitOps repository: byte-exact image edits and compare-and-swap commits.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

mod application;
mod chart;
mod checkout;
mod choice;
mod deploy;
pub mod edit;
mod error;
pub mod files;
pub mod folder;
mod half;
pub mod image;
mod kustomization;
mod links;
mod locate;
mod location;
mod nodes;
mod ops;
mod parsed;
mod patch;
mod place;
mod places;
pub mod record;
mod remote;
mod rendering;
mod repository;
mod rule;
mod seed;
mod seen;
mod snapshot;
mod swap;
mod transformer;
mod tree;
mod waiting;
mod world;

pub use error::{EditRefused, RefusedKind, Spot};
pub use links::refuse_links;
pub use location::{Location, SshAddress};
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use remote::fuzz;
pub use remote::{RemoteGitops, RemoteSettings};
pub use repository::{LocalGitops, LocalSettings};
pub use snapshot::CommitSigner;
