//! What a run tells while it goes on, and what it may be asked for, from any thread.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::Progress;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A remark for people.
    Note(String),
    /// Something is not as it should be, and the run goes on.
    Warning(String),
    /// So many of the kernels known so far are compiled, which is what the first step spends its time on.
    Compiling {
        /// Compiled.
        ready: usize,
        /// Known.
        known: usize,
    },
    /// A step is done.
    Step {
        /// Where the run stands.
        progress: Progress,
        /// The step's line in the metrics: a JSON object.
        line: String,
    },
    /// The steps are over, or interrupted.
    Stepped,
}

/// Whom events are told.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Tells `listener`, which is called on the threads that do the work.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    /// Tells of `event`.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }

    /// A remark for people.
    pub fn note(&self, text: impl Into<String>) {
        self.tell(Event::Note(text.into()));
    }

    /// A warning.
    pub fn warn(&self, warning: impl fmt::Display) {
        self.tell(Event::Warning(warning.to_string()));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// What a run is asked for; it looks after every step.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Going,
    Paused,
    Stopping,
}

impl Control {
    /// One that asks for nothing.
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::Going), changed: Condvar::new() }
    }

    /// Asks the run to save and to end after the step at hand.
    pub fn stop(&self) {
        self.set(State::Stopping);
    }

    /// Asks the run to wait after the step at hand.
    pub fn pause(&self) {
        if !self.is_stopping() {
            self.set(State::Paused);
        }
    }

    /// Lets a run that waits go on.
    pub fn go_on(&self) {
        if !self.is_stopping() {
            self.set(State::Going);
        }
    }

    /// Whether the run is to end.
    pub fn is_stopping(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Stopping
    }

    /// Waits as long as the run is paused; then says whether it is to end.
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
