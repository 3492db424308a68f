//! The GitOps repository on real git repositories, and the edit on real shapes of manifests.
#![allow(
    clippy::use_debug,
    clippy::unwrap_used,
    reason = "what tests say when they fail"
)]

mod checkout;
mod edit;
mod exact;
mod layouts;
mod local;
mod oracle;
mod places;
mod processes;
mod random;
mod remote;
mod structure;
mod support;
