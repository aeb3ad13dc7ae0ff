//! `parsec consensus RUN...` → a run folder whose π is the normalised product of the runs' priors to the power 1/n.
//!
//! The folder has the form of a finished run, which `show`, `train --genotype` and `search --prior-from` accept. The
//! folder has no shared weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Ui;
use crate::config::{Choose, Config, Method, Resolved};
use crate::error::{Error, Result};
use crate::report::{self, trust};
use crate::run::{self, CONSENSUS, METRICS, Manifest, RunDir};
use crate::search::best::best;
use crate::search::evidence::Seen;
use crate::search::{prior_tensors, random_architecture, take_prior};
use crate::space::{Alpha, ByGroup, Prior, Space, read_architecture};

/// The flags of `consensus`.
#[derive(Debug, clap::Args)]
pub struct ConsensusArgs {
    /// Searches of one space, two or more; the priors of their newest good checkpoints are used
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Run folder to create; default: the next free runs/consensus-NNNN
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
}

/// A search whose prior goes into the consensus.
struct Source {
    path: PathBuf,
    config: Config,
    manifest: Manifest,
    space: Arc<dyn Space>,
    prior: Prior,
    is_finished: bool,
}

/// The content of `result.json`.
#[derive(Serialize)]
struct Outcomes {
    /// The best architecture according to the likelihoods of the children of all runs, or the mode of the pooled prior.
    genotype: String,
    /// The mode of the pooled prior.
    mode: String,
    /// How `genotype` was chosen: `evidence` or `mode`.
    chosen_by: Choose,
    entropy: ByGroup<f64>,
    entropy_uniform: f64,
    /// Mean over slots of the fraction of the runs whose most probable choice is also the most probable choice of the
    /// consensus.
    agreement: f64,
    runs: Vec<Member>,
    run: String,
}

/// A run whose prior went into the consensus.
#[derive(Serialize)]
struct Member {
    run: String,
    /// The architecture of the run according to its own prior.
    genotype: String,
    /// Log-probability of this architecture under the consensus, nats.
    log_prob: f64,
}

/// Makes the consensus.
pub fn consensus(args: &ConsensusArgs, ui: &Ui) -> Result<()> {
    if let Some(path) = &args.run {
        RunDir::check_free(path)?;
    }
    check_distinct(&args.runs)?;
    let sources = args.runs.iter().map(|path| Source::read(path, ui)).collect::<Result<Vec<_>>>()?;
    for other in &sources[1..] {
        check_same(&sources[0], other)?;
    }
    let others: Vec<Prior> = sources[1..].iter().map(|source| source.prior.clone()).collect();
    let prior = sources[0].prior.pooled(&others);

    let claim = args.run.is_none().then(|| RunDir::claim(CONSENSUS)).transpose()?;
    let path = args.run.clone().or(claim.as_ref().map(|claim| claim.path().to_owned())).unwrap_or_default();
    let mode = prior.mode();
    let chosen = chosen(&sources, ui)?;
    let chosen_by = if chosen.is_some() { Choose::Evidence } else { Choose::Mode };
    let chosen = chosen.unwrap_or_else(|| mode.clone());
    let outcomes = outcomes(&sources, &prior, ([&chosen, &mode], chosen_by), &path);
    write(&path, &sources, (&prior, &chosen), &outcomes, ui)?;
    ui.emit_saved(&outcomes, &path.join("result.json"))?;
    ui.report(&text(&outcomes));
    Ok(())
}

/// Checks that there are two or more runs and none twice. A run that is named twice would have twice the weight.
fn check_distinct(runs: &[PathBuf]) -> Result<()> {
    let expected = "two or more different runs";
    let canonical = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    for (i, path) in runs.iter().enumerate() {
        if runs[..i].iter().any(|other| canonical(other) == canonical(path)) {
            let found = format!("{} twice", path.display());
            return Err(Error::usage("consensus", expected, found, "name each run once"));
        }
    }
    match runs {
        [] | [_] => {
            let try_this = "searches that differ in --seed: parsec consensus RUN RUN";
            Err(Error::usage("consensus", expected, runs.len().to_string(), try_this))
        }
        _ => Ok(()),
    }
}

impl Source {
    fn read(path: &Path, ui: &Ui) -> Result<Self> {
        let run = RunDir::open(path)?;
        let manifest = run.manifest()?;
        if manifest.kind != Config::KIND {
            let (found, try_this) = match manifest.kind.as_str() {
                CONSENSUS => {
                    ("a consensus".to_owned(), "the searches that it was made of, so that each counts once")
                }
                kind => (format!("a run of kind {kind}"), "the run of its search"),
            };
            return Err(Error::file(path, None, "a search, which has a prior", found, try_this));
        }
        let config = run.config()?;
        let without = match config.algorithm.method {
            Method::Darts => Some("`method` darts, which runs all paths at once"),
            // The prior of a random search does not describe its result.
            Method::RandomSearch => Some("`method` random_search, whose result is not by its prior"),
            Method::Parsec | Method::Random => None,
        };
        if let Some(found) = without {
            let expected = "a search with a prior over architectures, of `method` parsec or random";
            return Err(Error::usage(path.display().to_string(), expected, found, "leave that run out"));
        }
        let space = config.space()?;
        let (state, warnings) = run::read_prior(path)?;
        warnings.iter().for_each(|w| ui.warn(w));
        if !run.is_finished() {
            ui.warn(format!("{} is not finished; its prior so far is taken", path.display()));
        }
        let prior = take_prior(&state, path, &*space)?;
        if let Some(logit) = prior.logits.iter().flatten().find(|logit| !logit.is_finite()) {
            let expected = "a prior of finite logits";
            return Err(Error::file(path, None, expected, logit.to_string(), "leave that run out"));
        }
        let is_finished = run.is_finished();
        Ok(Self { path: path.to_owned(), config, manifest, space, prior, is_finished })
    }

    /// The architecture of the run according to its own prior: a draw for `random`, otherwise the mode.
    fn architecture(&self) -> Alpha {
        let written = std::fs::read_to_string(self.path.join("genotype.txt"));
        // Only the file of a finished run holds the result.
        let ended = self.is_finished.then_some(written).and_then(std::result::Result::ok);
        let ended = ended.and_then(|text| read_architecture(&*self.space, text.trim()).ok());
        ended.unwrap_or_else(|| match self.config.algorithm.method {
            Method::Random => random_architecture(&self.prior, self.config.session.seed),
            _ => self.prior.mode(),
        })
    }
}

/// Checks that two runs have the same slots and choices.
fn check_same(a: &Source, b: &Source) -> Result<()> {
    let differ = |what: &str, of_a: String, of_b: String| {
        let expected = format!("runs of one space; {} has {what} {of_a}", a.path.display());
        let found = format!("{} with {of_b}", b.path.display());
        Err(Error::usage(
            "consensus",
            expected,
            found,
            format!("leave one of them out, or search with the same {what}"),
        ))
    };
    if a.space.name() != b.space.name() {
        return differ("space", a.space.name().into(), b.space.name().into());
    }
    if slots(&*a.space) == slots(&*b.space) {
        return Ok(());
    }
    let (of_a, of_b) = (a.space.settings(), b.space.settings());
    let value = |settings: &[(&str, String)], key: &str| {
        settings.iter().find(|(k, _)| *k == key).map_or("none".into(), |(_, value)| value.clone())
    };
    for (key, _) in of_a.iter().chain(&of_b) {
        let (is, other) = (value(&of_a, key), value(&of_b, key));
        if is != other {
            return differ(key, is, other);
        }
    }
    differ("slots", a.space.slots().len().to_string(), "others".into())
}

/// The domain of a prior of the space: the names of its slots and of their choices. The number of cells is not part of
/// the domain.
fn slots(space: &dyn Space) -> Vec<(String, Vec<String>)> {
    let choices = |slot, n| (0..n).map(|choice| space.choice_name(slot, choice)).collect();
    let slots = space.slots().iter().enumerate();
    slots.map(|(i, slot)| (space.slot_key(i), choices(i, slot.n_choices))).collect()
}

/// The best architecture according to the likelihoods of the children of all runs. `None` if a run chooses by its mode,
/// or if the metrics of a run have no children.
fn chosen(sources: &[Source], ui: &Ui) -> Result<Option<Alpha>> {
    let space = &*sources[0].space;
    let mut all = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        let (config, path) = (&source.config, source.path.join(METRICS));
        let by_children =
            config.algorithm.method == Method::Parsec && config.outcome.choose == Choose::Evidence;
        let seen = if by_children && path.is_file() {
            trust::seen(&path, space, config.search_batch())?
        } else {
            Vec::new()
        };
        if seen.is_empty() {
            let why = if by_children {
                "has no children in its metrics"
            } else {
                "does not choose by its children"
            };
            let run = source.path.display();
            ui.note(&format!("{run} {why}: the consensus ends with the mode of the pooled prior"));
            return Ok(None);
        }
        // The offset keeps steps of different runs apart. The offset is even, so that odd steps stay odd.
        all.extend(seen.into_iter().map(|seen| Seen { step: seen.step + ((i as u64) << 40), ..seen }));
    }
    Ok(best(space, &all, sources[0].config.outcome.max_skips).map(|best| best.alpha))
}

fn outcomes(
    sources: &[Source],
    prior: &Prior,
    ([chosen, mode], chosen_by): ([&Alpha; 2], Choose),
    path: &Path,
) -> Outcomes {
    let space = &sources[0].space;
    let agree = |source: &Source| {
        let of_run = source.prior.mode();
        let same = mode.0.iter().zip(&of_run.0).filter(|(a, b)| a == b).count();
        same as f64 / mode.0.len().max(1) as f64
    };
    let member = |source: &Source| {
        let alpha = source.architecture();
        Member {
            run: source.path.display().to_string(),
            genotype: space.print(&alpha),
            log_prob: prior.log_prob(&alpha),
        }
    };
    Outcomes {
        genotype: space.print(chosen),
        mode: space.print(mode),
        chosen_by,
        entropy: space.by_group(&prior.entropy()),
        entropy_uniform: Prior::uniform(&**space).entropy().iter().sum(),
        agreement: sources.iter().map(agree).sum::<f64>() / sources.len() as f64,
        runs: sources.iter().map(member).collect(),
        run: path.display().to_string(),
    }
}

/// Writes the run folder. An incomplete folder is removed after an error.
fn write(
    path: &Path,
    sources: &[Source],
    (prior, chosen): (&Prior, &Alpha),
    outcomes: &Outcomes,
    ui: &Ui,
) -> Result<()> {
    let first = &sources[0];
    let mut config = first.config.clone();
    config.forget_origin();
    (config.session.run, config.session.device) = (Some(path.to_owned()), None);
    let same_data = sources.iter().all(|source| source.manifest.data == first.manifest.data);
    if !same_data {
        ui.warn("the runs searched on different data; the consensus names none");
    }
    let manifest = Manifest {
        kind: CONSENSUS.into(),
        total_steps: 0,
        data: if same_data { first.manifest.data.clone() } else { Value::Null },
        class_names: if same_data { first.manifest.class_names.clone() } else { Vec::new() },
        ..Manifest::new(&config)?
    };
    let run = RunDir::create(path, &config, &manifest)?;
    let written = fill(&run, &*first.space, (prior, chosen), outcomes);
    if written.is_err() {
        drop(run);
        // A failure to remove the folder is ignored. The first error is reported.
        _ = std::fs::remove_dir_all(path);
    }
    written
}

/// Fills the run folder. The result is written last, because it marks the run as over.
fn fill(
    run: &RunDir,
    space: &dyn Space,
    (prior, chosen): (&Prior, &Alpha),
    outcomes: &Outcomes,
) -> Result<()> {
    run.checkpoints().save(0, None, &prior_tensors(prior, space))?;
    run.write("genotype.txt", format!("{}\n", outcomes.genotype).as_bytes())?;
    let svg = report::architecture_svg(space, chosen);
    run.write("cells.svg", svg.as_bytes())?;
    run.write("cells.png", &report::png(&svg, 2.0)?)?;
    run.write("prior.svg", report::prior_svg(space, prior).as_bytes())?;
    run.write_result(outcomes)
}

fn text(r: &Outcomes) -> String {
    let entropy: f64 = r.entropy.values().sum();
    let width = r.runs.iter().map(|member| member.run.chars().count()).max().unwrap_or(0);
    let member = |m: &Member| format!("{:width$}  log p = {:.2} nats  {}\n", m.run, m.log_prob, m.genotype);
    let members: String = r.runs.iter().map(member).collect();
    format!(
        "{}\n\nentropy of the prior {entropy:.1} nats (uniform {:.1})\n\
         {:.0} % of the most probable choices of the {} runs are those of the consensus; what each run found:\n{members}\n\
         {run}/cells.svg    the architecture\n{run}/checkpoints  the prior; there are no shared weights\n\
         next: parsec train --genotype {run}, or parsec search --prior-from {run}",
        r.genotype,
        r.entropy_uniform,
        100.0 * r.agreement,
        r.runs.len(),
        run = r.run,
    )
}
