//! The plan: plain data that says what a run will do and why, made before anything happens.

mod types;

pub use types::*;
