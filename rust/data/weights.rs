//! The weights of examples in the loss.

use super::source::Source;
use crate::error::{Error, Result};

/// Weights of an array's rows, with a factor that makes their mean over the rows in use, or over those of all blocks, 1.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    values: &'a [f32],
    factor: f64,
    total: f64,
}

impl<'a> Weights<'a> {
    /// The weights `values` of the rows of the array behind `x`, or an error if one is negative, or all are zero. `mean`: that
    /// of all rows of a pass of which `x` is a block.
    pub(super) fn new(values: &'a [f32], x: &Source, mean: Option<f64>) -> Result<Weights<'a>> {
        let mut total = 0.0;
        for row in 0..x.rows() {
            let place = x.place(row);
            match values.get(place) {
                Some(&weight) if (0.0..f32::INFINITY).contains(&weight) => {
                    total += f64::from(weight)
                }
                Some(weight) => {
                    return Err(Error::Value(format!(
                        "sample_weight {weight} of row {place} must be a number, at least 0"
                    )));
                }
                None => {
                    return Err(Error::Shape(format!(
                        "sample_weight has {} elements, and X has a row {place}: pass a weight for each row of X",
                        values.len()
                    )));
                }
            }
        }
        if total <= 0.0 {
            return Err(Error::Value("sample_weight is zero for all examples".into()));
        }
        let factor = mean.map_or(x.rows() as f64 / total, |mean| 1.0 / mean);
        Ok(Weights { values, factor, total })
    }

    /// The weight of row `place` of the array; the mean over the rows in use is 1.
    pub fn of(&self, place: usize) -> f32 {
        (f64::from(self.values[place]) * self.factor) as f32
    }

    /// The weights among all shares, `total` their rows and the sum of their weights.
    pub(super) fn among(self, (rows, total): (usize, f64)) -> Weights<'a> {
        Weights { factor: rows as f64 / total, total, ..self }
    }

    /// The sum of the weights as given.
    pub fn total(&self) -> f64 {
        self.total
    }
}
