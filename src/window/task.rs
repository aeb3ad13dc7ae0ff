//! Work on a thread of its own whose result the window waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egui::Context;

use super::SOON;
use crate::error::{Error, Result};
use crate::host::thread;
use crate::run::{Event, Events};

/// The state of the work.
struct State<T> {
    /// What is being done.
    doing: String,
    warnings: Vec<String>,
    result: Option<std::result::Result<T, String>>,
}

/// Work that is being done, or its result.
pub struct Task<T>(Arc<Mutex<State<T>>>);

impl<T: Send + 'static> Task<T> {
    /// Starts `work`. Its events say what is being done.
    pub fn new(
        doing: &str,
        context: &Context,
        work: impl FnOnce(&Events) -> Result<T> + Send + 'static,
    ) -> Self {
        let state = State { doing: doing.into(), warnings: vec![], result: None };
        let shared = Arc::new(Mutex::new(state));
        let (seen, written, context) = (Arc::clone(&shared), Arc::clone(&shared), context.clone());
        let again = context.clone();
        let events = Events::new(move |event| {
            let mut state = lock(&seen);
            match event {
                Event::Reading { done, total } => state.doing = format!("reading images: {done} of {total}"),
                Event::Compiling { ready, known } => {
                    state.doing = format!("compiling kernels: {ready} of {known}");
                }
                Event::Note(note) => state.doing = note,
                Event::Warning(warning) => state.warnings.push(warning),
                _ => return,
            }
            again.request_repaint_after(std::time::Duration::from_millis(200));
        });
        thread::spawn(move || {
            let result = guarded(|| work(&events)).map_err(|e| e.to_string());
            lock(&written).result = Some(result);
            context.request_repaint_after(SOON);
        });
        Self(shared)
    }

    /// Calls `see` with the result, if it is there.
    pub fn result<R>(&self, see: impl FnOnce(&std::result::Result<T, String>) -> R) -> Option<R> {
        lock(&self.0).result.as_ref().map(see)
    }

    /// What is being done. `None` if the work is over.
    pub fn doing(&self) -> Option<String> {
        let state = lock(&self.0);
        state.result.is_none().then(|| state.doing.clone())
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.0).warnings.clone()
    }
}

/// Does `work`. A panic, which is an error of the program, becomes an error that the window can show.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("no work of the window panics")))
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
