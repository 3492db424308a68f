//! Shipline's scanners: what looks into images before they are published.

mod layers;
pub mod leaks;
pub mod sbom;
#[cfg(test)]
mod testing;
