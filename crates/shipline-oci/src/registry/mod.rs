//! Registries that images are published to.

pub mod distribution;
mod layout;
pub(crate) mod tags;

pub use distribution::DistributionRegistry;
pub use layout::LayoutRegistry;
