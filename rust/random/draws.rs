//! Draws from distributions of counts. A draw may take any number of uniform numbers.

use super::philox::philox_words;
use super::{Distribution, Fill, Stream, row_words};
use crate::simd::Isa;

/// Replaces a row of word probabilities by the counts of `length` words drawn from it.
pub fn draw_words(isa: Isa, (seed, row): (u64, u64), length: u32, p: &mut [f32]) {
    let mut total = 0.0;
    let upto: Vec<f64> = p
        .iter()
        .map(|&p| {
            total += f64::from(p);
            total
        })
        .collect();
    if !total.is_finite() {
        return p.fill(f32::NAN);
    }
    p.fill(0.0);
    let length = length as usize;
    let [high, low] = row_words(row);
    Fill {
        seed,
        stream: Stream::Observation as u8,
        distribution: Distribution::Uniform,
        rows: &[[0, high, low]],
        cols: length,
        put: |_, first: usize, u: [f32; 4]| {
            for u in &u[..(length - first).min(4)] {
                // The first word whose part of [0, total) ends beyond u; a word of probability zero has none.
                let word = upto.partition_point(|&upto| upto <= f64::from(*u) * total);
                p[word.min(upto.len() - 1)] += 1.0;
            }
        },
    }
    .run(isa);
}

/// The uniform numbers of one element, without end.
pub struct Uniforms {
    seed: u64,
    /// The next counter's words.
    counter: [u32; 4],
    words: [u32; 4],
    left: usize,
}

impl Uniforms {
    /// The numbers of column `col` of row `row`. Counters' sample words start at 1: 0 belongs to [`Fill`]'s uniform numbers.
    pub fn of(seed: u64, row: u64, col: usize) -> Uniforms {
        let [high, low] = row_words(row);
        let block = (Stream::Observation as u32) << 24 | (col / 4) as u32;
        let counter = [block, 1 + (col % 4) as u32, high, low];
        Uniforms { seed, counter, words: [0; 4], left: 0 }
    }

    /// The next number, in (0, 1).
    fn next(&mut self) -> f64 {
        if self.left == 0 {
            (self.words, self.left) = (philox_words(self.seed, self.counter), 4);
            self.counter[1] += 4; // the next number of this column of the four
        }
        self.left -= 1;
        (f64::from(self.words[self.left]) + 0.5) / 4_294_967_296.0
    }

    /// A draw from the uniform distribution on (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.next()
    }

    /// A draw from N(0, 1), by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.next().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next()).cos()
    }

    /// A draw from Gamma(shape, 1): Marsaglia & Tsang, ACM TOMS 26 (2000); below 1 with their section 6.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let u = self.next();
            return self.gamma(shape + 1.0) * u.powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.next().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A draw from Poisson(rate): small rates by inverting the distribution function, others by Hörmann's transformed rejection with
    /// squeeze, PTRS (Insurance: Mathematics and Economics 12, 1993).
    pub fn poisson(&mut self, rate: f64) -> f64 {
        if !rate.is_finite() {
            return f64::NAN;
        }
        if rate < 10.0 {
            return invert_poisson(rate, self.next());
        }
        let b = 0.931 + 2.53 * rate.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let squeeze = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.next() - 0.5, self.next());
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
            if us >= 0.07 && v <= squeeze {
                return k;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let height = (v * inverse_alpha / (a / (us * us) + b)).ln();
            if height <= k * rate.ln() - rate - ln_factorial(k) {
                return k;
            }
        }
    }
}

/// The smallest k whose distribution function is above u.
fn invert_poisson(rate: f64, u: f64) -> f64 {
    let (mut k, mut p) = (0.0, (-rate).exp());
    let mut above = u;
    while above >= p && p > 0.0 {
        above -= p;
        k += 1.0;
        p *= rate / k;
    }
    k
}

/// The smallest k whose distribution function is above u, of a binomial of at most 1000 trials: with p up to one half,
/// P(K = 0) is a normal f64.
pub fn invert_binomial(trials: f32, p: f32, u: f32) -> f32 {
    if p > 0.5 {
        return trials - invert_binomial(trials, 1.0 - p, 1.0 - u);
    }
    let (n, p, u) = (f64::from(trials), f64::from(p), f64::from(u));
    let (mut k, mut mass) = (0.0, (1.0 - p).powf(n));
    let mut below = mass;
    while below <= u && k < n {
        mass *= (n - k) / (k + 1.0) * p / (1.0 - p);
        below += mass;
        k += 1.0;
    }
    k as f32
}

/// ln k!, by Stirling's series from 16 on.
fn ln_factorial(k: f64) -> f64 {
    if k < 16.0 {
        return (2..=k as u32).map(f64::from).product::<f64>().ln();
    }
    let square = 1.0 / (k * k);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0)) / k;
    k * k.ln() - k + 0.5 * (std::f64::consts::TAU * k).ln() + series
}

#[cfg(test)]
mod tests {
    use super::invert_binomial;

    #[test]
    fn binomial_draws_have_the_binomial_moments() {
        const DRAWS: u32 = 100_000;
        for (trials, p) in [(1.0, 0.3), (7.0, 0.5), (7.0, 0.9), (1000.0, 0.02), (1000.0, 0.7)] {
            let u = |i: u32| (f64::from(i) + 0.5) as f32 / DRAWS as f32;
            let draws = (0..DRAWS).map(|i| f64::from(invert_binomial(trials, p as f32, u(i))));
            let (sum, squares) = draws.fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
            let n = f64::from(DRAWS);
            let (mean, variance) = (sum / n, squares / n - (sum / n) * (sum / n));
            let m = f64::from(trials);
            assert!((mean / (m * p) - 1.0).abs() < 1e-3, "{trials} {p}: {mean}");
            let ratio = variance / (m * p * (1.0 - p));
            assert!((ratio - 1.0).abs() < 1e-2, "{trials} {p}: {variance}");
        }
        let ends = [(0.0, 0.0, 5.0, 0.0), (0.999_999, 1.0, 5.0, 5.0), (0.5, 0.0, 9.0, 0.0)];
        for (u, p, trials, want) in ends {
            assert_eq!(invert_binomial(trials, p, u), want);
        }
    }
}
