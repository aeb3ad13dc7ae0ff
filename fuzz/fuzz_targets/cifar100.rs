//! `targets::cifar100` on what libFuzzer makes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::cifar100(bytes, targets::scratch()));
