//! VRRP instances between any frames and times. See `weir_tests::fuzz::vrrp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| weir_tests::fuzz::vrrp(octets));
