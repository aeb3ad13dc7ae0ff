//! `targets::cifar10` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::cifar10(bytes, targets::scratch()));
