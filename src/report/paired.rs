//! Results of methods that share seeds → the mean difference of two methods, with an interval.
//!
//! A seed decides the batches and the first weights of both methods' runs. Therefore the difference within a seed
//! varies less than the results do. The interval is Student's, which assumes that the differences are draws from one
//! normal distribution.

use serde::{Deserialize, Serialize};

use super::comparison::{Entry, Spread};

/// The measured number in a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Fraction of the test images that the trained network classifies correctly, 0 to 1.
    Accuracy,
    /// The number of the architecture in a table, in the table's unit.
    Published,
}

impl Measure {
    /// The measured number of a run. `None` if it was not measured.
    fn of(self, entry: &Entry) -> Option<f64> {
        match self {
            Self::Accuracy => entry.accuracy,
            Self::Published => entry.by_table.and_then(|by_table| by_table.published),
        }
    }
}

/// Difference between the results of two methods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The method.
    pub method: String,
    /// The other method.
    pub against: String,
    /// The measured number.
    pub of: Measure,
    /// Number of seeds that both methods have.
    pub n: usize,
    /// Mean over the seeds of the method's number minus the other method's number.
    pub mean: f64,
    /// Standard deviation of the differences with n − 1. `None` for a single difference.
    pub sd: Option<f64>,
    /// Lower end of the 95 % interval of the mean. `None` for a single difference.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval of the mean. `None` for a single difference.
    pub high: Option<f64>,
}

/// The first method among `entries` against each other method, in the order of the entries. Differences of accuracy
/// come first, then differences of the table's numbers. A pair of methods is left out if the two methods have no seed
/// in common.
pub fn differences(entries: &[Entry]) -> Vec<Difference> {
    let mut methods: Vec<&str> = Vec::new();
    for entry in entries {
        if !methods.contains(&entry.method.as_str()) {
            methods.push(&entry.method);
        }
    }
    let Some((first, others)) = methods.split_first() else { return Vec::new() };
    let of = |measure: Measure| {
        others.iter().filter_map(move |against| difference(entries, first, against, measure))
    };
    of(Measure::Accuracy).chain(of(Measure::Published)).collect()
}

fn difference(entries: &[Entry], method: &str, against: &str, of: Measure) -> Option<Difference> {
    let value = |method: &str, seed: u64| {
        let entry = entries.iter().find(|entry| entry.method == method && entry.seed == seed);
        entry.and_then(|entry| of.of(entry))
    };
    let own = entries.iter().filter(|entry| entry.method == method);
    let values: Vec<f64> =
        own.filter_map(|entry| Some(of.of(entry)? - value(against, entry.seed)?)).collect();
    if values.is_empty() {
        return None;
    }
    let Spread { mean, sd } = Spread::of(&values);
    let n = values.len();
    let half = sd.map(|sd| student95(n as u32 - 1) * sd / (n as f64).sqrt());
    Some(Difference {
        method: method.to_owned(),
        against: against.to_owned(),
        of,
        n,
        mean,
        sd,
        low: half.map(|half| mean - half),
        high: half.map(|half| mean + half),
    })
}

impl Difference {
    /// The difference in plain words. Accuracies are in percentage points, other numbers in the unit of `key`.
    pub fn text(&self, key: &str) -> String {
        let (scale, unit) = match self.of {
            Measure::Accuracy => (100.0, "points".to_owned()),
            Measure::Published => (1.0, format!("of `{key}`")),
        };
        let ends = match (self.low, self.high) {
            (Some(low), Some(high)) => {
                format!("95 % interval {:+.2} to {:+.2}, {} seeds", scale * low, scale * high, self.n)
            }
            _ => "1 seed, which gives no interval".into(),
        };
        format!("{} - {}: {:+.2} {unit} ({ends})", self.method, self.against, scale * self.mean)
    }
}

/// The 0.975 quantile of Student's t with `df` degrees of freedom, at least 1. It bounds a two-sided interval of 95 %.
pub fn student95(df: u32) -> f64 {
    // The quantile is 12.7 for one degree of freedom and falls towards 1.96.
    let (mut low, mut high) = (1.0, 16.0);
    while high - low > 1e-13 * high {
        let middle = 0.5 * (low + high);
        if student_within(middle, df) < 0.95 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// P(|T| < t) of Student's t with `df` degrees of freedom, by the finite sums of Abramowitz and Stegun, 26.7.3 and
/// 26.7.4, with θ = atan(t/√df). For odd `df`: 2/π (θ + sin θ (cos θ + 2/3 cos³ θ + ...)). For even `df`: sin θ (1 +
/// 1/2 cos² θ + 1·3/(2·4) cos⁴ θ + ...). The last power is df − 2.
fn student_within(t: f64, df: u32) -> f64 {
    let theta = (t / f64::from(df).sqrt()).atan();
    let (sin, cos) = theta.sin_cos();
    let is_odd = df % 2 == 1;
    let mut power = if is_odd { 1 } else { 0 };
    let (mut term, mut sum) = (if is_odd { cos } else { 1.0 }, 0.0);
    while power + 2 <= df {
        sum += term;
        term *= cos * cos * f64::from(power + 1) / f64::from(power + 2);
        power += 2;
    }
    if is_odd { (theta + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum }
}
