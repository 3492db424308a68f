//! The GitOps repository on real git repositories, and the edit on real shapes of manifests.
#![allow(clippy::unwrap_used)]

mod checkout;
mod edit;
mod local;
mod places;
mod processes;
mod random;
mod remote;
mod support;
