//! The narrow traits through which stages reach the outside. Each has a real and a fake implementation and one contract
//! suite (in `shipline-testkit`) that runs on both.
//!
//! Blocking traits are called on blocking threads; async ones are cancelled by the [`TaskContext`](crate::task::TaskContext),
//! never by being dropped.

mod artifact;
mod builder;
mod cataloguer;
mod gitops;
mod registry;
mod scanner;
mod source;
mod store;
mod visitor;

pub use artifact::*;
pub use builder::*;
pub use cataloguer::*;
pub use gitops::*;
pub use registry::*;
pub use scanner::*;
pub use source::*;
pub use store::*;
pub use visitor::*;
