//! Whole networks in f64.
