//! Dockerfiles: lines, instructions, expansion and patterns of the shell.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_oci::fuzz::dockerfile(bytes));
