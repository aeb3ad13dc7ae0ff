//! `targets::cifar10` on what libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::cifar10(bytes, targets::scratch()));
