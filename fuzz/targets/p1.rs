//! The target `p1`: see `checks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inqueue_fuzz::p1_file(data));
