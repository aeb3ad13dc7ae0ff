//! `targets::metrics_lines` on what libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::metrics_lines(bytes, targets::scratch()));
