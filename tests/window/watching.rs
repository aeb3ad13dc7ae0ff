//! Runs and images that the window is given.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use egui::Key;
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable;

use parsec_nas::run::{Control, Events, RunDir, checkpoint};
use parsec_nas::runner;
use parsec_nas::search::draws::draw;
use parsec_nas::search::retrace::{Recorded, Retrace};
use parsec_nas::search::{Rules, Search};

use crate::hands::{
    SHORT, drop_on, fill, place, press, search_config, searched, shows, step, texts, trained, until,
    until_shown, window, window_on,
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let into = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &into);
        } else {
            fs::copy(entry.path(), into).unwrap();
        }
    }
}

#[test]
fn a_run_is_replayed() {
    let run = searched("replayed", SHORT);
    let mut window = window_on(&[&run]);
    until_shown(&mut window, "The prior after step 6");
    let label = "network with edges as thick as the prior makes them";
    until(&mut window, "the drawing", |window| window.query_by_role_and_label(Role::Image, label).is_some());
    window.key_press(Key::ArrowLeft);
    until_shown(&mut window, "The prior after step 5");
    window.key_press(Key::ArrowLeft);
    until_shown(&mut window, "The prior after step 4");
    press(&mut window, "Newest");
    until_shown(&mut window, "The prior after step 6");
    window.get_by_role_and_label(Role::Slider, "Step").set_value_accesskit(1.0);
    until_shown(&mut window, "The prior after step 1");
    press(&mut window, "Replay");
    until_shown(&mut window, "The prior after step 6");
    let map = "heat map of the prior";
    until(&mut window, map, |window| window.query_by_role_and_label(Role::Image, map).is_some());
    // The uniform prior over seven primitives.
    window.get_by_role_and_label(Role::Slider, "Step").set_value_accesskit(0.0);
    until_shown(&mut window, "The prior after step 0: entropy 50.28 nats");
}

#[test]
fn a_run_that_is_being_written_is_followed() {
    let whole = searched("whole", SHORT);
    let run = place().join("written");
    copy(&whole, &run);
    let metrics = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    let lines: Vec<&str> = metrics.split_inclusive('\n').collect();
    let result = fs::read(run.join("result.json")).unwrap();
    fs::remove_file(run.join("result.json")).unwrap();
    fs::write(run.join("metrics.jsonl"), lines[..2].concat()).unwrap();
    let mut window = window_on(&[&run]);
    until(&mut window, "step 2", |window| step(window) == Some((2, 6)));
    let mut file = fs::File::options().append(true).open(run.join("metrics.jsonl")).unwrap();
    // A line that is not whole waits for its end.
    let (half, rest) = lines[3].split_at(20);
    file.write_all([lines[2], half].concat().as_bytes()).unwrap();
    until(&mut window, "step 3", |window| step(window) == Some((3, 6)));
    file.write_all(rest.as_bytes()).unwrap();
    until(&mut window, "step 4", |window| step(window) == Some((4, 6)));
    // A resume cuts the metrics back.
    fs::write(run.join("metrics.jsonl"), lines[..3].concat()).unwrap();
    until(&mut window, "step 3 again", |window| step(window) == Some((3, 6)));
    fs::write(run.join("metrics.jsonl"), &metrics).unwrap();
    fs::write(run.join("result.json"), result).unwrap();
    until_shown(&mut window, "finished, 6 steps");
}

#[test]
fn damage_is_named_and_the_rest_is_shown() {
    let whole = searched("sound", SHORT);
    let run = place().join("damaged");
    copy(&whole, &run);
    fs::write(run.join("genotype.txt"), "no architecture").unwrap();
    fs::remove_file(run.join("result.json")).unwrap();
    let metrics = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    fs::write(run.join("metrics.jsonl"), metrics.replacen("\"alpha\"", "\"alphaX", 1)).unwrap();
    let mut window = window_on(&[&run]);
    until_shown(&mut window, "a file of the run is damaged");
    until_shown(&mut window, "no record of a step");

    let worse = place().join("worse");
    copy(&whole, &worse);
    fs::write(worse.join("manifest.json"), "{").unwrap();
    fill(&mut window, "Run", worse.to_str().unwrap());
    press(&mut window, "Open");
    until_shown(&mut window, "manifest.json");
    // The other run is still there.
    until_shown(&mut window, "a file of the run is damaged");
}

#[test]
fn two_runs_are_side_by_side() {
    let (a, b) = (searched("side-a", SHORT), trained("side-b"));
    let mut window = window_on(&[&a]);
    drop_on(&mut window, &b);
    until_shown(&mut window, "What to distrust in side-a");
    until_shown(&mut window, "What to distrust in side-b");
    // The last one that was opened is the first.
    let names: Vec<String> = texts(&window).into_iter().filter(|text| text.starts_with("side-")).collect();
    assert!(names.iter().any(|name| name == "side-a") && names.iter().any(|name| name == "side-b"));
    window.key_press_modifiers(egui::Modifiers::COMMAND, Key::W);
    until(&mut window, "one run", |window| !shows(window, "What to distrust in"));
    assert!(shows(&window, "side-a"));
    press(&mut window, "Recent");
    until(&mut window, "the closed run", |window| {
        window.query_by_role_and_label(Role::Button, "side-b").is_some()
    });
}

#[test]
fn a_folder_of_images_becomes_a_card() {
    let photos = place().join("photos");
    for (class, grey) in [("cats", 40), ("dogs", 200)] {
        fs::create_dir_all(photos.join(class)).unwrap();
        for i in 0..6 {
            let image = image::RgbImage::from_pixel(20, 20, image::Rgb([grey, grey + i, grey]));
            image.save(photos.join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    fs::write(photos.join("cats/notes.txt"), "none").unwrap();
    let mut window = window();
    drop_on(&mut window, &photos);
    until_shown(&mut window, "passed over: 1 .txt");
    press(&mut window, "2 classes");
    until(&mut window, "the classes", |window| shows(window, "cats: ") && shows(window, "dogs: "));
    window.get_all_by_role_and_label(Role::Image, "an image of cats").next().unwrap();
    let field = window.get_by_role_and_label(Role::TextInput, "data");
    assert_eq!(field.value().unwrap(), format!("folder:{}", photos.display()));
}

#[test]
fn what_cannot_be_taken_is_refused_with_a_reason() {
    let mut window = window();
    let empty = place().join("empty");
    fs::create_dir_all(&empty).unwrap();
    drop_on(&mut window, &empty);
    until_shown(&mut window, "empty: ");
    let image = place().join("alone.png");
    image::GrayImage::from_pixel(8, 8, image::Luma([9])).save(&image).unwrap();
    drop_on(&mut window, &image);
    until_shown(&mut window, "Open a run first");
    drop_on(&mut window, &place().join("nowhere"));
    until_shown(&mut window, "there is nothing of this name");
    let text = place().join("text.png");
    fs::write(&text, "no image").unwrap();
    let run = trained("asked");
    drop_on(&mut window, &run);
    until_shown(&mut window, "finished, 4 steps");
    drop_on(&mut window, &text);
    until_shown(&mut window, "text.png");
}

#[test]
fn a_search_names_the_class_of_an_image_by_its_shared_weights() {
    let run = searched("asked-search", SHORT);
    let mut window = window_on(&[&run]);
    let image = place().join("shared.png");
    image::GrayImage::from_pixel(28, 28, image::Luma([120])).save(&image).unwrap();
    until_shown(&mut window, "finished, 6 steps");
    drop_on(&mut window, &image);
    until_shown(&mut window, "By the shared weights of the search");
}

/// Metrics of `steps` steps of the search in `run`, which has done one: the children that the prior and the seed give, with
/// weights that are made up.
fn long_metrics(run: &Path, steps: u64) -> String {
    let dir = RunDir::open(run).unwrap();
    let config = dir.config().unwrap();
    let space = config.space().unwrap();
    let start = checkpoint::read(&dir.checkpoints().path_of(0)).unwrap().state;
    let mut retrace = Retrace::new(&config, &*space, &start).unwrap().unwrap();
    let rules = Rules { warm_up: Some(steps / 2), ..Rules::of(&config, 1) };
    let line = fs::read_to_string(dir.metrics_path()).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let mut text = String::new();
    for t in 0..steps {
        let alphas = draw(retrace.prior(), &rules, t).alphas;
        let warm_up = t < steps / 2;
        let scores: Vec<f64> =
            (0..alphas.len()).map(|k| ((t * 31 + k as u64 * 17) % 101) as f64 / 50.0).collect();
        let sum: f64 = scores.iter().map(|x| x.exp()).sum();
        let weights: Vec<f64> = scores.iter().map(|x| x.exp() / sum).collect();
        assert!(retrace.follow(&Recorded { step: t + 1, warm_up, alphas: &alphas, weights: &weights }));
        record["step"] = (t + 1).into();
        record["warm_up"] = warm_up.into();
        record["alpha"] = serde_json::json!(alphas.iter().map(|alpha| alpha.0.clone()).collect::<Vec<_>>());
        record["log_likelihood"] = serde_json::json!(scores);
        record["weights"] = serde_json::json!(weights);
        record["train_loss"] = serde_json::json!(2.3 - (t as f64 / steps as f64) + scores[0]);
        text += &format!("{record}\n");
    }
    text
}

#[test]
fn ten_thousand_steps_are_opened_and_replayed() {
    let run = place().join("long");
    let text = SHORT.replace("steps = 6", "steps = 10000");
    let running = runner::start::<Search>(search_config(&text), &run, &Events::none()).unwrap();
    let control = Control::new();
    control.stop();
    running.drive(&control).unwrap_err();
    fs::write(run.join("metrics.jsonl"), long_metrics(&run, 10_000)).unwrap();
    let started = Instant::now();
    let mut window = window_on(&[&run]);
    until_shown(&mut window, "The prior after step 10000");
    println!("10,000 steps were there after {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(step(&window), Some((10_000, 10_000)));
    assert!(!shows(&window, "The replay ends"), "{:?}", texts(&window));
    window.key_press(Key::ArrowLeft);
    until(&mut window, "an earlier step", |window| !shows(window, "The prior after step 10000"));
}
