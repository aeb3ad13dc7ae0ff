//! Drawings and plots.
