//! Documents about images: manifests, indexes, configs, archives of images, `pipeline.lock`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shipline_oci::fuzz::image(bytes));
