//! `pipeline.yaml`, and edits of YAML.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_model::fuzz::pipeline(bytes));
