//! Estimates log p(x) by importance sampling from the posterior (Burda, Grosse & Salakhutdinov, arXiv:1509.00519,
//! equation 8): the mean over z ~ q(z|x) of w = p(x|z) p(z) / q(z|x) is p(x). With the same weights, divided by their sum,
//! expectations and draws are those of p(z|x) (self-normalised importance sampling; sampling importance resampling). With
//! missing values x are the observed ones (Mattei & Frellsen, arXiv:1812.02633, section 3.3).
#![allow(unsafe_code)]

use crate::matrix::Shared;
use crate::model::memory::{BatchView, Owners, ROW_BLOCK};
use crate::random::{Stream, row_words, uniform_at};
use crate::simd::{LANES, Lanes, Op, Simd};
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

    /// Adds a weight and returns its share of the sum so far: NaN if all weights are 0.
    fn add_and_share(&mut self, log_weight: f64) -> f64 {
        self.add(log_weight);
        (log_weight - self.largest).exp() / self.sum
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
    /// The seed of the noise.
    pub seed: u64,
    /// The row, in the caller's array, of the batch's first example: noise depends on the row. None: on the content.
    pub row: Option<usize>,
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
                let [a, b] = match samples.row {
                    Some(first) => row_words((first + example) as u64),
                    // SAFETY: an earlier phase loaded the examples and wrote their hashes.
                    None => unsafe { self.memory.hashes.read(example..example + 1)[0] },
                };
                *id = [sample, a, b];
            }
            let stream = if samples.row.is_some() { Stream::Posterior } else { Stream::Marginal };
            self.fill_eps(rows.clone(), samples.seed, stream, &ids);
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

impl BatchView<'_> {
    /// Adds the weights as [`BatchView::accumulate`], and moves the means of examples `at..` in `out` [n, n_features] to
    /// sum_k w_k E[x|z_k] / sum_k w_k over the samples so far. `means` holds E[x|z] of all rows from row `first` on.
    pub fn accumulate_means(
        &self,
        worker: &Worker,
        copies: usize,
        (weights, out): (Shared<WeightSums>, Shared<f32>),
        (means, first): (Shared<f32>, usize),
        at: usize,
    ) {
        let (reconstruction, ratio) = self.losses();
        let cols = self.spec.n_features;
        worker.phase(self.rows / copies, |example| {
            let place = at + example;
            // SAFETY: only this item uses the example; an earlier phase wrote the means.
            let (weights, out, means) = unsafe {
                let start = first + example * copies;
                let out = out.write(place * cols..(place + 1) * cols);
                (
                    &mut weights.write(place..place + 1)[0],
                    out,
                    means.read(start * cols..(start + copies) * cols),
                )
            };
            for (copy, mean) in means.chunks_exact(cols).enumerate() {
                let r = example * copies + copy;
                let log_weight = f64::from(ratio[r]) - f64::from(reconstruction[r]);
                let share = weights.add_and_share(log_weight) as f32;
                if share == 0.0 {
                    continue;
                }
                for (out, mean) in out.iter_mut().zip(mean) {
                    *out += share * (mean - *out);
                }
            }
        });
    }

    /// Adds the weights as [`BatchView::accumulate`], and draws from the samples with probabilities w_k / sum_l w_l:
    /// `draws` of each of `n` examples, here of those from `at` on.
    ///
    /// A reservoir: sample k replaces a draw with probability w_k / W_k, W_k = w_1 + ... + w_k. A draw that was replaced at
    /// sample j survives sample k with probability W_j / W_k, so the next replacement is at the first k with
    /// W_k >= W_j / u, u uniform.
    pub fn resample(
        &self,
        worker: &Worker,
        copies: usize,
        samples: SampleRange,
        draws: &Draws,
        (n, at): (usize, usize),
    ) {
        let (reconstruction, ratio) = self.losses();
        let latent = self.spec.latent_dim;
        worker.phase(self.rows / copies, |example| {
            let place = at + example;
            // SAFETY: only this item uses the example; an earlier phase wrote the codes.
            let (weights, next, z) = unsafe {
                let next = draws.next.write(place * draws.count..(place + 1) * draws.count);
                let z = self.matrix(self.memory.plan.code.value);
                (&mut draws.weights.write(place..place + 1)[0], next, z)
            };
            let [high, low] = row_words(place as u64);
            let mut replaced = Vec::with_capacity(draws.count);
            for copy in 0..copies {
                let r = example * copies + copy;
                weights.add(f64::from(ratio[r]) - f64::from(reconstruction[r]));
                let log_sum = weights.log_mean(1);
                replaced.clear();
                replaced.extend((0..draws.count).filter(|&draw| log_sum >= next[draw]));
                let id = [samples.first + copy as u32, high, low];
                for group in replaced.chunks(LANES) {
                    let uniform = self.isa.run(Choices { seed: samples.seed, id, draws: group });
                    for (&draw, u) in group.iter().zip(uniform.0) {
                        next[draw] = log_sum - f64::from(1.0 - u).ln();
                        let start = (draw * n + place) * latent;
                        // SAFETY: only this item uses the example's draws.
                        z.copy_row(r, 0, unsafe { draws.codes.write(start..start + latent) });
                    }
                }
            }
        });
    }
}

/// Draws from weighted samples: a number for each example, and what is kept between samples.
pub struct Draws<'a> {
    /// Draws per example.
    pub count: usize,
    /// The sums of the weights, [n].
    pub weights: Shared<'a, WeightSums>,
    /// The logarithm of the sum of weights at which a draw is replaced next, [n, count]; -inf before the first sample.
    pub next: Shared<'a, f64>,
    /// The codes drawn, [count, n, latent_dim].
    pub codes: Shared<'a, f32>,
}

/// The uniform numbers of up to sixteen draws.
struct Choices<'a> {
    seed: u64,
    id: [u32; 3],
    draws: &'a [usize],
}

impl Op for Choices<'_> {
    type Output = Lanes;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Lanes {
        let Choices { seed, id, draws } = self;
        uniform_at(s, seed, Stream::Resampling, id, draws.iter().copied())
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

    #[test]
    fn shares_make_a_weighted_mean() {
        let logs = [f64::NEG_INFINITY, -3.0, 2.0, 1.0, -900.0];
        for shift in [0.0, -5000.0, 700.0] {
            let (mut weights, mut mean) = (WeightSums::NONE, 0.0);
            for (k, log) in logs.iter().enumerate().skip(1) {
                mean += weights.add_and_share(log + shift) * (k as f64 - mean);
            }
            let plain = logs.map(f64::exp);
            let sum: f64 = plain.iter().sum();
            let exact = plain.iter().enumerate().map(|(k, w)| k as f64 * w).sum::<f64>() / sum;
            assert!((mean - exact).abs() < 1e-12, "{mean} {exact}");
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
