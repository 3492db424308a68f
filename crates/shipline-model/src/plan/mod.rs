//! The plan: plain data that says what a run will do and why, made before anything happens.

mod affected;
mod key;
mod make;
mod render;
mod scheduler;
mod tasks;
#[cfg(test)]
mod tests;
mod types;

pub use crate::stage_kind::Resource;
pub use affected::{LOCK_FILE, affected, sources};
pub use make::{Caching, PlanError, PlanRequest, Publishing, make};
pub use render::{explain, render};
pub use scheduler::{Ending, Limits, NeverStarts, OnFailure, Scheduler};
pub use types::*;
