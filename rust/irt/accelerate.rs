//! Anderson's acceleration of a fixed-point iteration x -> g(x) (Walker & Ni, SIAM J. Numer. Anal. 49, 2011).

use super::items::solve;
use std::collections::VecDeque;

/// Past iterates in use.
const DEPTH: usize = 6;
/// Share of the diagonal that is added to the normal equations.
const RIDGE: f64 = 1e-10;
/// The largest distance of a coordinate from the unaccelerated iterate.
const LONGEST: f64 = 2.0;

/// The last iterates: g(x) - x and g(x).
#[derive(Default)]
pub struct Acceleration {
    past: VecDeque<(Vec<f64>, Vec<f64>)>,
}

impl Acceleration {
    /// Forgets all iterates.
    pub fn clear(&mut self) {
        self.past.clear();
    }

    /// The next iterate, given `x` and `g` = g(x); none if it is `g`.
    pub fn next(&mut self, x: &[f64], g: &[f64]) -> Option<Vec<f64>> {
        let residual: Vec<f64> = g.iter().zip(x).map(|(g, x)| g - x).collect();
        let differences: Vec<Vec<f64>> = self
            .past
            .iter()
            .map(|(past, _)| residual.iter().zip(past).map(|(now, past)| now - past).collect())
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let k = differences.len();
        let mut matrix = vec![0.0; k * k];
        for i in 0..k {
            for j in 0..k {
                matrix[i * k + j] = dot(&differences[i], &differences[j]);
            }
            matrix[i * k + i] *= 1.0 + RIDGE;
        }
        let right: Vec<f64> =
            differences.iter().map(|difference| dot(difference, &residual)).collect();
        let weights = solve(&matrix, &right, k, k);
        let mut found = g.to_vec();
        for (weight, (_, past)) in weights.iter().zip(&self.past) {
            for ((to, g), past) in found.iter_mut().zip(g).zip(past) {
                *to -= weight * (g - past);
            }
        }
        self.past.push_back((residual, g.to_vec()));
        if self.past.len() > DEPTH {
            self.past.pop_front();
        }
        let near = found.iter().zip(g).all(|(found, g)| (found - g).abs() <= LONGEST);
        (k > 0 && near).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::Acceleration;

    #[test]
    fn a_linear_iteration_ends_in_as_many_steps_as_it_has_coordinates() {
        // x -> b + A x, whose slowest mode shrinks by 0.98 a step.
        let a = [[0.98, 0.0, 0.1], [0.0, 0.9, 0.0], [0.05, 0.0, 0.5]];
        let map = |x: &[f64]| -> Vec<f64> {
            a.iter().map(|row| 1.0 + row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>()).collect()
        };
        let (mut acceleration, mut x) = (Acceleration::default(), vec![119.0, 9.5, 13.5]);
        for _ in 0..6 {
            let g = map(&x);
            x = acceleration.next(&x, &g).unwrap_or(g);
        }
        let g = map(&x);
        assert!(x.iter().zip(&g).all(|(x, g)| (x - g).abs() < 1e-6), "{x:?} {g:?}");
    }
}
