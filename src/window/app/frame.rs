//! The surroundings of the runs: light and dark, the status line, dialogs over the window, keys.

use egui::{
    Context, FontData, FontFamily, FontInsert, FontPriority, Id, InsertFontFamily, Key, Modal, Modifiers,
    RichText, Stroke, TextStyle, Theme, ThemePreference, Ui,
};

use super::take::PickedFor;
use super::{App, Named};
use crate::report;
use crate::window::driven::Driven;

impl App {
    pub(super) fn status(&self, ui: &mut Ui, runs: &[Named]) {
        ui.horizontal(|ui| {
            if runs.is_empty() {
                ui.label(RichText::new("no run is shown").small());
            }
            for (i, (name, run)) in runs.iter().enumerate() {
                if i > 0 {
                    ui.separator();
                }
                let mut parts = vec![name.clone()];
                parts.extend((!run.adapter.is_empty()).then(|| run.adapter.clone()));
                parts.extend(run.step_seconds.map(|seconds| format!("{:.0} ms a step", 1e3 * seconds)));
                let mib = run.arena_bytes / f64::from(1 << 20);
                parts.extend((mib > 0.0).then(|| format!("{mib:.0} MiB of activations")));
                ui.label(RichText::new(parts.join(" · ")).small());
            }
            let left = self.driven.as_ref().filter(|_| self.is_driving()).and_then(Driven::seconds_left);
            if let Some(seconds) = left {
                ui.separator();
                ui.label(RichText::new(format!("about {} left", in_words(seconds))).small());
            }
        });
    }

    pub(super) fn modals(&mut self, context: &Context) {
        if self.is_closing && self.must_wait() {
            let at_once = Modal::new(Id::unique("closing")).show(context, |ui| {
                ui.heading("Saving");
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label("The window closes when the step is done and saved.");
                });
                let help = "What was done since the last checkpoint is done again when the run goes on";
                ui.button("Close without saving").on_hover_text(help).clicked()
            });
            self.closes_at_once = at_once.inner;
        }
        if self.shows_help {
            let frames = self.frames;
            let help = Modal::new(Id::unique("help")).show(context, |ui| {
                ui.heading("Help");
                egui::Grid::new("keys").show(ui, |ui| {
                    for (keys, what) in KEYS {
                        ui.monospace(*keys);
                        ui.label(*what);
                        ui.end_row();
                    }
                });
                ui.weak(format!(
                    "{} frames, the longest took {:.0} ms",
                    frames.n,
                    1e3 * frames.longest.as_secs_f64()
                ));
                ui.button("Close help").clicked()
            });
            if help.inner || help.should_close() {
                self.shows_help = false;
            }
        }
        let is_hovered = context.input(|input| !input.raw.hovered_files.is_empty());
        if is_hovered {
            Modal::new(Id::unique("drop")).show(context, |ui| {
                ui.heading("Drop it");
                ui.label(
                    "A folder of images or a data set: a new run. A run: it is shown. An image: its class.",
                );
            });
        }
    }

    pub(super) fn keys(&mut self, context: &Context) {
        let pressed = |key: Key| context.input_mut(|input| input.consume_key(Modifiers::COMMAND, key));
        if pressed(Key::N) {
            self.panes.clear();
        }
        if pressed(Key::P) {
            self.pause_or_go_on();
        }
        if pressed(Key::S)
            && let Some(driven) = &self.driven
        {
            driven.save();
        }
        if pressed(Key::D) {
            let is_dark = context.theme() == Theme::Dark;
            context.set_theme(if is_dark { ThemePreference::Light } else { ThemePreference::Dark });
        }
        if pressed(Key::W) && !self.panes.is_empty() {
            self.panes.remove(0);
        }
        if pressed(Key::O)
            && let Some(pick) = self.pick_folder
        {
            self.picked = Some((PickedFor::Run, pick(context)));
        }
        if context.input_mut(|input| input.consume_key(Modifiers::NONE, Key::F1)) {
            self.shows_help = !self.shows_help;
        }
        if !context.egui_wants_keyboard_input() {
            let moved = context.input(|input| {
                i64::from(input.key_pressed(Key::ArrowRight)) - i64::from(input.key_pressed(Key::ArrowLeft))
            });
            if moved != 0 {
                self.panes.iter_mut().for_each(|pane| pane.turn(moved));
            }
        }
    }
}

/// The choice between light and dark, in words.
pub(super) fn theme(ui: &mut Ui) {
    let mut chosen = ui.ctx().options(|options| options.theme_preference);
    for (preference, text) in [
        (ThemePreference::Light, "Light"),
        (ThemePreference::Dark, "Dark"),
        (ThemePreference::System, "System"),
    ] {
        if ui.selectable_value(&mut chosen, preference, text).changed() {
            ui.ctx().set_theme(preference);
        }
    }
}

/// Sets the sizes of texts: readable on a small screen, and larger ones by zooming.
pub(super) fn set_sizes(context: &Context) {
    context.all_styles_mut(|style| {
        for (text, font) in &mut style.text_styles {
            font.size = match text {
                TextStyle::Heading => 19.0,
                TextStyle::Small => 11.0,
                TextStyle::Monospace => 12.5,
                _ => 13.5,
            };
        }
    });
}

/// A frame that says what may be dropped.
pub(super) fn drop_zone(ui: &mut Ui) {
    let stroke = Stroke::new(1.5, ui.visuals().weak_text_color());
    let frame = egui::Frame::new().stroke(stroke).corner_radius(10).inner_margin(28);
    frame.show(ui, |ui| {
        ui.heading("Drop a folder of images here");
        ui.label("One folder of images per class. parsec searches a network for them.");
    });
}

/// Adds the font of the drawings for characters that egui's fonts lack, such as arrows.
pub(super) fn add_font(context: &Context) {
    let font = FontData::from_static(report::png::FONT);
    let families = [FontFamily::Proportional, FontFamily::Monospace]
        .map(|family| InsertFontFamily { family, priority: FontPriority::Lowest });
    context.add_font(FontInsert::new("DejaVu Sans", font, families.to_vec()));
}

/// The keys and what they do.
const KEYS: &[(&str, &str)] = &[
    ("Ctrl N", "close the runs that are shown, for a new one"),
    ("Ctrl O", "open the folder of a run"),
    ("Ctrl W", "close the first run that is shown"),
    ("Ctrl P", "pause the run of this window, or let it go on"),
    ("Ctrl S", "save the run of this window after its step; a paused one when it goes on"),
    ("Ctrl D", "light or dark"),
    ("← →", "move the replay"),
    ("Ctrl + − 0", "larger, smaller, usual size"),
    ("F1", "this help"),
];

/// A duration in words.
fn in_words(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}
