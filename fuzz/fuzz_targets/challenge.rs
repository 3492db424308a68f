//! What registries say in headers, and the answers of token servers.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_oci::fuzz::challenge(bytes));
