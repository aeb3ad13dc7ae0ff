//! The tests of the kernels, one file per op. A test has inputs, and outputs that follow from `reference`.
//!
//! A test runs all passes of its op. Each pass has its own inputs, so that an error in one pass does not affect
//! another.

mod batch_norm;
mod conv;
mod depthwise;
mod elementwise;
mod head;
mod mix;
mod optimizer;
mod pack;
mod pointwise;
mod pool;
mod probe;
mod sampling;

use std::fmt::Debug;

use super::setup::Setup;
use crate::ops::Tuning;

/// A test as plain data. The `Debug` form of a test is its name.
pub trait Oracle: Debug + Send + Sync {
    /// Inputs, launches and expected outputs.
    fn setup(&self, s: &mut Setup);
}

/// A test.
#[derive(Debug)]
pub struct Case(Box<dyn Oracle>);

impl Case {
    fn new(oracle: impl Oracle + 'static) -> Self {
        Self(Box::new(oracle))
    }

    /// The name of the test: `op field=value ...`.
    pub fn name(&self) -> String {
        name(&self.0)
    }

    /// The test with its data, ready to run.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::new(&self.name());
        self.0.setup(&mut setup);
        setup
    }
}

/// All cases, ordered by op.
pub fn all() -> Vec<Case> {
    let mut cases = conv::cases();
    cases.extend(depthwise::cases());
    cases.extend(pointwise::cases());
    cases.extend(pool::cases());
    cases.extend(sampling::cases());
    cases.extend(batch_norm::cases());
    cases.extend(elementwise::cases());
    cases.extend(mix::cases());
    cases.extend(head::cases());
    cases.extend(optimizer::cases());
    cases.extend(pack::cases());
    cases.extend(probe::cases());
    cases
}

/// Cases by shader. They test the kernels that have several forms, in the forms of `tuning`, and the kernels on which
/// all forms depend.
pub fn of(tuning: &Tuning) -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("apply", elementwise::cases()),
        ("batch_norm", batch_norm::cases_of(tuning)),
        ("pointwise", pointwise::cases_of(tuning)),
        ("depthwise", depthwise::cases_of(tuning)),
        ("pool", pool::cases_of(tuning)),
        ("linear", head::cases_of(tuning)),
    ]
}

/// The `Debug` form of a plain struct as `op field=value ...`.
pub fn name(plain: &dyn Debug) -> String {
    let mut name = String::new();
    let mut depth = 0;
    for c in format!("{plain:?}").chars() {
        match c {
            '{' | '}' => continue,
            '[' => depth += 1,
            ']' => depth -= 1,
            ' ' if depth > 0 || name.ends_with([' ', '=']) => continue,
            ',' if depth == 0 => continue,
            ':' => {
                name.push('=');
                continue;
            }
            _ => {}
        }
        name.extend(c.to_lowercase());
    }
    name.trim_end().to_owned()
}
