//! Tars and layers, and what they become in a build.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_oci::fuzz::archive(bytes));
