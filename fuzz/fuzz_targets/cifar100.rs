//! `targets::cifar100` on inputs of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::cifar100(bytes, targets::scratch()));
