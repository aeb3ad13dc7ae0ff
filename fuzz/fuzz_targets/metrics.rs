//! `targets::metrics_lines` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::metrics_lines(bytes, targets::scratch()));
