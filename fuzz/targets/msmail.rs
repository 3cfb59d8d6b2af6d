//! The target `msmail`: see `checks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inqueue_fuzz::msmail_address(data));
