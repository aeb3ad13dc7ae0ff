//! `targets::table` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::table(bytes, targets::scratch()));
