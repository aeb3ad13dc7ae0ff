//! The content of the window: panels around the runs that are shown. [`take`] has what the user brings, [`frame`] the
//! surroundings: status, dialogs, keys.

mod frame;
mod take;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use egui::{
    Align, CentralPanel, Context, Key, Layout, Panel, RichText, ScrollArea, TextEdit, Ui, ViewportCommand,
};
use serde::{Deserialize, Serialize};

use self::frame::{add_font, drop_zone, set_sizes, theme};
use self::take::PickedFor;
use super::card::Card;
use super::curves;
use super::driven::{Driven, Ended, Job};
use super::form::{Form, Kind};
use super::pane::{self, Pane, Wish};
use super::task::Task;
use super::watch::Seen;
use crate::error::Error;
use crate::gpu;
use crate::host::Instant;
use crate::run::Events;
use crate::view::name_of;

/// Number of runs that are shown side by side.
const N_PANES: usize = 2;
/// Number of runs that are remembered.
const N_RECENT: usize = 12;

/// What is remembered from one window to the next, besides the layout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Folders of runs, the last one first.
    pub recent: Vec<PathBuf>,
}

/// The process around the window.
#[derive(Clone)]
pub struct Outside {
    /// A listener to the run in a folder.
    pub listener: Arc<dyn Fn(&Path) -> Events + Send + Sync>,
    /// Is called when the run in a folder has ended.
    pub ended: Arc<dyn Fn(&Path) + Send + Sync>,
    /// Whether the process was asked to end.
    pub stop: fn() -> bool,
    /// Whether the process was asked to save since the last call.
    pub save: fn() -> bool,
}

impl Default for Outside {
    fn default() -> Self {
        let listener = Arc::new(|_: &Path| Events::none());
        Self { listener, ended: Arc::new(|_| ()), stop: || false, save: || false }
    }
}

/// A dialog that asks for a folder.
pub type PickFolder = fn(&Context) -> Receiver<Option<PathBuf>>;

/// What a window begins with.
pub struct Start {
    /// Runs to show.
    pub runs: Vec<PathBuf>,
    /// A run to start.
    pub job: Option<Job>,
    /// The process around the window.
    pub outside: Outside,
    /// What an earlier window remembered.
    pub remembered: Remembered,
    /// The dialog for folders, if there is one.
    pub pick_folder: Option<PickFolder>,
    /// Runs are read again this often. A frame by a software adapter takes time from a run.
    pub period: Duration,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            runs: vec![],
            job: None,
            outside: Outside::default(),
            remembered: Remembered::default(),
            pick_folder: None,
            period: Duration::from_millis(500),
        }
    }
}

/// The content of the window.
pub struct App {
    form: Form,
    card: Option<Card>,
    driven: Option<Driven>,
    panes: Vec<Pane>,
    remembered: Remembered,
    outside: Outside,
    pick_folder: Option<PickFolder>,
    period: Duration,
    picked: Option<(PickedFor, Receiver<Option<PathBuf>>)>,
    adapters: Option<Task<Vec<String>>>,
    /// The path in the field for runs.
    path: String,
    /// What the user is told: an error or a remark, until it is dismissed.
    said: Vec<(bool, String)>,
    /// The end of the last run of this window.
    ended: Option<Ended>,
    is_closing: bool,
    /// Whether the user does not wait until the run is saved.
    closes_at_once: bool,
    shows_help: bool,
    frames: Frames,
}

/// Times of the frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// Number of frames.
    pub n: u64,
    /// The longest time that a frame took on the window's thread.
    pub longest: Duration,
}

impl App {
    /// The content of a window that begins with `start`.
    pub fn new(context: &Context, start: Start) -> Self {
        let Start { runs, job, outside, remembered, pick_folder, period } = start;
        // Asking the drivers takes a while.
        let adapters = Task::new("looking for adapters", context, |_| {
            Ok(gpu::adapters().into_iter().map(|adapter| adapter.name).collect::<Vec<_>>())
        });
        let mut app = Self {
            form: Form::new(),
            card: None,
            driven: None,
            panes: vec![],
            remembered,
            outside,
            pick_folder,
            period,
            picked: None,
            adapters: Some(adapters),
            path: String::new(),
            said: vec![],
            ended: None,
            is_closing: false,
            closes_at_once: false,
            shows_help: false,
            frames: Frames::default(),
        };
        runs.iter().for_each(|run| app.open(run, context));
        if let Some(job) = job {
            app.start(job, context);
        }
        app
    }

    /// What the next window is to remember.
    pub fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// The end of the last run that this window drove. It is returned once.
    pub fn take_end(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// Times of the frames so far.
    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// Whether a run of this window is going on.
    pub fn is_driving(&self) -> bool {
        self.driven.as_ref().is_some_and(|driven| !driven.is_over())
    }

    /// Shows the run in `folder`, beside the one that is shown already.
    pub fn open(&mut self, folder: &Path, context: &Context) {
        let folder = whole(folder);
        if !self.panes.iter().any(|pane| pane.folder() == folder) {
            // The run of this window stays, and the last of the others makes room.
            let own = self.driven.as_ref().map(|driven| whole(driven.folder()));
            while self.panes.len() >= N_PANES {
                let other = self.panes.iter().rposition(|pane| Some(pane.folder()) != own.as_deref());
                self.panes.remove(other.unwrap_or(0));
            }
            self.panes.insert(0, Pane::new(&folder, self.period, context));
        }
        self.remembered.recent.retain(|known| *known != folder);
        self.remembered.recent.insert(0, folder);
        self.remembered.recent.truncate(N_RECENT);
    }

    /// Starts `job` and shows its run.
    fn start(&mut self, job: Job, context: &Context) {
        if self.driven.is_some() {
            return self.say(true, "Another run of this window is going on. Stop it first.");
        }
        match Driven::start(job, &self.outside, context) {
            Ok(driven) => {
                let folder = driven.folder().to_owned();
                self.driven = Some(driven);
                self.open(&folder, context);
            }
            Err(error) => self.said.push((true, error.to_string())),
        }
    }

    /// Tells the user something, until it is dismissed.
    fn say(&mut self, is_error: bool, text: impl Into<String>) {
        let text = text.into();
        self.said.retain(|(_, said)| *said != text);
        self.said.push((is_error, text));
    }

    /// Whether closing has to wait until the run of this window is saved. Before the first step there is nothing to save.
    fn must_wait(&self) -> bool {
        // A run that is over is waited for too, until its end is taken.
        !self.closes_at_once && self.driven.as_ref().is_some_and(|driven| driven.progress().is_some())
    }

    /// What does not need a frame: requests to the process, the end of the run, closing.
    pub fn tick(&mut self, context: &Context) {
        if let Some(driven) = &self.driven {
            if (self.outside.save)() {
                driven.save();
            }
            if let Some(end) = driven.take_end() {
                self.driven = None;
                self.panes.iter().for_each(Pane::look);
                match &end.result {
                    Ok(_) => self.say(false, format!("{} is finished.", name_of(&end.folder))),
                    Err(Error::Interrupted { step, .. }) => self.say(
                        false,
                        format!(
                            "{} is saved after step {step}. It goes on with Resume, or with: {}",
                            name_of(&end.folder),
                            pane::resume_command(&end.folder)
                        ),
                    ),
                    Err(error) => {
                        // Nobody would see the error of a window that closes.
                        self.is_closing = false;
                        self.say(true, error.to_string());
                    }
                }
                self.form.forget();
                self.ended = Some(end);
            }
        }
        let (asked, told) =
            (context.input(|input| input.viewport().close_requested()), (self.outside.stop)());
        if (asked || told) && !self.is_closing && self.must_wait() {
            self.is_closing = true;
            if let Some(driven) = &mut self.driven {
                driven.stop();
            }
        }
        if asked && self.must_wait() {
            context.send_viewport_cmd(ViewportCommand::CancelClose);
        }
        if (self.is_closing || told) && !self.must_wait() {
            context.send_viewport_cmd(ViewportCommand::Close);
        }
        if let Some(driven) = self.driven.as_ref().filter(|_| (asked || told) && !self.must_wait()) {
            driven.give_up();
        }
    }

    /// Shows the window.
    pub fn ui(&mut self, ui: &mut Ui) {
        let started = Instant::now();
        let context = ui.ctx().clone();
        if self.frames.n == 0 {
            add_font(&context);
            set_sizes(&context);
        }
        self.tick(&context);
        self.take_dropped(&context);
        self.take_picked(&context);
        self.keys(&context);
        let panes = named(self.panes.iter().filter_map(Pane::seen).collect());
        Panel::top("top").show(ui, |ui| self.top(ui));
        Panel::bottom("status").show(ui, |ui| self.status(ui, &panes));
        Panel::left("new run").default_size(290.0).resizable(true).show(ui, |ui| {
            ScrollArea::vertical().id_salt("new run").show(ui, |ui| self.left(ui));
        });
        if !panes.is_empty() {
            Panel::right("curves").default_size(350.0).resizable(true).show(ui, |ui| {
                ScrollArea::vertical().id_salt("curves").show(ui, |ui| self.right(ui, &panes));
            });
        }
        CentralPanel::default().show(ui, |ui| self.centre(ui));
        self.modals(&context);
        self.frames.n += 1;
        self.frames.longest = self.frames.longest.max(started.elapsed());
    }

    fn top(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            ui.strong("parsec");
            let label = ui.label("Run");
            let field =
                TextEdit::singleline(&mut self.path).hint_text("folder of a run").desired_width(220.0);
            let field = ui.add(field).labelled_by(label.id);
            let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            if ui.button("Open").clicked() || entered {
                let path = PathBuf::from(self.path.trim());
                let context = ui.ctx().clone();
                self.take(&path, &context);
            }
            self.pick_button(ui, "Open folder …", PickedFor::Run);
            ui.menu_button("Recent", |ui| self.recent(ui));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Help").clicked() {
                    self.shows_help = !self.shows_help;
                }
                theme(ui);
            });
        });
    }

    fn pick_button(&mut self, ui: &mut Ui, text: &str, what: PickedFor) {
        if let Some(pick) = self.pick_folder
            && ui.button(text).clicked()
        {
            self.picked = Some((what, pick(ui.ctx())));
        }
    }

    /// The runs that are remembered, as buttons.
    fn recent(&mut self, ui: &mut Ui) {
        if self.remembered.recent.is_empty() {
            ui.weak("none yet");
        }
        let mut chosen = None;
        for folder in &self.remembered.recent {
            let button = ui.button(name_of(folder)).on_hover_text(folder.display().to_string());
            if button.clicked() {
                chosen = Some(folder.clone());
            }
        }
        if let Some(folder) = chosen {
            let context = ui.ctx().clone();
            self.open(&folder, &context);
        }
    }

    /// The new run: its data, its settings, its buttons.
    fn left(&mut self, ui: &mut Ui) {
        let context = ui.ctx().clone();
        self.run_buttons(ui);
        ui.separator();
        ui.strong("Images");
        ui.label(
            RichText::new("Drop a folder with one folder of images per class, or a file of a data set.")
                .weak(),
        );
        ui.horizontal(|ui| {
            if ui.button("Embedded images").clicked() {
                self.set_data("embedded", &context);
            }
            self.pick_button(ui, "Folder …", PickedFor::Data);
            if ui.button("Look at the images").clicked() {
                let spec = self.form.get("data").to_owned();
                self.set_data(&spec, &context);
            }
        });
        let (spec, size) = (self.form.get("data").to_owned(), self.form.get("size").to_owned());
        if let Some(card) = self.card.as_mut().filter(|card| card.is_of(&spec, &size)) {
            card.show(ui);
        }
        ui.separator();
        if let Some(names) = self.adapters.as_ref().and_then(|task| task.result(Clone::clone)) {
            self.adapters = None;
            self.form.set_adapters(names.unwrap_or_default());
        }
        self.form.show(ui);
        if let Some(error) = self.form.error() {
            ui.colored_label(ui.visuals().error_fg_color, error);
        }
    }

    fn run_buttons(&mut self, ui: &mut Ui) {
        let context = ui.ctx().clone();
        let is_free = self.driven.is_none();
        let is_good = self.form.error().is_none();
        ui.horizontal(|ui| {
            let start = ui.add_enabled(is_free && is_good, egui::Button::new("Start"));
            if start.on_disabled_hover_text("Another run is going on, or a setting is wrong").clicked() {
                match self.form.job() {
                    Ok(job) => self.start(job, &context),
                    Err(error) => self.said.push((true, error.to_string())),
                }
            }
            let can_pause = self.driven.as_ref().is_some_and(|driven| !driven.is_stopping());
            let is_paused = self.driven.as_ref().is_some_and(Driven::is_paused);
            let text = if is_paused { "Go on" } else { "Pause" };
            if ui.add_enabled(can_pause, egui::Button::new(text)).clicked() {
                self.pause_or_go_on();
            }
            let stop = ui.add_enabled(can_pause, egui::Button::new("Stop"));
            if stop.on_hover_text("Save after this step, and end. The run can go on later").clicked()
                && let Some(driven) = &mut self.driven
            {
                driven.stop();
            }
        });
        if let Some(driven) = &self.driven {
            let doing = match (driven.is_stopping(), driven.is_paused()) {
                (true, _) => "saving".to_owned(),
                (_, true) => format!("paused, {}", driven.doing()),
                _ => driven.doing(),
            };
            ui.label(doing);
            for warning in driven.warnings() {
                ui.colored_label(ui.visuals().warn_fg_color, warning);
            }
        }
    }

    fn pause_or_go_on(&mut self) {
        match &mut self.driven {
            Some(driven) if driven.is_paused() => driven.go_on(),
            Some(driven) => driven.pause(),
            None => {}
        }
    }

    /// Takes the data with this specification, and shows them.
    fn set_data(&mut self, spec: &str, context: &Context) {
        self.form.set("data", spec);
        let skip_bad = self.form.get("skip_bad_images") == "true";
        self.card = Some(Card::new(spec, self.form.get("size"), skip_bad, context));
    }

    /// The runs, or what to begin with.
    fn centre(&mut self, ui: &mut Ui) {
        self.messages(ui);
        if self.panes.is_empty() {
            return self.welcome(ui);
        }
        let own = self.driven.as_ref().map(|driven| whole(driven.folder()));
        let mut wishes = Vec::new();
        let panes = &mut self.panes;
        ui.columns(panes.len(), |columns| {
            for (i, (pane, ui)) in panes.iter_mut().zip(columns).enumerate() {
                let is_own = own.as_deref() == Some(pane.folder());
                ScrollArea::vertical().id_salt(("run", i)).show(ui, |ui| {
                    let id = pane.folder().to_owned();
                    ui.push_id(id, |ui| wishes.extend(pane.show(ui, is_own).map(|wish| (i, wish))));
                });
            }
        });
        let context = ui.ctx().clone();
        for (i, wish) in wishes {
            self.grant(i, &wish, &context);
        }
    }

    fn grant(&mut self, i: usize, wish: &Wish, context: &Context) {
        let folder = self.panes[i].folder().to_owned();
        match wish {
            Wish::Close => drop(self.panes.remove(i)),
            Wish::GoOn => self.start(Job::Resume(folder), context),
            Wish::Train => {
                if let Some(seen) = self.panes[i].seen() {
                    self.form.train(&folder.display().to_string(), &seen.settings);
                    self.said.push((
                        false,
                        "The training is prepared at the left: choose a preset, and press Start.".into(),
                    ));
                }
            }
        }
    }

    fn welcome(&mut self, ui: &mut Ui) {
        let context = ui.ctx().clone();
        ui.vertical_centered(|ui| {
            ui.add_space(24.0);
            drop_zone(ui);
            ui.add_space(12.0);
            let button = egui::Button::new("Search on the embedded images");
            if ui.add_enabled(self.driven.is_none(), button).clicked() {
                self.form.kind = Kind::Search;
                self.set_data("embedded", &context);
                match self.form.job() {
                    Ok(job) => self.start(job, &context),
                    Err(error) => self.said.push((true, error.to_string())),
                }
            }
            ui.add_space(24.0);
            ui.strong("Recent runs");
            self.recent(ui);
            ui.add_space(12.0);
            ui.label("Drop the folder of any run to watch it, also while another process writes it.");
        });
    }

    /// Errors and remarks.
    fn messages(&mut self, ui: &mut Ui) {
        let mut dismissed = None;
        for (i, (is_error, text)) in self.said.iter().enumerate() {
            ui.horizontal_wrapped(|ui| {
                if ui.small_button("Dismiss").clicked() {
                    dismissed = Some(i);
                }
                match is_error {
                    true => ui.colored_label(ui.visuals().error_fg_color, text),
                    false => ui.label(text),
                };
            });
        }
        if let Some(i) = dismissed {
            self.said.remove(i);
        }
    }

    /// Doubts, curves and children.
    fn right(&mut self, ui: &mut Ui, runs: &[Named]) {
        for (name, run) in runs {
            let title = match runs.len() {
                1 => "What to distrust".to_owned(),
                _ => format!("What to distrust in {name}"),
            };
            egui::CollapsingHeader::new(title).default_open(runs.len() == 1).show(ui, |ui| {
                pane::doubts(ui, run);
            });
        }
        let step = self.panes.iter().find_map(Pane::step);
        curves::curves(ui, runs, step.map(|step| step as f64));
        curves::children(ui, runs);
    }
}

/// A run with a name that no other shown run has.
pub type Named = (String, Arc<Seen>);

/// The runs with their names. Equal names are numbered.
fn named(runs: Vec<Arc<Seen>>) -> Vec<Named> {
    let is_double = |seen: &Arc<Seen>| runs.iter().filter(|other| other.name == seen.name).count() > 1;
    let name = |(i, seen): (usize, &Arc<Seen>)| match is_double(seen) {
        true => format!("{} ({})", seen.name, i + 1),
        false => seen.name.clone(),
    };
    runs.iter().enumerate().map(name).zip(runs.iter().cloned()).collect()
}

/// The whole path of a folder.
fn whole(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}
