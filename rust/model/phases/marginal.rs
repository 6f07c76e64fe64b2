//! log p(x) by importance sampling from the posterior (Burda, Grosse & Salakhutdinov, arXiv:1509.00519, equation 8):
//! the mean over z ~ q(z|x) of w = p(x|z) p(z) / q(z|x) is p(x).
#![allow(unsafe_code)]

use crate::matrix::Shared;
use crate::model::memory::{BatchView, Owners, ROW_BLOCK};
use crate::random::Stream;
use crate::threads::Worker;

/// Sums over importance weights, which come as logarithms, in nats; scaled so that nothing overflows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightSums {
    largest: f64,
    sum: f64,
    squares: f64,
}

impl WeightSums {
    /// Of no weight yet.
    pub const NONE: WeightSums = WeightSums { largest: f64::NEG_INFINITY, sum: 0.0, squares: 0.0 };

    /// Takes in one more.
    fn add(&mut self, log_weight: f64) {
        if log_weight == f64::NEG_INFINITY {
            return; // a weight of 0 adds nothing, and there may be no largest one yet to scale by
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

    /// Its standard error, by the delta method: that of the mean over the mean. NaN if all weights are 0.
    pub fn standard_error(&self, n: u32) -> f64 {
        let n = f64::from(n);
        let relative = n * self.squares / (self.sum * self.sum) - 1.0; // variance over squared mean
        let relative = if relative < 0.0 { 0.0 } else { relative }; // by rounding; `max` would hide a NaN
        (relative / (n - 1.0)).sqrt()
    }

    /// Kong's effective sample size, (sum w)² / sum w²: how many equal weights would do as well. 0 if all are 0.
    pub fn effective(&self) -> f64 {
        if self.largest == f64::NEG_INFINITY { 0.0 } else { self.sum * self.sum / self.squares }
    }
}

/// Which samples a batch holds of its examples.
#[derive(Clone, Copy)]
pub struct SampleRange {
    /// The number of the first one.
    pub first: u32,
    /// The model's.
    pub seed: u64,
}

impl BatchView<'_> {
    /// Draws z ~ q(z|x) for every row, of examples that another batch in the same memory has encoded (the row's owners), and
    /// notes each row's log p(z) - log q(z|x) in the place of its KL.
    pub fn sample_marginal(&self, worker: &Worker, samples: SampleRange) {
        let Owners { rows: examples, copies, .. } = self.owners;
        // SAFETY: the posterior is from an earlier phase.
        let posterior = unsafe { self.matrix_of(self.memory.plan.posterior.value, examples) };
        self.by_rows(worker, |rows| {
            let mut ids = [[0; 3]; ROW_BLOCK];
            for (id, r) in ids.iter_mut().zip(rows.clone()) {
                let (example, sample) = (self.owners.of(r), samples.first + (r % copies) as u32);
                // SAFETY: hashes are written when examples are loaded, in an earlier phase.
                let [a, b] = unsafe { self.memory.hashes.read(example..example + 1)[0] };
                *id = [sample, a, b];
            }
            self.fill_eps(rows.clone(), samples.seed, Stream::Marginal, &ids);
            // SAFETY: rows are this block's.
            let ratio = unsafe { self.memory.kl.write(rows.clone()) };
            self.take_draws(rows, posterior, |r| self.owners.of(r), ratio);
        });
    }

    /// Adds the weights of all rows, samples ascending, to those of examples `at..` of `out`.
    pub fn accumulate(&self, worker: &Worker, copies: usize, out: Shared<WeightSums>, at: usize) {
        let (reconstruction, ratio) = self.losses();
        worker.phase(self.rows / copies, |example| {
            // SAFETY: the example is this item's.
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
