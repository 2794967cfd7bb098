//! Bursts of nearly right frames through two workers. See `weir_tests::fuzz::pipeline`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| weir_tests::fuzz::pipeline(octets));
