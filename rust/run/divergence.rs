//! The error of a training that diverged.

use crate::data::Source;
use crate::error::Error;
use crate::model::Engine;
use crate::nn::likelihood::Support;
use crate::random::Permutation;
use crate::simd::LANES;

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

/// A batch of a pass.
pub(super) struct Batch<'a> {
    /// The examples of the pass.
    pub x: &'a Source<'a>,
    /// Their order; none for that of `x`.
    pub order: Option<&'a Permutation>,
    /// The first example, in that order.
    pub start: usize,
    /// Its examples.
    pub size: usize,
    /// The number of the batch in the whole pass, from 1, and the batches of that.
    pub number: [usize; 2],
}

/// The factor from which a row is an outlier, and the rows that tell the usual size.
const OUTLIER: f32 = 1e3;
const USUAL_ROWS: usize = 256;

/// The column and the value of the largest magnitude in a row.
fn largest(x: &Source, row: usize) -> (usize, f32) {
    let (mut found, mut buffer) = ((0, 0.0f32), [0.0f32; 64]);
    for col in (0..x.cols()).step_by(64) {
        let values = &mut buffer[..(x.cols() - col).min(64)];
        x.read(row, col, values);
        for (i, value) in values.iter().enumerate() {
            if value.abs() > found.1.abs() {
                found = (col + i, *value);
            }
        }
    }
    found
}

impl Batch<'_> {
    /// Row, column and value of the largest magnitude in the batch, and its ratio to the largest of a usual row, if it is
    /// an outlier.
    fn outlier(&self, engine: &Engine) -> Option<(usize, usize, f32, f32)> {
        let n = self.x.rows();
        let mut rows: Vec<usize> = (self.start..n.min(self.start + self.size)).collect();
        if let Some(order) = self.order {
            for (n, rows) in rows.chunks_mut(LANES).enumerate() {
                order.fill(engine.isa, self.start + n * LANES, rows);
            }
        }
        let every = n.div_ceil(USUAL_ROWS);
        let mut usual: Vec<f32> =
            (0..n).step_by(every).map(|row| largest(self.x, row).1.abs()).collect();
        let middle = usual.len() / 2;
        let usual = *usual.select_nth_unstable_by(middle, f32::total_cmp).1;
        let (row, (col, value)) = rows
            .into_iter()
            .map(|row| (row, largest(self.x, row)))
            .max_by(|a, b| a.1.1.abs().total_cmp(&b.1.1.abs()))?;
        let is_outlier = usual > 0.0 && value.abs() >= OUTLIER * usual;
        is_outlier.then(|| (self.x.shown(row), col, value, value.abs() / usual))
    }
}

impl Divergence {
    /// The error at the next step of an engine, with the likeliest cause. The remedies depend on the values that the
    /// likelihood takes. Clipping is none: it makes the loss finite, not good.
    pub(super) fn error(self, engine: &Engine, learning_rate: f64, batch: &Batch) -> Error {
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
        let support = engine.network.spec.likelihood.support();
        let scale = if support.counts {
            " or, for large counts, set input_transform=\"log1p\""
        } else if support == Support::UNIT {
            ""
        } else {
            " or scale the data, for example with StandardScaler"
        };
        let (step, [number, batches]) = (engine.steps + 1, batch.number);
        let lower = format!("ower learning_rate (it is {learning_rate}){scale}");
        let remedy = match batch.outlier(engine) {
            None => format!("L{lower}"),
            Some((row, col, value, ratio)) => format!(
                "The likeliest cause is X[{row}, {col}] = {value:e}, {ratio:.0e} times the largest value of a usual row: \
                 check it, skip such batches with nan_policy=\"skip\", l{lower}"
            ),
        };
        Error::Diverged(format!(
            "training diverged at step {step} (batch {number} of {batches}): {what}. {remedy}"
        ))
    }
}
