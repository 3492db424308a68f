//! Shipline's scanners: what looks into images before they are published.

pub mod leaks;
