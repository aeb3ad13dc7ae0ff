//! Results of methods with several seeds → mean and standard deviation, as a table and a plot.

use serde::{Deserialize, Serialize};

use super::plot::{Axis, COLOURS, number};
use super::svg::{Anchor, FAINT, GREY, INK, Svg, n};

/// Numbers of an architecture in a table of published numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByTable {
    /// Number of the architecture, in the table's unit. `None` if the architecture is not in the table.
    pub published: Option<f64>,
    /// The best number of the table within the space minus this number, in the same unit.
    pub regret: Option<f64>,
}

/// A search by one method with one seed, and the training of the architecture that it found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The method.
    pub method: String,
    /// The seed of both runs.
    pub seed: u64,
    /// The architecture that the search found.
    pub genotype: String,
    /// Fraction of the test images that the last weights classify correctly, with running statistics. `None` where
    /// nothing is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Numbers from the table, where there is a table.
    #[serde(flatten)]
    pub by_table: Option<ByTable>,
    /// Parameters of the final network, without the auxiliary head.
    pub parameters: u64,
    /// Multiply-adds per image.
    pub macs: u64,
    /// Seconds in the steps of the search; 0 if no search was needed.
    pub search_seconds: f64,
    /// Bytes of the largest arena of the search; 0 if no search was needed.
    pub arena_bytes: u64,
}

impl Entry {
    fn published(&self) -> Option<f64> {
        self.by_table.and_then(|by_table| by_table.published)
    }

    fn regret(&self) -> Option<f64> {
        self.by_table.and_then(|by_table| by_table.regret)
    }
}

/// Mean and standard deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n − 1. `None` for a single value.
    pub sd: Option<f64>,
}

impl Spread {
    /// The spread of at least one value. Without a value the mean is NaN.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self { mean, sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) }
    }
}

/// Numbers of one method's architectures in a table, over the seeds whose architectures are in the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RowByTable {
    /// Published numbers of the architectures. `None` if none of them is in the table.
    pub published: Option<Spread>,
    /// The best number of the table minus the numbers of the architectures.
    pub regret: Option<Spread>,
    /// Number of seeds whose architecture is not in the table.
    pub n_not_held: usize,
}

/// One method over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// Number of seeds.
    pub n: usize,
    /// Fraction of the test images that is classified correctly. `None` where nothing is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Spread>,
    /// Numbers from the table, where there is a table.
    #[serde(flatten)]
    pub by_table: Option<RowByTable>,
    /// Parameters without the auxiliary head.
    pub parameters: Spread,
    /// Multiply-adds per image.
    pub macs: Spread,
    /// Seconds in the steps of the search.
    pub search_seconds: Spread,
    /// Bytes of the largest arena of the search.
    pub arena_bytes: Spread,
}

/// A reported metric of a run, in the unit of the report. A column without a value in any run is left out.
struct Column {
    title: &'static str,
    digits: usize,
    value: fn(&Entry) -> Option<f64>,
}

const MIB: f64 = (1u64 << 20) as f64;
const COLUMNS: [Column; 7] = [
    Column { title: "test accuracy %", digits: 2, value: |e| e.accuracy.map(|accuracy| 100.0 * accuracy) },
    Column { title: "published", digits: 2, value: Entry::published },
    Column { title: "regret", digits: 2, value: Entry::regret },
    Column { title: "parameters", digits: 0, value: |e| Some(e.parameters as f64) },
    Column { title: "MACs, millions", digits: 3, value: |e| Some(e.macs as f64 / 1e6) },
    Column { title: "search seconds", digits: 1, value: |e| Some(e.search_seconds) },
    Column { title: "peak arena, MiB", digits: 2, value: |e| Some(e.arena_bytes as f64 / MIB) },
];

fn columns(entries: &[Entry]) -> Vec<&'static Column> {
    COLUMNS.iter().filter(|c| entries.iter().any(|e| (c.value)(e).is_some())).collect()
}

/// The methods in the order of their first entries.
fn by_method(entries: &[Entry]) -> Vec<(&str, Vec<&Entry>)> {
    let mut groups: Vec<(&str, Vec<&Entry>)> = vec![];
    for entry in entries {
        match groups.iter_mut().find(|(method, _)| *method == entry.method) {
            Some((_, group)) => group.push(entry),
            None => groups.push((&entry.method, vec![entry])),
        }
    }
    groups
}

/// Spread over the runs that have a value.
fn spread(group: &[&Entry], value: impl Fn(&Entry) -> Option<f64>) -> Option<Spread> {
    let values: Vec<f64> = group.iter().filter_map(|e| value(e)).collect();
    (!values.is_empty()).then(|| Spread::of(&values))
}

/// The rows of the table, one per method, in the order of the methods' first entries.
pub fn comparison_rows(entries: &[Entry]) -> Vec<Row> {
    let row = |(method, group): (&str, Vec<&Entry>)| {
        let all = |value: fn(&Entry) -> f64| Spread::of(&group.iter().map(|e| value(e)).collect::<Vec<_>>());
        let by_table = group.iter().any(|e| e.by_table.is_some()).then(|| RowByTable {
            published: spread(&group, Entry::published),
            regret: spread(&group, Entry::regret),
            n_not_held: group.iter().filter(|e| e.published().is_none()).count(),
        });
        Row {
            method: method.to_owned(),
            n: group.len(),
            accuracy: spread(&group, |e| e.accuracy),
            by_table,
            parameters: all(|e| e.parameters as f64),
            macs: all(|e| e.macs as f64),
            search_seconds: all(|e| e.search_seconds),
            arena_bytes: all(|e| e.arena_bytes as f64),
        }
    };
    by_method(entries).into_iter().map(row).collect()
}

/// The table as text: mean ± standard deviation.
pub fn comparison_text(entries: &[Entry]) -> String {
    let columns = columns(entries);
    let mut lines = vec![vec!["method".to_owned(), "seeds".into()]];
    lines[0].extend(columns.iter().map(|c| c.title.to_owned()));
    for (method, group) in by_method(entries) {
        let mut line = vec![method.to_owned(), group.len().to_string()];
        line.extend(columns.iter().map(|c| {
            let Some(Spread { mean, sd }) = spread(&group, c.value) else { return "-".to_owned() };
            let sd = sd.map(|sd| format!(" ± {sd:.*}", c.digits)).unwrap_or_default();
            format!("{mean:.*}{sd}", c.digits)
        }));
        lines.push(line);
    }
    let width = |i: usize| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let text = lines.iter().map(|line| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    text.collect()
}

const SIZE: (f64, f64) = (460.0, 60.0);
/// Left and right ends of the axis, and the height of a method's line. The longest method name fits left of the axis.
const LEFT: f64 = 110.0;
const RIGHT: f64 = SIZE.0 - 24.0;
const LINE: f64 = 34.0;

/// One panel per column and one line per method, with a dot for each seed, a stroke for the mean, and a bar of one
/// standard deviation to either side.
pub fn comparison_svg(entries: &[Entry]) -> String {
    let (groups, columns) = (by_method(entries), columns(entries));
    let height = SIZE.1 + LINE * groups.len() as f64;
    let mut svg = Svg::new(2.0 * SIZE.0, height * columns.len().div_ceil(2) as f64);
    for (i, column) in columns.iter().enumerate() {
        let at = (SIZE.0 * (i % 2) as f64, height * (i / 2) as f64);
        svg.line(&format!(r#"<g transform="translate({} {})">"#, n(at.0), n(at.1)));
        panel(&mut svg, column, &groups, height);
        svg.line("</g>");
    }
    svg.finish()
}

fn panel(svg: &mut Svg, column: &Column, groups: &[(&str, Vec<&Entry>)], height: f64) {
    let spreads: Vec<Option<Spread>> = groups.iter().map(|(_, group)| spread(group, column.value)).collect();
    let known = spreads.iter().flatten();
    let ends = known.flat_map(|s| [-1.0, 1.0].map(|side| s.mean + side * s.sd.unwrap_or(0.0)));
    let values = groups.iter().flat_map(|(_, group)| group.iter().filter_map(|e| (column.value)(e)));
    let axis = Axis::over(values.chain(ends)).padded();
    let x = |value: f64| LEFT + axis.share(value) * (RIGHT - LEFT);
    let bottom = height - 26.0;
    svg.text((LEFT, 16.0), 13.0, Anchor::Start, INK, column.title);
    for tick in axis.ticks(5) {
        svg.path(&format!("M{} 30V{}", n(x(tick)), n(bottom)), FAINT, 1.0);
        svg.text((x(tick), bottom + 12.0), 11.0, Anchor::Middle, GREY, &number(tick));
    }
    for (i, (((method, group), spread), colour)) in
        groups.iter().zip(&spreads).zip(COLOURS.iter().cycle()).enumerate()
    {
        let y = 30.0 + LINE * (i as f64 + 0.5);
        svg.text((LEFT - 10.0, y), 12.0, Anchor::End, INK, method);
        let Some(spread) = spread else { continue };
        if let Some(sd) = spread.sd {
            svg.path(
                &format!("M{} {}H{}", n(x(spread.mean - sd)), n(y), n(x(spread.mean + sd))),
                colour,
                2.0,
            );
        }
        svg.path(&format!("M{} {}v16", n(x(spread.mean)), n(y - 8.0)), colour, 2.5);
        for value in group.iter().filter_map(|e| (column.value)(e)) {
            let cx = x(value);
            svg.line(&format!(
                r#"<circle cx="{}" cy="{}" r="3.5" fill="{colour}" fill-opacity="0.55"/>"#,
                n(cx),
                n(y)
            ));
        }
    }
}
