//! Shipline's images: store, builders and registries.
