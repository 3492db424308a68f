//! Git's index.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_git::fuzz::index(bytes));
