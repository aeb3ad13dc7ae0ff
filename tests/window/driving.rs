//! Runs that the window starts.

use std::path::Path;
use std::time::Duration;

use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT, Queryable};
use parsec_nas::run::RunDir;
use parsec_nas::window::{Job, Start};

use crate::hands::{
    SHORT, Window, drop_on, fill, place, press, search_config, searched, shows, step, tensors, texts, until,
    until_shown, window, window_of,
};
use crate::small;

/// Fills in the settings of a short search of `steps` steps.
fn short(window: &mut Window, steps: &str) {
    let rows = [("data", small::data()), ("layers", "3"), ("channels", "4"), ("steps", steps)];
    for (label, text) in rows {
        fill(window, label, text);
    }
    press(window, "All settings");
    window.run_steps(10);
    for (label, text) in [("batch", "8"), ("samples", "2"), ("search batch", "8")] {
        fill(window, label, text);
    }
}

/// The folder of the newest search of these tests that `is_it` accepts.
fn newest(is_it: impl Fn(&RunDir) -> bool) -> RunDir {
    let runs = std::fs::read_dir(place().join("runs")).unwrap().flatten();
    let mut runs: Vec<RunDir> = runs.filter_map(|entry| RunDir::open(&entry.path()).ok()).collect();
    runs.retain(is_it);
    runs.sort_by_key(|run| run.path().to_owned());
    runs.pop().unwrap()
}

#[test]
fn a_search_is_started_paused_and_stopped_and_goes_on() {
    let mut window = window();
    short(&mut window, "350");
    press(&mut window, "Start");
    until(&mut window, "the third step", |window| step(window).is_some_and(|(step, _)| step >= 3));
    press(&mut window, "Pause");
    until_shown(&mut window, "paused, ");
    // The step that was going on is finished.
    std::thread::sleep(Duration::from_secs(1));
    window.step();
    let paused = window.state().is_driving();
    let doing = texts(&window).into_iter().find(|text| text.starts_with("paused, ")).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    window.step();
    assert!(paused && shows(&window, &doing), "{doing}");
    press(&mut window, "Go on");
    until(&mut window, "another step", |window| !shows(window, &doing.replace("paused, ", "")));
    press(&mut window, "Stop");
    until_shown(&mut window, " is saved after step ");
    let said = texts(&window).into_iter().find(|text| text.contains(" is saved after step ")).unwrap();
    let run = newest(|run| run.manifest().unwrap().total_steps == 350);
    let saved = *run.checkpoints().steps().unwrap().last().unwrap();
    assert!(said.contains(&format!("after step {saved}.")) && saved < 350, "{said}");

    press(&mut window, "Resume");
    until(&mut window, "a step after the saved one", |window| {
        step(window).is_some_and(|(step, _)| step > saved)
    });
    press(&mut window, "Stop");
    until(&mut window, "the end", |window| !window.state().is_driving());
    assert!(*run.checkpoints().steps().unwrap().last().unwrap() > saved);
}

#[test]
fn a_search_on_the_embedded_images_is_one_button_away() {
    let mut window = window();
    press(&mut window, "Search on the embedded images");
    until(&mut window, "the first step", |window| step(window).is_some_and(|(step, _)| step >= 1));
    assert_eq!(step(&window).unwrap().1, 400);
    // The card of the images is there too.
    until_shown(&mut window, "10 classes");
    press(&mut window, "Stop");
    until_shown(&mut window, " is saved after step ");
}

#[test]
fn a_search_ends_and_what_was_found_is_trained_exported_and_asked() {
    let mut window = window();
    short(&mut window, "5");
    press(&mut window, "Start");
    until_shown(&mut window, "is finished.");
    let run = newest(|run| run.manifest().unwrap().total_steps == 5);
    // Shared weights are no network for other programs.
    let export = window.get_by_role_and_label(Role::Button, "Export");
    assert!(export.accesskit_node().is_disabled());
    press(&mut window, "Train what was found");
    until_shown(&mut window, "The training is prepared at the left");
    // A search of other data than the embedded ones prepares a long training.
    for (label, text) in [("layers", "3"), ("channels", "4"), ("steps", "4")] {
        fill(&mut window, label, text);
    }
    fill(&mut window, "batch", "8");
    press(&mut window, "Start");
    until(&mut window, "a training", |window| shows(window, "train-0001 is finished."));
    let trained = place().join("runs/train-0001");
    let genotype = |run: &Path| std::fs::read_to_string(run.join("genotype.txt")).unwrap();
    assert_eq!(genotype(&trained), genotype(run.path()));

    press(&mut window, "Export");
    until_shown(&mut window, "network.onnx");
    for name in ["network.onnx", "network.safetensors", "network.py"] {
        assert!(trained.join("export").join(name).is_file(), "{name}");
    }
    press(&mut window, "Confusion matrix");
    until_shown(&mut window, "among the first five");
    until(&mut window, "the matrix", |window| {
        window.query_by_role_and_label(Role::Image, "confusion matrix").is_some()
    });
    let image = place().join("a.png");
    image::GrayImage::from_pixel(40, 40, image::Luma([90])).save(&image).unwrap();
    drop_on(&mut window, &image);
    until(&mut window, "classes of the image", |window| {
        texts(window).iter().filter(|text| text.ends_with(" %") && text.contains(' ')).count() >= 5
    });
    // The training is the first of the two runs that are shown.
    press(&mut window, "Report");
    until_shown(&mut window, "to be opened by a browser");
    assert!(trained.join("report.html").is_file());
}

#[test]
fn a_search_in_the_window_has_the_bits_of_one_without() {
    let without = searched("without", SHORT);
    let config = Config { run: place().join("within") }.of(SHORT);
    let job = Some(Job::Search(Box::new(config)));
    let mut window = window_of(Start { job, ..Start::default() });
    until_shown(&mut window, "is finished.");
    let within = place().join("within");
    assert_eq!(tensors(&without, 6), tensors(&within, 6));
    let lines = |run: &Path| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let line = |line: &str| {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            value.as_object_mut().unwrap().remove("seconds");
            value
        };
        text.lines().map(line).collect()
    };
    assert_eq!(lines(&without), lines(&within));
}

struct Config {
    run: std::path::PathBuf,
}

impl Config {
    fn of(self, text: &str) -> parsec_nas::config::Config {
        let mut config = search_config(text);
        config.session.run = Some(self.run);
        config
    }
}

#[test]
fn a_window_that_is_closed_saves_its_run_first() {
    let run = place().join("closed");
    let config = Config { run: run.clone() }.of(&SHORT.replace("steps = 6", "steps = 500"));
    let job = Some(Job::Search(Box::new(config)));
    let mut window = window_of(Start { job, ..Start::default() });
    until(&mut window, "the second step", |window| step(window).is_some_and(|(step, _)| step >= 2));
    let close = |window: &mut Window| {
        let id = window.input().viewport_id;
        let viewport = window.input_mut().viewports.entry(id).or_default();
        viewport.events.push(egui::ViewportEvent::Close);
    };
    close(&mut window);
    window.step();
    let commands = window.output().viewport_output.values().flat_map(|output| output.commands.clone());
    assert!(commands.into_iter().any(|command| command == egui::ViewportCommand::CancelClose));
    until(&mut window, "the word Saving or the end", |window| {
        shows(window, "Saving") || !window.state().is_driving()
    });
    until(&mut window, "the end", |window| !window.state().is_driving());
    window.step();
    let ended = window.state_mut().take_end().unwrap();
    let error = ended.result.unwrap_err().to_string();
    assert!(error.contains("after step"), "{error}");
    assert!(*RunDir::open(&run).unwrap().checkpoints().steps().unwrap().last().unwrap() >= 2);
}

#[test]
fn wrong_settings_are_named_and_start_nothing() {
    let mut window = window();
    fill(&mut window, "channels", "7");
    assert!(shows(&window, "an even integer from 2 to 1024"), "{:?}", texts(&window));
    let start = window.get_by_role_and_label(Role::Button, "Start");
    assert!(start.accesskit_node().is_disabled());
    fill(&mut window, "channels", "8");
    assert!(!shows(&window, "an even integer from 2 to 1024"));
}
