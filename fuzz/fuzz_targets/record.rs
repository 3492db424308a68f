//! Records of runs.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_engine::fuzz::record(bytes));
