//! Events that a run reports from any thread, and requests to a run from any thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::Progress;

/// An event of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A remark for people.
    Note(String),
    /// A problem that does not stop the run.
    Warning(String),
    /// Number of images decoded so far.
    Reading {
        /// Number of decoded images.
        done: usize,
        /// Number of all images to decode.
        total: usize,
    },
    /// The data are read.
    Read {
        /// The account of the data in one line.
        line: String,
        /// The passed-over entries; empty if there are none.
        passed_over: String,
    },
    /// Number of compiled kernels among the kernels known so far. The first step spends its time on compiling.
    Compiling {
        /// Number of compiled kernels.
        ready: usize,
        /// Number of known kernels.
        known: usize,
    },
    /// A step is done.
    Step {
        /// Progress of the run.
        progress: Progress,
        /// The step's line in the metrics: a JSON object.
        line: String,
    },
    /// The steps are over, or interrupted.
    Stepped,
}

/// The listener to events.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Events for `listener`, which is called on the threads that do the work.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Events without a listener.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    /// Reports `event` to the listener.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }

    /// Reports a remark for people.
    pub fn note(&self, text: impl Into<String>) {
        self.tell(Event::Note(text.into()));
    }

    /// Reports a warning.
    pub fn warn(&self, warning: impl fmt::Display) {
        self.tell(Event::Warning(warning.to_string()));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// Requests to a run. The run looks at them after every step.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
    save: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Going,
    Paused,
    Stopping,
}

impl Control {
    /// A control without a request.
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::Going), changed: Condvar::new(), save: AtomicBool::new(false) }
    }

    /// Asks the run to save and to end after the current step.
    pub fn stop(&self) {
        self.set(State::Stopping);
    }

    /// Asks the run to save after the current step, and to go on.
    pub fn save(&self) {
        self.save.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to save since the last call.
    pub fn takes_save(&self) -> bool {
        self.save.swap(false, Ordering::SeqCst)
    }

    /// Asks the run to wait after the current step.
    pub fn pause(&self) {
        if !self.is_stopping() {
            self.set(State::Paused);
        }
    }

    /// Lets a waiting run continue.
    pub fn go_on(&self) {
        if !self.is_stopping() {
            self.set(State::Going);
        }
    }

    /// Whether the run was asked to end.
    pub fn is_stopping(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Stopping
    }

    /// Waits while the run is paused, then returns whether the run was asked to end.
    pub fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while *state == State::Paused {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state == State::Stopping
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }
}
