//! `pipeline.yaml` as a checked model: every default filled in, every reference resolved, every name a newtype.

mod types;

pub use types::*;
