//! What the user drops, names or picks → a run that is shown, the images of a new one, or an image to classify.

use std::path::{Path, PathBuf};
use std::sync::mpsc::TryRecvError;

use egui::Context;

use super::{App, N_RECENT};
use crate::data;
use crate::host::changed;
use crate::window::watch::is_run;

/// What a dialog for folders is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum PickedFor {
    Run,
    Data,
}

impl App {
    pub(super) fn take_dropped(&mut self, context: &Context) {
        let dropped = context.input(|input| input.raw.dropped_files.clone());
        for file in dropped {
            self.take(file.path(), context);
        }
    }

    pub(super) fn take_picked(&mut self, context: &Context) {
        let Some((what, picked)) = &self.picked else { return };
        let what = *what;
        let path = match picked.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => None,
            Ok(path) => path,
        };
        self.picked = None;
        if let Some(path) = path {
            match what {
                PickedFor::Data if !is_run(&path) => self.take_data(&path, context),
                _ => self.take(&path, context),
            }
        }
    }

    /// Takes what the user dropped or named: a run, a folder of runs, images to search for, or one image to classify.
    pub(super) fn take(&mut self, path: &Path, context: &Context) {
        if is_run(path) {
            return self.open(path, context);
        }
        let runs = runs_in(path);
        if !runs.is_empty() {
            for run in runs.into_iter().rev() {
                self.remembered.recent.retain(|known| *known != run);
                self.remembered.recent.insert(0, run);
            }
            self.remembered.recent.truncate(N_RECENT);
            let text = format!("{} is a folder of runs: its runs are among the recent ones.", path.display());
            return self.said.push((false, text));
        }
        if path.is_dir() || data::guess(path).is_some() {
            return self.take_data(path, context);
        }
        if !path.exists() {
            return self.said.push((true, format!("{}: there is nothing of this name", path.display())));
        }
        let mut is_asked = false;
        for pane in self.panes.iter_mut().filter(|pane| pane.can_be_asked()) {
            pane.ask(path, context);
            is_asked = true;
        }
        if !is_asked {
            self.say(
                true,
                format!(
                    "{}: a file by itself is an image to classify, and no run is shown that could now. Open a run first, or \
                     drop a folder of images.",
                    path.display()
                ),
            );
        }
    }

    fn take_data(&mut self, path: &Path, context: &Context) {
        match data::guess(path) {
            Some(spec) => self.set_data(&spec, context),
            None => {
                self.said.push((true, format!("{}: no folder of images, and no data set", path.display())))
            }
        }
    }
}

/// The runs in the folder `path`, the newest first.
fn runs_in(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let runs = entries.map(|entry| entry.path()).filter(|path| is_run(path)).map(|path| {
        let time = std::fs::metadata(path.join("metrics.jsonl")).ok().and_then(|about| changed(&about));
        (std::cmp::Reverse(time), std::path::absolute(&path).unwrap_or(path))
    });
    let mut runs: Vec<_> = runs.collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).take(N_RECENT).collect()
}
