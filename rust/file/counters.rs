//! Counters of a model's training.

use super::refused;
use crate::error::Result;
use crate::model::Engine;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Optimizer steps taken.
    steps: u64,
    /// Shuffled epochs finished.
    epochs: u32,
    /// Number of clamped log variances.
    clamped: usize,
    /// Steps before the start of the optimizer's moments.
    optimizer_start: u64,
}

/// The name of [`Counters::optimizer_start`] in a file.
pub const OPTIMIZER_START: &str = "optimizer_start";

impl Counters {
    /// The counters of an engine.
    pub fn of(engine: &Engine) -> Counters {
        Counters {
            steps: engine.steps,
            epochs: engine.epochs,
            clamped: engine.clamped.load(Ordering::Relaxed),
            optimizer_start: engine.optimizer_start,
        }
    }

    /// Sets the counters of an engine. Without moments, the optimizer restarts at the current step.
    pub fn restore(self, engine: &mut Engine, moments: bool) {
        engine.steps = self.steps;
        engine.epochs = self.epochs;
        engine.clamped = AtomicUsize::new(self.clamped);
        engine.optimizer_start = if moments { self.optimizer_start } else { self.steps };
    }

    /// The counters by name, as in a file.
    pub fn named(self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("steps", self.steps),
            ("epochs", self.epochs.into()),
            ("clamped", self.clamped as u64),
            (OPTIMIZER_START, self.optimizer_start),
        ])
    }

    /// The inverse of [`Counters::named`]. Returns an error for a missing or unknown name and for impossible values.
    pub fn from_named(named: &BTreeMap<String, u64>) -> Result<Counters> {
        let get = |name: &str| named.get(name).copied();
        let read = || {
            Some(Counters {
                steps: get("steps").filter(|&steps| i64::try_from(steps).is_ok())?,
                epochs: get("epochs").filter(|&n| i32::try_from(n).is_ok())?.try_into().ok()?,
                clamped: get("clamped")?.try_into().ok()?,
                optimizer_start: get(OPTIMIZER_START)?,
            })
        };
        read()
            .filter(|counters| counters.optimizer_start <= counters.steps && named.len() == 4)
            .ok_or_else(|| refused(format!("no model has the counters {named:?}")))
    }
}
