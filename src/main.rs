//! The `parsec` program: see `parsec --help`.

fn main() {}
