//! Shipline's scanners.
