//! The folder of a run → what is to be drawn, again whenever the run writes. The work is on a thread of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egui::Context;
use serde_json::Value;

use super::SOON;
use super::task::guarded;
use crate::data::Spec;
use crate::error::Result;
use crate::host::{self, Instant, thread};
use crate::report::course::Point;
use crate::report::plot::{Panel, Series, Style, smoothed, thinned};
use crate::report::{curves, summary};
use crate::run::RunDir;
use crate::space::{Alpha, Space};
use crate::view::{Children, Course, Progress, RunView};

/// Most points of the replay, besides the last.
const N_POINTS: usize = 400;
/// Number of dots in the picture of the children.
const N_DOTS: usize = 1500;
/// Number of the best children in the table.
const N_BEST: usize = 12;
/// Preparing takes at most this part of the time of one core, unless a reading takes very long.
const SHARE: u32 = 50;
const LONGEST: Duration = Duration::from_secs(5);
/// A step's time is the median over this many last steps.
const RECENT: usize = 50;

/// A run as it was at one moment.
pub struct Seen {
    /// Name of the folder.
    pub name: String,
    /// Kind, state and adapter in a line.
    pub lead: String,
    /// Whether it is a training.
    pub is_training: bool,
    /// Whether it is the consensus of searches.
    pub is_consensus: bool,
    /// Its state.
    pub progress: Progress,
    /// The curves. A smoothed series is followed by its moving mean.
    pub curves: Vec<Panel>,
    /// π over the steps. Empty if there is no prior that moves.
    pub course: Vec<Point>,
    /// The search space.
    pub space: Arc<dyn Space>,
    /// The present architecture.
    pub alpha: Option<Alpha>,
    /// Its text.
    pub genotype: Option<String>,
    /// Reasons to distrust the result.
    pub doubts: Vec<String>,
    /// The children.
    pub children: Children,
    /// The accuracy of the result, and what it is of.
    pub accuracy: Option<(f64, String)>,
    /// Whether the result is more than chance, as text.
    pub trust: Option<String>,
    /// Costs of the architecture as a final network.
    pub counts: Option<summary::Counts>,
    /// Name of the adapter.
    pub adapter: String,
    /// Activation memory, bytes.
    pub arena_bytes: f64,
    /// Seconds of a step.
    pub step_seconds: Option<f64>,
    /// Steps after which there is a checkpoint.
    pub checkpoints: Vec<u64>,
    /// The data in a line.
    pub data: String,
    /// All settings, as text.
    pub settings: Vec<(String, String)>,
}

/// The latest state of a run, or the reason why it cannot be read.
#[derive(Clone, Default)]
struct Latest {
    seen: Option<Arc<Seen>>,
    error: Option<String>,
}

/// A run that is watched until this value is dropped.
pub struct Watched {
    folder: PathBuf,
    latest: Arc<Mutex<Latest>>,
    look: Sender<()>,
}

impl Watched {
    /// Watches the run in `folder`, which may not be there yet. The folder is looked at every `period`. `context` draws again
    /// after each change.
    pub fn new(folder: &Path, period: Duration, context: &Context) -> Self {
        let (look, looks) = channel();
        let latest = Arc::new(Mutex::new(Latest::default()));
        let (place, shared, context) = (folder.to_owned(), Arc::clone(&latest), context.clone());
        thread::spawn(move || watch(&place, period, &shared, &looks, &context));
        Self { folder: folder.to_owned(), latest, look }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The latest state.
    pub fn seen(&self) -> Option<Arc<Seen>> {
        lock(&self.latest).seen.clone()
    }

    /// The reason why the folder cannot be read.
    pub fn error(&self) -> Option<String> {
        lock(&self.latest).error.clone()
    }

    /// Looks at the folder at once.
    pub fn look(&self) {
        // Without a listener there is nothing to look at.
        _ = self.look.send(());
    }
}

fn lock(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What shows that files of a run have changed: lengths and times.
type Stamp = Vec<Option<(u64, Option<Duration>)>>;

fn stamp(folder: &Path) -> Stamp {
    ["metrics.jsonl", "manifest.json", "result.json", "genotype.txt", "checkpoints"]
        .map(|name| {
            let about = fs::metadata(folder.join(name)).ok()?;
            Some((about.len(), host::changed(&about)))
        })
        .to_vec()
}

fn watch(folder: &Path, period: Duration, latest: &Mutex<Latest>, looks: &Receiver<()>, context: &Context) {
    let mut reader: Option<Reader> = None;
    let mut last = None;
    loop {
        let started = Instant::now();
        let now = stamp(folder);
        if last.as_ref() != Some(&now) {
            last = Some(now);
            let seen = guarded(|| {
                match &mut reader {
                    None => reader = Some(Reader::new(folder)?),
                    Some(reader) => reader.read_more()?,
                }
                Ok(reader.as_ref().map(Reader::seen))
            });
            {
                let mut latest = lock(latest);
                match seen {
                    Ok(seen) => *latest = Latest { seen: seen.map(Arc::new), error: None },
                    // The last state that could be read stays.
                    Err(error) => latest.error = Some(error.to_string()),
                }
            }
            context.request_repaint_after(SOON);
        }
        let pause = period.max((started.elapsed() * SHARE).min(LONGEST));
        let wanted = looks.recv_timeout(pause);
        // Several requests are one.
        while looks.try_recv().is_ok() {}
        if wanted == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// A run that is read again and again.
struct Reader {
    view: RunView,
    course: Option<Course>,
    /// The reason why there is no course.
    damage: Option<String>,
}

impl Reader {
    fn new(folder: &Path) -> Result<Self> {
        let mut reader = Self { view: RunView::read(folder)?, course: None, damage: None };
        reader.follow();
        Ok(reader)
    }

    /// Follows the prior from its start. Without it the rest of the run is shown.
    fn follow(&mut self) {
        match Course::of(&self.view, N_POINTS) {
            Ok(course) => (self.course, self.damage) = (course, None),
            Err(error) => (self.course, self.damage) = (None, Some(error.to_string())),
        }
    }

    fn read_more(&mut self) -> Result<()> {
        self.view.read_more()?;
        match &mut self.course {
            Some(course) if course.is_of(&self.view.history) => course.follow(&self.view.history),
            _ => self.follow(),
        }
        Ok(())
    }

    fn seen(&self) -> Seen {
        let view = &self.view;
        let mut doubts = view.doubts();
        doubts.extend(self.course.as_ref().and_then(|course| course.broken.clone()));
        doubts.extend(self.damage.clone());
        let seconds = view.step_seconds();
        let mut recent = seconds[seconds.len().saturating_sub(RECENT)..].to_vec();
        recent.sort_by(f64::total_cmp);
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = view.manifest.config.as_object().into_iter().flatten().map(|(name, value)| {
            let value = if name == "data" { place(view).unwrap_or_default() } else { plain(value) };
            (name.clone(), value)
        });
        Seen {
            name: view.name(),
            lead: view.lead(),
            is_training: view.is_training(),
            is_consensus: view.is_consensus(),
            progress: view.progress(),
            curves: curves::panels(&view.history).into_iter().chain(times(view)).map(drawable).collect(),
            course: self.course.as_ref().map_or_else(Vec::new, |course| course.points().to_vec()),
            space: Arc::clone(&view.space),
            alpha: view.alpha.clone(),
            genotype: view.genotype.clone(),
            doubts,
            children: Children::of(view, N_DOTS, N_BEST),
            accuracy: view.accuracy(),
            trust: view.trust().map(|trust| trust.text()),
            counts: view.counts(),
            adapter: view.manifest.adapter.clone(),
            arena_bytes: view.history.column("arena_bytes").iter().map(|p| p.1).fold(0.0, f64::max),
            step_seconds: recent.get(recent.len() / 2).copied(),
            checkpoints: view.run.checkpoints().steps().unwrap_or_default(),
            data: view.account.as_ref().map(ToString::to_string).unwrap_or_default(),
            settings: settings.collect(),
        }
    }
}

/// The specification of the run's data at the place where they are now, as seen from any folder.
fn place(view: &RunView) -> Option<String> {
    let manifest = &view.manifest;
    let spec = manifest.data_at.as_deref().or(manifest.config["data"].as_str())?;
    let parsed = spec.parse::<Spec>().ok().filter(Spec::is_relative);
    let at = parsed.and_then(|parsed| {
        let bases = manifest.bases(Some(view.run.path()));
        let there = bases.iter().map(|base| base.join(&parsed.dir)).find(|path| path.exists())?;
        Some(format!("{}:{}", parsed.source.name(), there.display()))
    });
    Some(at.unwrap_or_else(|| spec.to_owned()))
}

/// The time of each step.
fn times(view: &RunView) -> Option<Panel> {
    let points = view.history.sum_below("seconds");
    let series = vec![Series::new("time", points).styled(Style::Smoothed)];
    let (title, x_label, y_label) = ("Time of a step".into(), "step".into(), "seconds".into());
    (!series[0].points.is_empty()).then_some(Panel { title, x_label, y_label, series })
}

/// The panel with few points. A smoothed series is followed by its moving mean under the same name.
fn drawable(panel: Panel) -> Panel {
    let few = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        thinned(points).into_iter().filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
    };
    let series = panel.series.iter().flat_map(|series| {
        let Series { name, points, style } = series;
        let raw = Series { name: name.clone(), points: few(points), style: *style };
        let mean = (*style == Style::Smoothed).then(|| Series {
            name: name.clone(),
            points: few(&smoothed(points)),
            style: Style::Line,
        });
        std::iter::once(raw).chain(mean)
    });
    Panel { series: series.collect(), ..panel }
}

/// Whether `path` is the folder of a run.
pub fn is_run(path: &Path) -> bool {
    RunDir::open(path).is_ok()
}
