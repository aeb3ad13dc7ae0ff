//! One run: its state, its architecture over the steps, its prior, what can be done with it.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use egui::{
    Color32, Context, Image, ProgressBar, RichText, Sense, Slider, Stroke, TextureHandle, TextureOptions, Ui,
    vec2,
};

use super::card::coloured;
use super::picture::Picture;
use super::task::Task;
use super::watch::{Seen, Watched};
use crate::error::{Error, Result, word};
use crate::export::{onnx, python};
use crate::files;
use crate::host::Instant;
use crate::report;
use crate::run::{Events, RunDir};
use crate::runner::answer::{Answer, answer};
use crate::runner::export::of_run;
use crate::runner::open::{self, Wanted};
use crate::runner::trained::TrainingRun;
use crate::space::read_architecture;
use crate::view::{self, Progress};

/// A replay shows this many points in a second.
const PER_SECOND: f64 = 12.0;
/// Number of classes whose probabilities are shown.
const N_CLASSES: usize = 5;

/// What the user asks for in a pane.
pub enum Wish {
    /// The pane is closed.
    Close,
    /// The run goes on.
    GoOn,
    /// What the search found is trained.
    Train,
}

/// The evaluation of a training.
struct Evaluated {
    text: String,
    /// `None` if there are too many classes for a drawing.
    confusion: Option<Arc<str>>,
}

/// A run in the window.
pub struct Pane {
    watched: Watched,
    /// A drawing that is not waited for is shown within this time: by the frame after the next reading.
    wait: Duration,
    flow: Picture,
    heat: Picture,
    architecture: Picture,
    course: Picture,
    confusion: Picture,
    /// The step of the replay. `None`: the newest.
    at: Option<u64>,
    /// Time of the last point, while the replay plays.
    playing: Option<Instant>,
    answered: Option<(PathBuf, Task<Answer>)>,
    /// The image of the answer.
    texture: Option<TextureHandle>,
    exported: Option<Task<Vec<PathBuf>>>,
    evaluated: Option<Task<Evaluated>>,
    reported: Option<Task<PathBuf>>,
}

impl Pane {
    /// The run in `folder`, which is read again every `period`.
    pub fn new(folder: &Path, period: Duration, context: &Context) -> Self {
        Self {
            watched: Watched::new(folder, period, context),
            wait: period * 7 / 6,
            flow: Picture::default(),
            heat: Picture::default(),
            architecture: Picture::default(),
            course: Picture::default(),
            confusion: Picture::default(),
            at: None,
            playing: None,
            answered: None,
            texture: None,
            exported: None,
            evaluated: None,
            reported: None,
        }
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        self.watched.folder()
    }

    /// The run as it was read last.
    pub fn seen(&self) -> Option<Arc<Seen>> {
        self.watched.seen()
    }

    /// Reads the folder at once.
    pub fn look(&self) {
        self.watched.look();
    }

    /// Whether the run can be asked about an image: it has weights, and no other image waits.
    pub fn can_be_asked(&self) -> bool {
        let is_busy = self.answered.as_ref().is_some_and(|(_, task)| task.doing().is_some());
        !is_busy && self.seen().is_some_and(|seen| has_weights(&seen))
    }

    /// Asks the run about an image.
    pub fn ask(&mut self, image: &Path, context: &Context) {
        let (folder, path) = (self.folder().to_owned(), image.to_owned());
        let task = Task::new("reading the image", context, move |events| answer(&folder, &path, events));
        self.answered = Some((image.to_owned(), task));
        self.texture = None;
    }

    /// The step of the replay, if it is not the newest.
    pub fn step(&self) -> Option<u64> {
        self.at
    }

    /// Moves the replay by `by` points.
    pub fn turn(&mut self, by: i64) {
        let Some(seen) = self.seen().filter(|seen| seen.course.len() > 1) else { return };
        let at = self.point(&seen) as i64 + by;
        self.at = Some(seen.course[at.clamp(0, seen.course.len() as i64 - 1) as usize].step);
    }

    /// The point of the course that is shown. It has one at least.
    fn point(&self, seen: &Seen) -> usize {
        let after = |step| seen.course.partition_point(|point| point.step <= step);
        self.at.map_or(seen.course.len(), after).saturating_sub(1)
    }

    /// Shows the run, in a column `width` points wide. `is_own`: the run is going on in this process.
    pub fn show(&mut self, ui: &mut Ui, is_own: bool) -> Option<Wish> {
        let mut wish = None;
        let name = view::name_of(self.folder());
        ui.horizontal(|ui| {
            ui.heading(&name);
            if ui.button("Close").on_hover_text(format!("Close {name}; the run itself goes on")).clicked() {
                wish = Some(Wish::Close);
            }
        });
        let Some(seen) = self.seen() else {
            match self.watched.error() {
                // A run of this process has its files after its first seconds.
                Some(error) if !is_own => {
                    ui.colored_label(ui.visuals().error_fg_color, error);
                }
                _ => {
                    ui.horizontal(|ui| {
                        ui.spinner();
                        ui.label("waiting for the run's files");
                    });
                }
            }
            return wish;
        };
        if let Some(error) = self.watched.error() {
            ui.colored_label(ui.visuals().error_fg_color, error);
        }
        ui.label(RichText::new(&seen.lead).small().weak()).on_hover_text(self.folder().display().to_string());
        progress(ui, &seen);
        if let Some(asked) = self.buttons(ui, &seen, is_own) {
            wish = Some(asked);
        }
        self.results(ui, &seen);
        if seen.course.len() > 1 {
            self.replay(ui, &seen);
        }
        if let Some(alpha) = &seen.alpha {
            let id = ui.make_persistent_id("architecture");
            let is_training = seen.course.len() < 2;
            egui::collapsing_header::CollapsingState::load_with_default_open(ui.ctx(), id, is_training)
                .show_header(ui, |ui| ui.label("The architecture"))
                .body(|ui| {
                    let (space, alpha) = (Arc::clone(&seen.space), alpha.clone());
                    let (key, width) = (seen.genotype.clone(), ui.available_width());
                    self.architecture.show(ui, "architecture", key, (width, self.wait), move || {
                        report::architecture_svg(&*space, &alpha)
                    });
                });
        }
        facts(ui, &seen);
        wish
    }

    /// The buttons.
    fn buttons(&mut self, ui: &mut Ui, seen: &Seen, is_own: bool) -> Option<Wish> {
        let mut wish = None;
        let context = ui.ctx().clone();
        let folder = self.folder().to_owned();
        let is_finished = matches!(seen.progress, Progress::Finished(_) | Progress::Stepless);
        ui.horizontal_wrapped(|ui| {
            if !is_finished && !is_own {
                let help = "Go on from the newest checkpoint, in this window";
                if ui.button("Resume").on_hover_text(help).clicked() {
                    wish = Some(Wish::GoOn);
                }
            }
            if !seen.is_training && seen.alpha.is_some() && is_finished {
                let help = "Train the architecture that the search found, from new weights";
                if ui.button("Train what was found").on_hover_text(help).clicked() {
                    wish = Some(Wish::Train);
                }
            }
            if has_weights(seen) {
                let help =
                    "ONNX, safetensors and PyTorch files of the network, in the folder `export` of the run";
                let is_free = seen.is_training && is_free(self.exported.as_ref());
                let button = ui.add_enabled(is_free, egui::Button::new("Export"));
                let why = "A search has shared weights only. Train what was found, and export that";
                if button.on_hover_text(help).on_disabled_hover_text(why).clicked() {
                    let run = folder.clone();
                    self.exported =
                        Some(Task::new("exporting", &context, move |events| export(&run, events)));
                }
            }
            if seen.is_training && !seen.checkpoints.is_empty() {
                let help = "Evaluate the best checkpoint on the images to report";
                let button = egui::Button::new("Confusion matrix");
                let button = ui.add_enabled(is_free(self.evaluated.as_ref()), button);
                if button.on_hover_text(help).clicked() {
                    let run = folder.clone();
                    self.evaluated =
                        Some(Task::new("evaluating", &context, move |events| evaluate(&run, events)));
                }
            }
            let button = ui.add_enabled(is_free(self.reported.as_ref()), egui::Button::new("Report"));
            if button.on_hover_text("One HTML file about the run, in its folder").clicked() {
                let run = folder.clone();
                self.reported = Some(Task::new("writing the report", &context, move |_| write_report(&run)));
            }
            if has_weights(seen) {
                ui.weak("Drop an image here to name its class.");
            }
        });
        wish
    }

    /// The results of the buttons, and of the run.
    fn results(&mut self, ui: &mut Ui, seen: &Seen) {
        if let Some((accuracy, of)) = &seen.accuracy {
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new(format!("{:.2} %", 100.0 * accuracy)).heading());
                ui.label(of);
            });
        }
        if let Some((head, rest)) = seen.trust.as_deref().and_then(|trust| trust.split_once('\n')) {
            ui.collapsing(head.trim_end_matches(':'), |ui| ui.label(rest));
        }
        if let Some(exported) = &self.exported {
            outcome(ui, exported, |ui, paths: &Vec<PathBuf>| {
                for path in paths {
                    ui.label(format!("wrote {}", path.display()));
                }
            });
        }
        if let Some(reported) = &self.reported {
            outcome(ui, reported, |ui, path: &PathBuf| {
                ui.label(format!("wrote {}, to be opened by a browser", path.display()));
            });
        }
        let width = ui.available_width();
        if let Some(evaluated) = &self.evaluated {
            let picture = &self.confusion;
            outcome(ui, evaluated, |ui, Evaluated { text, confusion }| {
                ui.label(text);
                match confusion.clone() {
                    Some(svg) => {
                        let draw = move || svg.to_string();
                        picture.show(ui, "confusion matrix", text, (width, Duration::ZERO), draw);
                    }
                    None => {
                        drop(ui.weak("Too many classes for a drawing: parsec eval --json has the numbers."))
                    }
                }
            });
        }
        if let Some((path, answered)) = &self.answered {
            let texture = &mut self.texture;
            outcome(ui, answered, |ui, answer| show_answer(ui, path, answer, texture));
        }
    }

    /// The scrubber, and the prior at its step.
    fn replay(&mut self, ui: &mut Ui, seen: &Arc<Seen>) {
        let width = ui.available_width();
        let last = seen.course.len() - 1;
        if let Some(since) = self.playing {
            let n = (since.elapsed().as_secs_f64() * PER_SECOND) as usize;
            if n > 0 {
                let at = (self.point(seen) + n).min(last);
                self.at = Some(seen.course[at].step);
                self.playing = (at < last).then(Instant::now);
            }
            ui.ctx().request_repaint_after(Duration::from_secs_f64(1.0 / PER_SECOND));
        }
        let mut at = self.point(seen);
        let point = &seen.course[at];
        ui.separator();
        ui.strong(format!("The prior after step {}: entropy {:.2} nats", point.step, point.entropy()));
        ui.horizontal(|ui| {
            if self.playing.is_some() {
                if ui.button("Stop replay").clicked() {
                    self.playing = None;
                }
            } else if ui.button("Replay").on_hover_text("Show the prior from the first step").clicked() {
                self.at = Some(0);
                at = 0;
                self.playing = Some(Instant::now());
            }
            ui.spacing_mut().slider_width = (width - 260.0).max(60.0);
            let steps: Vec<u64> = seen.course.iter().map(|point| point.step).collect();
            let label = ui.label("Step");
            let slider = Slider::new(&mut at, 0..=last).custom_formatter(move |at, _| {
                steps.get(at as usize).map_or_else(String::new, u64::to_string)
            });
            if ui.add(slider).labelled_by(label.id).changed() {
                self.at = Some(seen.course[at].step);
                self.playing = None;
            }
            if self.at.is_some() && ui.button("Newest").clicked() {
                (self.at, self.playing) = (None, None);
            }
        });
        let wait = if self.at.is_some() { Duration::ZERO } else { self.wait };
        let point = seen.course[at].clone();
        let (space, drawn) = (Arc::clone(&seen.space), point.clone());
        let key = Key(&point.probabilities);
        self.flow.show(
            ui,
            "network with edges as thick as the prior makes them",
            &key,
            (width, wait),
            move || report::flow_svg(&*space, &drawn.probabilities),
        );
        egui::CollapsingHeader::new("Heat map of the prior").default_open(true).show(ui, |ui| {
            let (space, drawn, width) = (Arc::clone(&seen.space), point.clone(), ui.available_width());
            self.heat.show(ui, "heat map of the prior", &key, (width, wait), move || {
                report::probabilities_svg(&*space, &drawn.probabilities, &drawn.mode())
            });
        });
        ui.collapsing("The prior over the steps", |ui| {
            let (shared, width) = (Arc::clone(seen), ui.available_width());
            let key = seen.course.last().map(|point| point.step);
            self.course.show(ui, "prior over the steps", key, (width, self.wait), move || {
                report::course_svg(&*shared.space, &shared.course)
            });
        });
        let mode = RichText::new(seen.space.print(&point.mode())).monospace().small();
        ui.add(egui::Label::new(mode).wrap());
    }
}

/// Whether the run has an architecture with weights.
fn has_weights(seen: &Seen) -> bool {
    seen.alpha.is_some() && !seen.is_consensus && !seen.checkpoints.is_empty()
}

/// Whether no such work is going on.
fn is_free<T: Send + 'static>(task: Option<&Task<T>>) -> bool {
    task.is_none_or(|task| task.doing().is_none())
}

/// Probabilities as the key of a picture.
struct Key<'a>(&'a Vec<Vec<f64>>);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().flatten().for_each(|p| p.to_bits().hash(state));
    }
}

/// The steps as a bar, with a mark at each checkpoint.
fn progress(ui: &mut Ui, seen: &Seen) {
    let (done, total) = match seen.progress {
        Progress::Stepless => return,
        Progress::Finished(steps) => (steps, steps),
        Progress::At(step, total) => (step, total),
    };
    let part = done as f32 / total.max(1) as f32;
    let bar = ui.add(ProgressBar::new(part).text(format!("step {done} of {total}")).desired_height(16.0));
    let painter = ui.painter_at(bar.rect);
    for step in seen.checkpoints.iter().filter(|step| **step <= total) {
        let x = bar.rect.left() + bar.rect.width() * *step as f32 / total.max(1) as f32;
        painter.vline(x, bar.rect.y_range(), Stroke::new(1.5, ui.visuals().warn_fg_color));
    }
    bar.on_hover_text(format!("checkpoints after steps {:?}", seen.checkpoints));
}

/// The state of a task, or its result.
fn outcome<T: Send + 'static>(ui: &mut Ui, task: &Task<T>, show: impl FnOnce(&mut Ui, &T)) {
    if let Some(doing) = task.doing() {
        ui.horizontal(|ui| {
            ui.spinner();
            ui.label(doing);
        });
    }
    for warning in task.warnings() {
        ui.colored_label(ui.visuals().warn_fg_color, warning);
    }
    task.result(|result| match result {
        Ok(value) => show(ui, value),
        Err(error) => {
            ui.colored_label(ui.visuals().error_fg_color, error);
        }
    });
}

fn show_answer(ui: &mut Ui, path: &Path, answer: &Answer, texture: &mut Option<TextureHandle>) {
    let texture = texture.get_or_insert_with(|| {
        let image = coloured(&answer.image, answer.image.bytes());
        ui.ctx().load_texture("asked", image, TextureOptions::NEAREST)
    });
    ui.horizontal(|ui| {
        let image = Image::new((texture.id(), texture.size_vec2())).alt_text("the image that was dropped");
        ui.add(image.fit_to_exact_size(vec2(72.0, 72.0)));
        ui.vertical(|ui| {
            ui.weak(path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()));
            for (name, p) in answer.classes.iter().take(N_CLASSES) {
                let text = format!("{name} {:.1} %", 100.0 * p);
                ui.add(ProgressBar::new(*p as f32).text(text).desired_height(14.0));
            }
        });
    });
    if answer.is_shared {
        ui.weak("By the shared weights of the search. A training of its own answers better.");
    }
}

/// Doubts, costs, children and settings.
fn facts(ui: &mut Ui, seen: &Seen) {
    if let Some(counts) = &seen.counts {
        let of = if seen.is_training { "" } else { " as a final network of the search's size" };
        ui.label(format!("{} parameters, {} multiply-adds per image{of}", counts.parameters, counts.macs));
    }
    if !seen.children.best.is_empty() {
        ui.collapsing("The best children by their own batches", |ui| {
            for best in &seen.children.best {
                let text = format!("{:+.4} nats/image, drawn {}×: {}", best.advantage, best.n, best.genotype);
                ui.add(egui::Label::new(RichText::new(text).small()).wrap().sense(Sense::hover()));
            }
        });
    }
    ui.collapsing("Data and settings", |ui| {
        ui.label(&seen.data);
        egui::Grid::new("settings").striped(true).show(ui, |ui| {
            for (name, value) in &seen.settings {
                ui.label(name);
                ui.add(egui::Label::new(value).wrap());
                ui.end_row();
            }
        });
    });
}

/// Reasons to distrust a run, in plain words.
pub fn doubts(ui: &mut Ui, seen: &Seen) {
    for doubt in &seen.doubts {
        ui.horizontal_wrapped(|ui| {
            let dot = ui.label("•");
            ui.painter().circle_filled(dot.rect.center(), 2.5, Color32::from_rgb(0xd1, 0x72, 0x2b));
            ui.label(doubt);
        });
    }
}

/// Writes the network of a training for other programs.
fn export(folder: &Path, events: &Events) -> Result<Vec<PathBuf>> {
    let config = RunDir::open(folder)?.train_config()?;
    let space = config.space()?;
    let alpha = read_architecture(&*space, &config.architecture.genotype)?;
    let network = of_run(folder, &space, &alpha, events)?;
    let into = folder.join("export");
    let path = |name: &str| into.join(name);
    let weights = path("network.safetensors");
    let contents = [
        (path("network.onnx"), onnx::to_bytes(&network, onnx::Options { fold: true })?),
        (weights.clone(), network.to_safetensors(&weights)?),
        (path("network.py"), python::to_text(&network)?.into_bytes()),
    ];
    std::fs::create_dir_all(&into).map_err(|e| Error::io("create", &into, e))?;
    for (path, bytes) in &contents {
        files::atomic_write(path, bytes)?;
    }
    Ok(contents.into_iter().map(|(path, _)| path).collect())
}

/// Evaluates a training on its images to report.
fn evaluate(folder: &Path, events: &Events) -> Result<Evaluated> {
    let run = TrainingRun::open(folder)?;
    let (tensors, path, step) = run.weights(events)?;
    let own = Wanted::of(&run.config.images, &run.config.session, Some(&run.manifest));
    let wanted = Wanted { run: Some(folder), ..own };
    let mut reported = open::reported(&wanted, events)?;
    run.check_data(&mut reported, wanted.spec(), events)?;
    let mut network = run.trained((&tensors, &path), None, events)?;
    let (evaluation, detail) =
        network.evaluate(&reported.images, &run.normalisation()?, run.config.length.batch)?;
    let text = format!(
        "Of {} images {} are right: {:.2} % ({:.2} % among the first five), by the weights of step {step}.",
        evaluation.n,
        evaluation.n_correct,
        100.0 * evaluation.accuracy(),
        100.0 * detail.n_top5 as f64 / evaluation.n.max(1) as f64
    );
    let confusion = report::confusion_svg(&reported.class_names, &detail.matrix()).ok();
    Ok(Evaluated { text, confusion: confusion.map(Arc::from) })
}

/// Writes the page about a run into its folder.
fn write_report(folder: &Path) -> Result<PathBuf> {
    let page = view::page::of_run(folder, &folder.join(""))?;
    let path = folder.join("report.html");
    files::atomic_write(&path, page.page.finish().as_bytes())?;
    Ok(path)
}

/// The command that does the same as the window's button.
pub fn resume_command(folder: &Path) -> String {
    format!("parsec resume {}", word(folder))
}
