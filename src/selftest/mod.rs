//! Every kernel, and whole children, on an adapter against the f64 reference → a report.
//!
//! [`cases`] says what is computed and what must come out, [`setup`] lays it out in memory, [`run`] runs and
//! compares. Nothing here decides a tolerance after the fact: each stands beside its reason.

pub mod cases;
pub mod run;
pub mod setup;
