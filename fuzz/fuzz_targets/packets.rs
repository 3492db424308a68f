//! Git's packet lines: refs, reports, bands.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_gitops::fuzz::packets(bytes));
