//! Package data in binary files: rpm's databases, jars, executables.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_scan::fuzz::binaries(bytes));
