//! What a user does with the window, and runs to look at.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use parsec_nas::config::{Config, TrainConfig};
use parsec_nas::run::{Control, Events};
use parsec_nas::runner;
use parsec_nas::search::Search;
use parsec_nas::train::Training;
use parsec_nas::window::{App, Start};
use toml::Table;

use crate::small;

/// A window without a display.
pub type Window = Harness<'static, App>;

/// Nothing in these tests takes longer, even on a slow machine with a software adapter.
const PATIENCE: Duration = Duration::from_secs(240);

/// The current folder of these tests, in which runs get their folders.
pub fn place() -> &'static Path {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = || {
        let place = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::env::set_current_dir(place.path()).unwrap();
        place
    };
    PLACE.get_or_init(made).path()
}

/// A window that begins with `start`.
pub fn window_of(start: Start) -> Window {
    place();
    let app = App::new(&egui::Context::default(), start);
    let show = |ui: &mut egui::Ui, app: &mut App| app.ui(ui);
    // Everything that a run shows is on the screen, so that no test has to scroll.
    Harness::builder().with_size(egui::vec2(1600.0, 2400.0)).build_ui_state(show, app)
}

/// A window as it is after its first start.
pub fn window() -> Window {
    window_of(Start::default())
}

/// A window with runs.
pub fn window_on(runs: &[&Path]) -> Window {
    window_of(Start { runs: runs.iter().map(|run| run.to_path_buf()).collect(), ..Start::default() })
}

/// All texts that are on the screen.
pub fn texts(window: &Window) -> Vec<String> {
    let all = window.root().children_recursive();
    all.flat_map(|node| {
        let node = node.accesskit_node();
        [node.label(), node.value()].into_iter().flatten().collect::<Vec<_>>()
    })
    .collect()
}

/// Whether a text with this part is on the screen.
pub fn shows(window: &Window, part: &str) -> bool {
    texts(window).iter().any(|text| text.contains(part))
}

/// Draws until `is_so`.
pub fn until(window: &mut Window, what: &str, is_so: impl Fn(&Window) -> bool) {
    let started = Instant::now();
    loop {
        window.step();
        if is_so(window) {
            return;
        }
        let texts = || texts(window).join("\n");
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}; on the screen:\n{}", texts());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Draws until a text with this part is on the screen.
pub fn until_shown(window: &mut Window, part: &str) {
    until(window, part, |window| shows(window, part));
}

/// Presses the first button or heading with this label.
pub fn press(window: &mut Window, label: &str) {
    let role = |window: &Window| {
        [Role::Button, Role::DisclosureTriangle, Role::Unknown, Role::Header, Role::GenericContainer]
            .into_iter()
            .find(|role| window.query_all_by_role_and_label(*role, label).next().is_some())
    };
    until(window, label, |window| role(window).is_some());
    let role = role(window).unwrap();
    window.query_all_by_role_and_label(role, label).next().unwrap().click_accesskit();
    window.step();
}

/// Writes `text` into the field with this label.
pub fn fill(window: &mut Window, label: &str, text: &str) {
    window.get_by_role_and_label(Role::TextInput, label).focus();
    window.step();
    window.key_combination_modifiers(egui::Modifiers::COMMAND, &[egui::Key::A]);
    window.step();
    window.get_by_role_and_label(Role::TextInput, label).type_text(text);
    window.step();
    window.step();
}

/// A file that is dropped.
#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|e| e.to_string())
    }
}

/// Drops a file or a folder on the window.
pub fn drop_on(window: &mut Window, path: &Path) {
    window.input_mut().dropped_files.push(Arc::new(Dropped(path.to_owned())));
    window.step();
}

/// The step that the first progress bar shows, and the number of all steps.
pub fn step(window: &Window) -> Option<(u64, u64)> {
    texts(window).iter().find_map(|text| {
        let (step, total) = text.strip_prefix("step ")?.split_once(" of ")?;
        Some((step.parse().ok()?, total.parse().ok()?))
    })
}

fn settings(text: &str) -> Table {
    let mut table: Table = text.parse().unwrap();
    table.entry("data").or_insert(small::data().into());
    table
}

/// The settings of a short search: TOML.
pub const SHORT: &str =
    "layers = 3\nchannels = 4\nbatch = 8\nsamples = 2\nsearch_batch = 8\nsteps = 6\nwarmup = 0.34";

/// The configuration of a search.
pub fn search_config(text: &str) -> Config {
    Config::resolve(None, &settings(text)).unwrap()
}

/// A finished search in a new folder.
pub fn searched(name: &str, text: &str) -> PathBuf {
    let folder = place().join(name);
    let running = runner::start::<Search>(search_config(text), &folder, &Events::none()).unwrap();
    running.drive(&Control::new()).unwrap();
    folder
}

/// A finished training in a new folder.
pub fn trained(name: &str) -> PathBuf {
    let folder = place().join(name);
    let text = "genotype = \"DARTS_V2\"\nlayers = 3\nchannels = 4\nbatch = 8\nsteps = 4";
    let config = TrainConfig::resolve(Some("small"), None, &settings(text)).unwrap();
    let config = config.with_architecture().unwrap();
    let running = runner::start::<Training>(config, &folder, &Events::none()).unwrap();
    running.drive(&Control::new()).unwrap();
    folder
}

/// The bytes of a run's checkpoint after `step` steps: all its tensors.
pub fn tensors(run: &Path, step: u64) -> Vec<(String, Vec<u8>)> {
    let run = parsec_nas::run::RunDir::open(run).unwrap();
    let checkpoint = parsec_nas::run::checkpoint::read(&run.checkpoints().path_of(step)).unwrap();
    checkpoint.state.iter().map(|(name, tensor)| (name.clone(), format!("{tensor:?}").into_bytes())).collect()
}
