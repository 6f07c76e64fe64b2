//! Mean losses of a data set.

use crate::data::Source;
use crate::nn::objective::Objective;

/// Means over the examples of a data set, nats.
pub struct MeanLosses {
    /// Of -log p(x|z).
    pub reconstruction: f64,
    /// Of the KL.
    pub kl: f64,
    kl_by_coordinate: Vec<f64>,
    bound: f64,
}

impl MeanLosses {
    /// From the losses of each example: -log p(x|z), KL, importance-weighted bound (of several draws), n each, and KL of
    /// each latent coordinate, `[n, latent_dim]` (for free bits). Weighted means if the examples `x` have weights.
    pub fn new(
        x: &Source,
        mut losses: [Vec<f32>; 3],
        kl_by_coordinate: &[f32],
        latent_dim: usize,
    ) -> MeanLosses {
        let mut sums = vec![0.0; latent_dim];
        for (i, row) in kl_by_coordinate.chunks_exact(latent_dim).enumerate() {
            let weight = f64::from(x.weight(i));
            sums.iter_mut().zip(row).for_each(|(sum, kl)| *sum += weight * f64::from(*kl));
        }
        let n = x.rows() as f64;
        if x.is_weighted() {
            for values in &mut losses {
                values.iter_mut().enumerate().for_each(|(row, loss)| *loss *= x.weight(row));
            }
        }
        let [reconstruction, kl, bound] = losses.map(|x| pairwise_sum(&x) / n);
        let kl_by_coordinate = match kl_by_coordinate {
            [] => vec![kl],
            _ => sums.into_iter().map(|sum| sum / n).collect(),
        };
        MeanLosses { reconstruction, kl, kl_by_coordinate, bound }
    }

    /// The means over the shares of all ranks, of which this one has the total weight `weight`; `sum` adds up values over the ranks.
    pub fn over_ranks<E>(
        self,
        weight: f64,
        sum: impl FnOnce(&mut [f64]) -> Result<(), E>,
    ) -> Result<MeanLosses, E> {
        let means = [1.0, self.reconstruction, self.kl, self.bound];
        let mut values: Vec<f64> =
            means.into_iter().chain(self.kl_by_coordinate).map(|mean| weight * mean).collect();
        sum(&mut values)?;
        let total = values[0];
        values.iter_mut().for_each(|value| *value /= total);
        let kl_by_coordinate = values.split_off(means.len());
        let [_, reconstruction, kl, bound] = values[..] else { unreachable!("four means") };
        Ok(MeanLosses { reconstruction, kl, kl_by_coordinate, bound })
    }

    /// The loss with the whole data set as one batch.
    pub fn loss(&self, objective: &Objective) -> f64 {
        if objective.importance.samples > 1 {
            return -self.bound;
        }
        let by_coordinate = self.kl_by_coordinate.iter().copied();
        objective.loss(1, self.reconstruction, self.kl, by_coordinate)
    }
}

/// The sum in f64, whose rounding error grows with log n: halves are added up apart, and eight sums run within 128 values.
fn pairwise_sum(values: &[f32]) -> f64 {
    const RUNNING: usize = 8;
    if values.len() > 128 {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % RUNNING);
        return pairwise_sum(left) + pairwise_sum(right);
    }
    let mut sums = [0.0; RUNNING];
    let rows = values.chunks_exact(RUNNING);
    let rest = rows.remainder();
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let total =
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    rest.iter().fold(total, |sum, x| sum + f64::from(*x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairwise_sum_is_the_sum() {
        for n in [0, 1, 7, 8, 9, 128, 129, 1000, 4097] {
            let values: Vec<f32> = (1..=n).map(|i| i as f32).collect(); // sums of integers are exact
            assert_eq!(pairwise_sum(&values), f64::from(n) * f64::from(n + 1) / 2.0);
        }
        let tenths = vec![0.1f32; 1 << 20];
        assert!(
            (pairwise_sum(&tenths) / (f64::from(0.1f32) * tenths.len() as f64) - 1.0).abs() < 1e-15
        );
    }
}
