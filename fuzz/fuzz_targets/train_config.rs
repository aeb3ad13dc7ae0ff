//! `targets::train_config` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::train_config(bytes, targets::scratch()));
