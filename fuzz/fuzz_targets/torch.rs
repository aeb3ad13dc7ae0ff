//! `targets::torch` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::torch(bytes, targets::scratch()));
