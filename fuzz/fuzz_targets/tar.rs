//! `targets::tar` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::tar(bytes, targets::scratch()));
