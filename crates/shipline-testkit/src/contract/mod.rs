//! Contract suites: what every implementation of a backend trait must do, run on the fakes and on the real things.

pub mod gitops;
pub mod registry;
