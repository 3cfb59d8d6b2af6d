//! The target `event`: see `checks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inqueue_fuzz::event_line(data));
