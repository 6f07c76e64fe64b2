//! The error of a training that diverged.

use crate::error::Error;
use crate::nn::likelihood::Support;

/// The sign of divergence.
#[derive(Clone, Copy)]
pub(super) enum Divergence {
    /// A loss that is not finite, found before any parameter changes.
    Loss,
    /// A gradient beyond float32's range, found in the update; the update skips the parameters concerned.
    Gradient,
    /// Weights that make the loss infinite, found after the last step of a fit.
    Update,
}

impl Divergence {
    /// The error at a step, counted from one. The remedies depend on the values that the likelihood takes. Clipping is
    /// none: it makes the loss finite, not good.
    pub(super) fn at(self, step: u64, learning_rate: f64, support: &Support) -> Error {
        let what = match self {
            Divergence::Loss => {
                "the loss is not a finite number; the weights are those before the step"
            }
            Divergence::Gradient => {
                "a gradient is too large for float32; all weights are finite, those with such gradients unchanged"
            }
            Divergence::Update => {
                "with the weights after the step the loss is not a finite number; the weights are those before the step"
            }
        };
        let scale = if support.counts {
            " or, for large counts, set input_transform=\"log1p\""
        } else if *support == Support::UNIT {
            ""
        } else {
            " or scale the data, for example with StandardScaler"
        };
        Error::Diverged(format!(
            "training diverged at step {step}: {what}. Lower learning_rate (it is {learning_rate}){scale}"
        ))
    }
}
