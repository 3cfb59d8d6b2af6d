//! The target `tables`: see `checks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inqueue_fuzz::tables(data));
