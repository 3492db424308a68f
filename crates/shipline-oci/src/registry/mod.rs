//! Registries that images are published to.

pub mod distribution;
pub mod ecr;
mod layout;
pub(crate) mod tags;

pub use distribution::DistributionRegistry;
pub use ecr::EcrRegistry;
pub use layout::LayoutRegistry;
