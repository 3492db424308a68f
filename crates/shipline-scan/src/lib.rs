//! Shipline's scanners: what looks into images before they are published.

/// The rules that findings of this version have.
pub const RULES: &[&str] = &[leaks::RULE];

mod layers;
pub mod leaks;
pub mod sbom;
#[cfg(test)]
mod testing;
