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
}

impl Divergence {
    /// The error at a step, counted from one. The remedies depend on the values that the likelihood takes.
    pub(super) fn at(self, step: u64, learning_rate: f64, support: &Support) -> Error {
        let what = match self {
            Divergence::Loss => {
                "the loss is not a finite number; the weights are those before the step"
            }
            Divergence::Gradient => {
                "a gradient is too large for float32; all weights are finite, those with such gradients unchanged"
            }
        };
        let remedy = if support.counts {
            " or, for large counts, set input_transform=\"log1p\""
        } else if *support == Support::UNIT {
            " or set clip_norm"
        } else {
            ", set clip_norm, or scale the data, for example with StandardScaler"
        };
        Error::Diverged(format!(
            "training diverged at step {step}: {what}. Lower learning_rate (it is {learning_rate}){remedy}"
        ))
    }
}
