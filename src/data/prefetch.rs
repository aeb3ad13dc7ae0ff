//! Batch sources → the batches of each step in order, prepared on other threads.
//!
//! The batches of a step are a pure function of the step's number. Each step is prepared by one of the threads, and the
//! steps are handed out in order. Therefore the number of threads changes only the time.

use crate::host::thread::{Builder, JoinHandle};
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Batch, BatchSource};
use crate::error::{Error, Result};

/// Number of steps prepared ahead. Four hide the reshuffle of an epoch and need little memory.
const AHEAD: u64 = 4;

/// Batches of consecutive steps, prepared ahead.
#[derive(Debug)]
pub struct Prefetch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// The next step that no thread has taken.
    to_prepare: u64,
    /// The next step to hand out.
    to_deliver: u64,
    /// The batches of a step, or the error while they were prepared.
    ready: BTreeMap<u64, Result<Vec<Batch>>>,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while the state is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prefetch {
    /// Prepares one batch per source for every step from `start` on, with at least one thread.
    ///
    /// # Errors
    /// [`Error::Io`] if a thread cannot be started.
    pub fn new(sources: Vec<Arc<BatchSource>>, start: u64, threads: usize) -> Result<Self> {
        Self::from_fn(move |step| sources.iter().map(|source| source.batch(step)).collect(), start, threads)
    }

    /// Like [`Self::new`], with any function of the step.
    ///
    /// # Errors
    /// [`Error::Io`] if a thread cannot be started.
    pub fn from_fn(
        prepare: impl Fn(u64) -> Result<Vec<Batch>> + Send + Sync + 'static,
        start: u64,
        threads: usize,
    ) -> Result<Self> {
        let state = State { to_prepare: start, to_deliver: start, ready: BTreeMap::new(), stop: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mut prefetch = Self { shared, threads: vec![] };
        let prepare = Arc::new(prepare);
        for i in 0..threads.max(1) {
            let (shared, prepare) = (prefetch.shared.clone(), prepare.clone());
            let thread =
                Builder::new().name(format!("data-{i}")).spawn(move || work(&shared, prepare.as_ref()));
            prefetch.threads.push(thread.map_err(|e| Error::io("start", "a data thread", e))?);
        }
        Ok(prefetch)
    }

    /// The number of the next step and its batches, one per source in the order of the sources. There is no last step.
    ///
    /// # Errors
    /// The error of a source, or [`Error::Io`] if preparing this step panicked. Every later call fails too.
    #[allow(clippy::should_implement_trait)] // It never ends and it can fail: no iterator.
    pub fn next(&mut self) -> Result<(u64, Vec<Batch>)> {
        let mut state = self.shared.lock();
        let step = state.to_deliver;
        while !state.ready.contains_key(&step) {
            state = self.shared.wait(state);
        }
        match state.ready.remove(&step) {
            Some(Ok(batches)) => {
                state.to_deliver += 1;
                self.shared.changed.notify_all();
                Ok((step, batches))
            }
            failed => {
                let error = failed.and_then(Result::err).unwrap_or_else(|| failure(step, "failed".into()));
                state.ready.insert(step, Err(failure(step, error.to_string())));
                Err(error)
            }
        }
    }
}

fn failure(step: u64, message: String) -> Error {
    Error::io("prepare", PathBuf::from(format!("the batches of step {step}")), io::Error::other(message))
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // The panic of a thread has already been returned as an error.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, prepare: &impl Fn(u64) -> Result<Vec<Batch>>) {
    loop {
        let mut state = shared.lock();
        while !state.stop && state.to_prepare >= state.to_deliver.saturating_add(AHEAD) {
            state = shared.wait(state);
        }
        if state.stop {
            return;
        }
        let step = state.to_prepare;
        state.to_prepare += 1;
        drop(state);

        let batches = catch_unwind(AssertUnwindSafe(|| prepare(step)));
        let panicked = |panic| Err(failure(step, format!("a data thread panicked: {}", message(panic))));
        let batches = batches.unwrap_or_else(panicked);
        shared.lock().ready.insert(step, batches);
        shared.changed.notify_all();
    }
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}
