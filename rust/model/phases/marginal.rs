//! Estimates log p(x) by importance sampling from the posterior (Burda, Grosse & Salakhutdinov, arXiv:1509.00519,
//! equation 8): the mean over z ~ q(z|x) of w = p(x|z) p(z) / q(z|x) is p(x).
#![allow(unsafe_code)]

use crate::matrix::Shared;
use crate::model::memory::{BatchView, Owners, ROW_BLOCK};
use crate::random::Stream;
use crate::threads::Worker;

/// Sums over importance weights. Input: log weights, nats. The sums are relative to the largest weight, so that they do
/// not overflow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightSums {
    largest: f64,
    sum: f64,
    squares: f64,
}

impl WeightSums {
    /// The sums over no weights.
    pub const NONE: WeightSums = WeightSums { largest: f64::NEG_INFINITY, sum: 0.0, squares: 0.0 };

    /// Adds a weight.
    fn add(&mut self, log_weight: f64) {
        if log_weight == f64::NEG_INFINITY {
            return; // a weight of 0 adds nothing; `largest` may still be -inf
        }
        if log_weight <= self.largest {
            let weight = (log_weight - self.largest).exp();
            self.sum += weight;
            self.squares += weight * weight;
        } else {
            let shrink = (self.largest - log_weight).exp();
            self.sum = self.sum * shrink + 1.0;
            self.squares = self.squares * shrink * shrink + 1.0;
            self.largest = log_weight;
        }
    }

    /// The logarithm of the mean of `n` weights; -inf if all of them are 0.
    pub fn log_mean(&self, n: u32) -> f64 {
        self.largest + (self.sum / f64::from(n)).ln()
    }

    /// The standard error of [`WeightSums::log_mean`] by the delta method: the standard error of the mean divided by
    /// the mean. NaN if all weights are 0.
    pub fn standard_error(&self, n: u32) -> f64 {
        let n = f64::from(n);
        let relative = n * self.squares / (self.sum * self.sum) - 1.0; // variance / squared mean
        let relative = if relative < 0.0 { 0.0 } else { relative }; // negative by rounding; `max` would drop a NaN
        (relative / (n - 1.0)).sqrt()
    }

    /// Kong's effective sample size, (sum w)² / sum w²: the number of equal weights with the same precision.
    /// 0 if all weights are 0.
    pub fn effective(&self) -> f64 {
        if self.largest == f64::NEG_INFINITY { 0.0 } else { self.sum * self.sum / self.squares }
    }
}

/// The samples of each example in a batch.
#[derive(Clone, Copy)]
pub struct SampleRange {
    /// The index of the first sample.
    pub first: u32,
    /// The seed of the model.
    pub seed: u64,
}

impl BatchView<'_> {
    /// Draws z ~ q(z|x) for every row, and stores log p(z) - log q(z|x) of the row in place of its KL. The examples
    /// (owners of the rows) belong to another batch in the same memory, already encoded.
    pub fn sample_marginal(&self, worker: &Worker, samples: SampleRange) {
        let Owners { rows: examples, copies, .. } = self.owners;
        // SAFETY: an earlier phase wrote the posterior.
        let posterior = unsafe { self.matrix_of(self.memory.plan.posterior.value, examples) };
        self.by_rows(worker, |rows| {
            let mut ids = [[0; 3]; ROW_BLOCK];
            for (id, r) in ids.iter_mut().zip(rows.clone()) {
                let (example, sample) = (self.owners.of(r), samples.first + (r % copies) as u32);
                // SAFETY: an earlier phase loaded the examples and wrote their hashes.
                let [a, b] = unsafe { self.memory.hashes.read(example..example + 1)[0] };
                *id = [sample, a, b];
            }
            self.fill_eps(rows.clone(), samples.seed, Stream::Marginal, &ids);
            // SAFETY: only this block uses these rows.
            let ratio = unsafe { self.memory.kl.write(rows.clone()) };
            self.take_draws(rows, posterior, |r| self.owners.of(r), ratio);
        });
    }

    /// Adds the weights of all rows, in ascending order of samples, to the sums of examples `at..` in `out`.
    pub fn accumulate(&self, worker: &Worker, copies: usize, out: Shared<WeightSums>, at: usize) {
        let (reconstruction, ratio) = self.losses();
        worker.phase(self.rows / copies, |example| {
            // SAFETY: only this item uses the example.
            let weights = unsafe { &mut out.write(at + example..at + example + 1)[0] };
            for r in example * copies..(example + 1) * copies {
                weights.add(f64::from(ratio[r]) - f64::from(reconstruction[r]));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_weights_are_those_of_the_numbers() {
        let logs = [-3.0, -1.0, -2.5, -900.0, -0.5, -1.0];
        for shift in [0.0, -5000.0, 700.0] {
            let mut weights = WeightSums::NONE;
            logs.iter().for_each(|log| weights.add(log + shift));
            let plain = logs.map(f64::exp);
            let n = plain.len() as f64;
            let (sum, squares) =
                (plain.iter().sum::<f64>(), plain.map(|w| w * w).iter().sum::<f64>());
            let mean = sum / n;
            let variance = plain.map(|w| (w - mean).powi(2)).iter().sum::<f64>() / (n - 1.0);
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
            near(weights.log_mean(6), mean.ln() + shift);
            near(weights.effective(), sum * sum / squares);
            near(weights.standard_error(6), (variance / n).sqrt() / mean);
        }
    }

    fn of(logs: &[f64]) -> WeightSums {
        let mut weights = WeightSums::NONE;
        logs.iter().for_each(|&log| weights.add(log));
        weights
    }

    #[test]
    fn a_weight_of_zero_counts_as_one_of_the_samples() {
        let zero = f64::NEG_INFINITY;
        for logs in [[zero, -1.0], [-1.0, zero]] {
            let weights = of(&logs);
            assert_eq!((weights.log_mean(2), weights.effective()), (-1.0 - 2f64.ln(), 1.0));
            assert_eq!(weights.standard_error(2), 1.0);
        }
    }

    #[test]
    fn of_weights_of_zero_nothing_is_known() {
        let weights = of(&[f64::NEG_INFINITY; 2]);
        assert_eq!((weights.log_mean(2), weights.effective()), (f64::NEG_INFINITY, 0.0));
        assert!(weights.standard_error(2).is_nan());
    }

    #[test]
    fn what_is_no_number_is_not_hidden() {
        let weights = of(&[-1.0, f64::NAN]);
        assert!(weights.log_mean(2).is_nan() && weights.standard_error(2).is_nan());
    }

    #[test]
    fn one_weight_has_no_standard_error() {
        let mut weights = WeightSums::NONE;
        weights.add(-3.0);
        assert_eq!((weights.log_mean(1), weights.effective()), (-3.0, 1.0));
        assert!(weights.standard_error(1).is_nan());
    }
}
