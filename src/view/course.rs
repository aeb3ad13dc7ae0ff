//! The metrics of a search → π over its steps, also of steps that are still to come.

use super::RunView;
use crate::config::{Config, Resolved};
use crate::error::Result;
use crate::report::History;
use crate::report::course::Point;
use crate::run::checkpoint;
use crate::search::retrace::{Recorded, Retrace};

/// π over the steps of a search, computed again from its metrics.
pub struct Course {
    retrace: Retrace,
    /// Number of steps that were followed.
    n_done: usize,
    /// π is kept after each multiple of this many steps.
    every: u64,
    /// Most points that are kept.
    most: usize,
    /// π after some of the steps, the first and the last among them.
    points: Vec<Point>,
    /// The reason why later steps cannot be followed.
    pub broken: Option<String>,
}

impl Course {
    /// The course of the run so far, with at most `most` points and the last. `None` if the method has no prior that
    /// moves, or the first checkpoint is gone.
    ///
    /// # Errors
    /// The first checkpoint is none of the space.
    pub fn of(view: &RunView, most: usize) -> Result<Option<Self>> {
        let config = view.search.as_ref().filter(|_| view.manifest.kind == Config::KIND);
        let Some(config) = config else { return Ok(None) };
        let Ok(start) = checkpoint::read(&view.run.checkpoints().path_of(0)) else { return Ok(None) };
        let Some(retrace) = Retrace::new(config, &*view.space, &start.state)? else { return Ok(None) };
        let first = Point { step: 0, probabilities: retrace.prior().probabilities() };
        let mut course =
            Self { retrace, n_done: 0, every: 1, most: most.max(2), points: vec![first], broken: None };
        course.follow(&view.history);
        Ok(Some(course))
    }

    /// Whether `history` continues the steps that were followed.
    pub fn is_of(&self, history: &History) -> bool {
        history.drawn.len() >= self.n_done
    }

    /// Follows the steps of `history` that are new.
    pub fn follow(&mut self, history: &History) {
        for (i, drawn) in history.drawn.iter().enumerate().skip(self.n_done) {
            if self.broken.is_some() {
                return;
            }
            let (step, warm_up) = (drawn.step, drawn.warm_up);
            let (alphas, weights) = (&drawn.alphas, &drawn.weights);
            // A step that is missing is not noticed at once, since π changes little in a step.
            let follows = step == i as u64 + 1;
            if !follows || !self.retrace.follow(&Recorded { step, warm_up, alphas, weights }) {
                let because = if follows {
                    "the children of the next step are not those that the prior and the seed give"
                } else {
                    "the next step is missing"
                };
                self.broken = Some(format!("The replay ends at step {i}: {because} in metrics.jsonl."));
                return;
            }
            self.n_done += 1;
            self.keep(step);
        }
    }

    /// Keeps π after `step`, in place of the last point if that is not one of the multiples.
    fn keep(&mut self, step: u64) {
        if self.points.last().is_some_and(|last| !last.step.is_multiple_of(self.every)) {
            self.points.pop();
        }
        self.points.push(Point { step, probabilities: self.retrace.prior().probabilities() });
        while self.points.len() > self.most + 1 {
            self.every *= 2;
            let every = self.every;
            self.points.retain(|point| point.step.is_multiple_of(every) || point.step == step);
        }
    }

    /// π after some of the steps: in equal distances from the start, and after the last.
    pub fn points(&self) -> &[Point] {
        &self.points
    }
}
