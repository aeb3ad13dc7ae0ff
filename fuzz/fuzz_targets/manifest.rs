//! `targets::manifest` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::manifest(bytes, targets::scratch()));
