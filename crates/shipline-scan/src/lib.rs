//! Shipline's scanners: what looks into images before they are published.

#![cfg_attr(
    test,
    allow(clippy::use_debug, reason = "what tests say when they fail")
)]

/// The rules that findings of this version have.
pub const RULES: &[&str] = &[leaks::RULE];

pub mod inventory;
mod layers;
pub mod leaks;
pub mod sbom;
#[cfg(test)]
mod testing;

pub use layers::StoreReader;
