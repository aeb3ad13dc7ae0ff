//! `parsec rank RUN --table FILE` → agreement between the ranking by a search's shared weights and a known ranking.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use serde::Serialize;

use super::Ui;
use super::table::{Entry, Held, Table};
use crate::config::{Config, Resolved};
use crate::error::{Error, Result};
use crate::report::rank::{kendall, spearman, spearman_interval};
use crate::rng::{Purpose, stream};
use crate::run::{Progress, RunDir};
use crate::runner::search::with_weights;
use crate::search::Search;

/// With fewer architectures a rank correlation has no interval.
const MIN_ARCHITECTURES: usize = 4;

/// The flags of `rank`.
#[derive(Debug, clap::Args)]
pub struct RankArgs {
    /// A search run; the shared weights of its newest good checkpoint are used
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Architectures with known numbers, as JSON: a list of objects with a `genotype`, or an object from
    /// architectures to objects
    #[arg(long, value_name = "FILE")]
    pub table: PathBuf,
    /// The number to compare with, parts separated by dots (test_accuracy.600); default: mean_acc, accuracy or
    /// test_accuracy.600, the first that is there
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Draw N of the architectures of the table that are in the space; default: all
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Seed of this draw; default: 0
    #[arg(long, value_name = "N", requires = "count")]
    pub seed: Option<u64>,
    /// Evaluate on N held-out images, taken from all classes; default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub images: Option<u32>,
}

/// The printed results.
#[derive(Serialize)]
struct Outcomes {
    n: usize,
    /// `None` if all numbers or all scores are equal.
    spearman: Option<f64>,
    /// Lower end of the 95 % interval of Spearman's correlation. `high` is the upper end.
    low: Option<f64>,
    high: Option<f64>,
    kendall: Option<f64>,
    /// Mean log-likelihood per image of each architecture in the order of the table, nats.
    scores: Vec<f64>,
    /// The architectures, in the order of `scores`.
    genotypes: Vec<String>,
    /// Name of the number in the table.
    key: String,
    images: usize,
}

/// Ranks the architectures and prints the results.
pub fn rank(args: &RankArgs, ui: &Ui) -> Result<()> {
    // All errors of the run and the table are found before the data are read.
    let run = search_run(&args.run)?;
    let config = run.config()?;
    let held = Table::read(&args.table)?.held(&*config.space()?, args.key.as_deref(), "--key")?;
    let Held { key, entries, left_out } = held;
    let left_out = left_out.map(|(n, first)| {
        let of = n + entries.len();
        format!(
            "{n} of {of} architectures of the table are not in the space of the run; the first is {first}"
        )
    });
    let entries = drawn(entries, args)?;

    let mut search = with_weights(&run, config, &ui.events())?;
    let (scores, images) = scores(&mut search, &entries, args, ui)?;
    let values: Vec<f64> = entries.iter().map(|entry| entry.value).collect();
    let spearman = spearman(&scores, &values);
    let interval = spearman.and_then(|rho| spearman_interval(rho, scores.len()));
    let outcomes = Outcomes {
        n: scores.len(),
        spearman,
        low: interval.map(|[low, _]| low),
        high: interval.map(|[_, high]| high),
        kendall: kendall(&scores, &values),
        scores,
        genotypes: entries.into_iter().map(|entry| entry.text).collect(),
        key,
        images,
    };
    if let Some(left_out) = left_out.as_ref().filter(|_| ui.json) {
        ui.warn(left_out);
    }
    ui.emit(&outcomes)?;
    let mut text = text(&outcomes);
    text.extend(left_out.map(|left_out| format!("\n{left_out}")));
    ui.say(&text)
}

/// The search run at `path`.
fn search_run(path: &Path) -> Result<RunDir> {
    let run = RunDir::open(path)?;
    run.check_weights()?;
    let kind = run.manifest()?.kind;
    if kind != Config::KIND {
        let expected = "a search, whose shared weights serve any architecture";
        return Err(Error::file(
            path,
            None,
            expected,
            format!("a run of kind {kind}"),
            "the run of its search",
        ));
    }
    Ok(run)
}

/// The architectures that are evaluated, in the order of the table.
fn drawn(mut entries: Vec<Entry>, args: &RankArgs) -> Result<Vec<Entry>> {
    let n = entries.len();
    let too_few = |what: &str, found: usize| {
        let expected =
            format!("at least {MIN_ARCHITECTURES} architectures, for a rank correlation with an interval");
        Err(Error::usage(what, expected, found.to_string(), "more architectures of the run's space"))
    };
    if n < MIN_ARCHITECTURES {
        return too_few(&format!("--table {}", args.table.display()), n);
    }
    let Some(count) = args.count else { return Ok(entries) };
    if count < MIN_ARCHITECTURES {
        return too_few("--count", count);
    }
    if count > n {
        let expected = format!("at most {n}, the architectures of the table that the space holds");
        return Err(Error::usage("--count", expected, count.to_string(), format!("--count {n}")));
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut stream(args.seed.unwrap_or(0), Purpose::Table, 0, 0));
    let mut is_drawn = vec![false; n];
    order[..count].iter().for_each(|i| is_drawn[*i] = true);
    let mut is_drawn = is_drawn.into_iter();
    entries.retain(|_| is_drawn.next().unwrap_or(false));
    Ok(entries)
}

/// Mean log-likelihood per image of each architecture, nats, and the number of images.
fn scores(search: &mut Search, entries: &[Entry], args: &RankArgs, ui: &Ui) -> Result<(Vec<f64>, usize)> {
    let held_out = search.held_out(args.images.map(|n| n as usize))?;
    let bar = ui.bar();
    bar.lock().count("batch");
    let compiling = bar.clone();
    search.network().gpu().listen(move |ready, known| compiling.lock().compiling(ready, known));
    let mut progress =
        Progress { total: (entries.len() * held_out.n_batches()) as u64, ..Progress::default() };
    let mut scores = Vec::new();
    for entry in entries {
        let mut done = || {
            progress.step += 1;
            bar.lock().update(&progress);
        };
        let score = search.evaluate_on(&entry.alpha, &held_out, &mut done)?.mean_log_likelihood;
        if !score.is_finite() {
            let expected = "shared weights with a finite log-likelihood";
            let found = format!("{score} for {}", entry.text);
            return Err(Error::file(&args.run, None, expected, found, "a search with a lower --lr"));
        }
        scores.push(score);
    }
    bar.lock().close();
    crate::runner::variants::keep_compiled(search.network().gpu(), &ui.events());
    Ok((scores, held_out.n_images()))
}

fn text(r: &Outcomes) -> String {
    let mut text = format!(
        "{} architectures, by the log-likelihood of {} held-out images with the shared weights and by `{}`\n",
        r.n, r.images, r.key
    );
    let (Some(spearman), Some(low), Some(high), Some(kendall)) = (r.spearman, r.low, r.high, r.kendall)
    else {
        let what = if r.scores.iter().all(|s| *s == r.scores[0]) { "log-likelihoods" } else { "numbers" };
        return text + &format!("all {what} are equal, so that there is no order to compare");
    };
    text += &format!(
        "Spearman's rank correlation {spearman:.3}, 95 % interval {low:.3} to {high:.3}\nKendall's tau {kendall:.3}\n"
    );
    text + match (low > 0.0, high < 0.0) {
        (true, _) => {
            "the interval lies above 0: the shared weights order architectures better than chance does"
        }
        (_, true) => "the interval lies below 0: the shared weights order architectures the wrong way round",
        _ => "the interval includes 0: the ranking by the shared weights is not distinguishable from chance",
    }
}
