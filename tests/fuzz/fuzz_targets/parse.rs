//! Frames of any octets, and all answers to them. See `weir_tests::fuzz::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| weir_tests::fuzz::parse(octets));
