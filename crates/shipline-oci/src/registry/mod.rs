//! Registries that images are published to.

mod layout;

pub use layout::LayoutRegistry;
