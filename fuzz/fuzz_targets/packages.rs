//! Package data in texts.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_scan::fuzz::packages(bytes));
