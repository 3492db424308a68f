//! Manifests of a GitOps repository, and the edit of an image in them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_gitops::fuzz::manifest(bytes));
