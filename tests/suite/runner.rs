//! A run from the library: events in a channel, pause and stop, and the bits of the command.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};

use parsec_nas::config::{Config, TrainConfig};
use parsec_nas::run::{Control, Event, Events, RunDir};
use parsec_nas::search::Search;
use parsec_nas::train::Training;
use parsec_nas::{Error, runner};
use tempfile::TempDir;
use toml::Table;

use super::small;

fn settings() -> Table {
    let mut settings = toml::toml! {
        layers = 3 steps = 4 channels = 4 batch = 8 samples = 2 search_batch = 16
        primitives = "max_pool_3x3,skip_connect" seed = 3
    };
    settings.insert("data".into(), small::data().into());
    settings
}

fn last_state(run: &Path) -> Vec<u8> {
    let checkpoints = RunDir::open(run).unwrap().checkpoints();
    let last = *checkpoints.steps().unwrap().last().unwrap();
    std::fs::read(checkpoints.path_of(last).join("state.safetensors")).unwrap()
}

fn command(folder: &Path, args: &[&str]) {
    let out = Command::new(env!("CARGO_BIN_EXE_parsec")).current_dir(folder).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// A search that is paused, continued, stopped and resumed ends with the state and the result of the command.
#[test]
fn a_search_on_a_thread_has_the_bits_of_the_command() {
    let folder = TempDir::new().unwrap();
    let flags = "search --layers 3 --steps 4 --channels 4 --batch 8 --samples 2 --search-batch 16 --seed 3 --run c -q \
                 --primitives max_pool_3x3,skip_connect --data";
    command(folder.path(), &[&flags.split(' ').collect::<Vec<_>>()[..], &[small::data()]].concat());

    let path = folder.path().join("l");
    let control = Arc::new(Control::new());
    let (tell, events) = mpsc::channel();
    let (of_search, of_thread) = (Arc::clone(&control), path.clone());
    let search = std::thread::spawn(move || {
        let config = Config::resolve(None, &settings()).unwrap();
        let events = Events::new(move |event| _ = tell.send(event));
        runner::start::<Search>(config, &of_thread, &events)?.drive(&of_search)
    });
    let (mut steps, mut notes) = (0, Vec::new());
    for event in events {
        match event {
            Event::Step { progress, line } => {
                steps += 1;
                assert_eq!((progress.step, progress.total), (steps, 4));
                assert!(line.starts_with("{\"step\":") && !line.contains('\n'));
                if steps == 1 {
                    control.pause();
                    control.go_on();
                }
                if steps == 2 {
                    control.stop();
                }
            }
            Event::Note(text) => notes.push(text),
            Event::Warning(text) => panic!("{text}"),
            Event::Read { line, .. } => notes.push(line),
            Event::Reading { .. } | Event::Compiling { .. } | Event::Stepped => {}
        }
    }
    match search.join().unwrap() {
        Err(Error::Interrupted { step, .. }) => assert_eq!(step, steps),
        // The search may have done its last step before it is asked to stop.
        other => assert_eq!((other.unwrap().steps, steps), (4, 4)),
    }
    assert!(notes.iter().any(|note| note.contains("run folder")), "{notes:?}");

    let run = RunDir::open_for_writing(&path).unwrap();
    let events = Events::none();
    let found = runner::resume::<Search>(&path, run, &runner::Changes::default(), &events)
        .unwrap()
        .drive(&Control::new())
        .unwrap();
    assert_eq!(last_state(&path), last_state(&folder.path().join("c")));
    let genotype = std::fs::read_to_string(folder.path().join("c/genotype.txt")).unwrap();
    assert_eq!(found.genotype, genotype.trim());
    assert!(found.to_string().contains("held-out accuracy"), "{found}");
}

#[test]
fn a_training_is_run_by_the_same_runner() {
    let folder = TempDir::new().unwrap();
    let flags = "train --genotype DARTS_V2 --steps 2 --channels 2 --batch 4 --run c -q";
    command(folder.path(), &flags.split(' ').collect::<Vec<_>>());
    let given = toml::toml! { genotype = "DARTS_V2" steps = 2 channels = 2 batch = 4 };
    let mut config = TrainConfig::resolve(None, None, &given).unwrap();
    config.architecture.genotype = std::fs::read_to_string(folder.path().join("c/genotype.txt")).unwrap();
    let path = folder.path().join("l");
    let running = runner::start::<Training>(config, &path, &Events::none()).unwrap();
    let trained = running.drive(&Control::new()).unwrap();
    assert_eq!(trained.steps, 2);
    assert_eq!(last_state(&path), last_state(&folder.path().join("c")));
}
