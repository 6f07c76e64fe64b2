//! The error of a training that diverged.

use crate::error::Error;

/// The sign of divergence.
#[derive(Clone, Copy)]
pub(super) enum Divergence {
    /// A loss that is not finite, found before any parameter changes.
    Loss,
    /// A gradient beyond float32's range, found in the update; the update skips the parameters concerned.
    Gradient,
}

impl Divergence {
    /// The error at a step, counted from one.
    pub(super) fn at(self, step: u64, learning_rate: f64) -> Error {
        let what = match self {
            Divergence::Loss => {
                "the loss is not a finite number; the weights are those before the step"
            }
            Divergence::Gradient => {
                "a gradient is too large for float32; all weights are finite, those with such gradients unchanged"
            }
        };
        Error::Diverged(format!(
            "training diverged at step {step}: {what}. Lower learning_rate (it is {learning_rate}), or scale the data"
        ))
    }
}
