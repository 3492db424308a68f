//! Masking and cleaning of foreign text.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_engine::fuzz::redact(bytes));
