//! Shipline's GitOps repository: byte-exact image edits and compare-and-swap commits.

mod checkout;
pub mod edit;
mod error;
mod half;
pub mod image;
pub mod locate;
mod patience;
pub mod record;
mod repository;
mod seed;
mod snapshot;

pub use error::{EditRefused, RefusedKind, Spot};
pub use repository::{LocalGitops, LocalSettings};
