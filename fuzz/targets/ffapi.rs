//! The target `ffapi`: see `checks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inqueue_fuzz::ffapi_text(data));
