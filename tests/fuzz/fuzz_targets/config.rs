//! Configuration files of any octets. See `weir_tests::fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| weir_tests::fuzz::config(octets));
