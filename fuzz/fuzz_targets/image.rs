//! `targets::image` on what libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::image(bytes, targets::scratch()));
