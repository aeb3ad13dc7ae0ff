//! `targets::compare` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::compare(bytes, targets::scratch()));
