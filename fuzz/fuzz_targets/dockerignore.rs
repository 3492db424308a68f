//! `.dockerignore`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_oci::fuzz::dockerignore(bytes));
