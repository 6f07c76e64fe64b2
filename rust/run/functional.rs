//! The model's formulas on plain arrays, for people who study or test: the code that the engine runs.

use crate::nn::latent;
use crate::nn::likelihood::{Likelihood, Score};
use crate::random::{Distribution, Noise};
use crate::simd::{Isa, LANES, Lanes, Op, Row, Simd, WIDTH, ZERO_ROW, floats_mut};

fn lanes(plain: &[f32]) -> Lanes {
    let mut lanes = Lanes::default();
    lanes.0[..plain.len()].copy_from_slice(plain);
    lanes
}

/// z = mu + e^(logvar / 2) eps, element by element.
pub fn reparameterize(isa: Isa, mu: &[f32], logvar: &[f32], eps: &[f32], z: &mut [f32]) {
    struct Elements<'a>(&'a [f32], &'a [f32], &'a [f32], &'a mut [f32]);
    impl Op for Elements<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Elements(mu, logvar, eps, z) = self;
            let inputs = mu.chunks(LANES).zip(logvar.chunks(LANES)).zip(eps.chunks(LANES));
            for (((mu, logvar), eps), z) in inputs.zip(z.chunks_mut(LANES)) {
                let [mu, logvar, eps] = [mu, logvar, eps].map(|x| s.load(&lanes(x)));
                let mut out = Lanes::default();
                s.store(latent::reparameterize(s, mu, logvar, eps), &mut out);
                z.copy_from_slice(&out.0[..z.len()]);
            }
        }
    }
    isa.run(Elements(mu, logvar, eps, z));
}

/// KL(N(mu, sigma²) || N(0, I)) of each row of `cols` coordinates, nats.
pub fn gaussian_kl(isa: Isa, mu: &[f32], logvar: &[f32], cols: usize, kl: &mut [f32]) {
    struct Rows<'a>(&'a [f32], &'a [f32], usize, &'a mut [f32]);
    impl Op for Rows<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Rows(mu, logvar, cols, kl) = self;
            for ((mu, logvar), kl) in mu.chunks(cols).zip(logvar.chunks(cols)).zip(kl) {
                *kl = 0.0;
                for (mu, logvar) in mu.chunks(LANES).zip(logvar.chunks(LANES)) {
                    // Past the end mu and logvar are zero, and so is their term.
                    let term = latent::kl_term(s, s.load(&lanes(mu)), s.load(&lanes(logvar)));
                    *kl += s.sum(term);
                }
            }
        }
    }
    isa.run(Rows(mu, logvar, cols, kl));
}

/// log p(x|y) of each row of `cols` features, nats. `log_scale` holds ln s of each feature (Gaussian).
pub fn log_prob(
    isa: Isa,
    likelihood: &Likelihood,
    x: &[f32],
    y: &[f32],
    log_scale: &[f32],
    cols: usize,
    out: &mut [f32],
) {
    for ((x, y), out) in x.chunks(cols).zip(y.chunks(cols)).zip(out) {
        *out = 0.0;
        for first in (0..cols).step_by(WIDTH) {
            let part = first..(first + WIDTH).min(cols);
            let mut sum = [0.0];
            Score {
                likelihood,
                products: &[row(&y[part.clone()])],
                cols: part.len(),
                bias: &ZERO_ROW,
                parameter: &row(log_scale.get(part.clone()).unwrap_or(&[])),
                targets: &[row(&x[part])],
                half: 0,
                masked: false,
                log_prob: &mut sum,
                gradient: &mut [],
                scale_gradient: &mut [],
                weight: 0.0,
            }
            .run(isa);
            *out += sum[0];
        }
    }
}

fn row(plain: &[f32]) -> Row {
    let mut row = [ZERO_ROW];
    floats_mut(&mut row)[..plain.len()].copy_from_slice(plain);
    row[0]
}

/// Standard normal noise: row i, column j of `out`, [n, cols], is that of counter (stream << 24 | j / 4, 0, 0, first + i).
pub fn standard_normal(
    isa: Isa,
    (seed, stream): (u64, u8),
    (first, cols): (usize, usize),
    out: &mut [f32],
) {
    let noise = Noise { seed, stream, sample: 0 };
    noise.fill(isa, Distribution::StandardNormal, (first, cols), out, |to, _, value| *to = value);
}
