//! End-to-end tests: the real binary in a scrubbed world; and the repository's own order (`tidy`).

#![allow(
    clippy::use_debug,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start programs and fail where something is not as it must be"
)]

mod aws;
mod budget;
mod cancel;
mod changes;
mod concurrency;
mod disk;
mod docs;
mod engine;
mod faults;
mod gitops_set;
mod gitops_ssh;
mod leaks;
mod lock;
mod output;
mod pipeline;
mod planning;
mod platform;
mod recipes;
mod recovery;
mod registries;
mod sbom;
mod sbom_peer;
mod seen;
mod shown;
mod state;
mod store;
mod texts;
mod tidy;
mod trust;
mod usage;
