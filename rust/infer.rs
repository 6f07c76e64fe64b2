//! Asking a model: codes, means, scores and samples, in blocks of rows whose memory does not grow with n.

use crate::data::Source;
use crate::error::{Error, Result};
use crate::isa::LANES;
use crate::likelihood::{Likelihood, Scale};
use crate::matmul::Shared;
use crate::model::{Epsilon, Purpose, Rows, Vae};
use crate::rng::{Distribution, Noise, Stream};
use crate::train::{threads_for, walk};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Rows in a block.
const BLOCK: usize = 512;
/// How much more work than a step of a running team a question must be to be worth waking a second thread.
const WAKING: usize = 16;
/// Values in an array that one thread looks through before a second one is awake.
const SOON_CHECKED: usize = 1 << 21;

/// A question's progress: rows `done..` of its arrays are still to be filled. Every function here goes on from
/// there until all is done (then it returns true) or `budget` is over.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Rows finished.
    pub done: usize,
    /// Time for this call.
    pub budget: Duration,
    /// Threads, or none to choose by the size of the work.
    pub threads: Option<usize>,
}

impl Cursor {
    fn walk(
        &mut self,
        total: usize,
        work: usize,
        body: impl Fn(&crate::team::Worker, usize, usize) + Sync,
    ) -> bool {
        let block = BLOCK.min(total).max(1);
        let threads = threads_for(self.threads, block * work / WAKING);
        let range = (self.done, total);
        self.done = walk(threads, range, block, self.budget, |worker, start, rows| {
            body(worker, start, rows);
            true
        });
        self.done == total
    }
}

/// Looks for values that the likelihood cannot take, and for uint8 data that are no pictures.
///
/// `largest` is where the largest uint8 value so far is kept between calls.
pub fn check(
    x: &Source,
    name: &str,
    likelihood: Option<Likelihood>,
    largest: &AtomicUsize,
    cursor: &mut Cursor,
) -> Result<bool> {
    let support = likelihood.map_or((f32::MIN, f32::MAX), Likelihood::support);
    let scaled = x.element() == crate::data::Element::U8;
    let first_bad = AtomicUsize::new(usize::MAX);
    if x.rows() * x.cols() < SOON_CHECKED {
        cursor.threads = Some(1);
    }
    let finished = cursor.walk(x.rows(), x.cols(), |worker, start, rows| {
        worker.phase(rows.div_ceil(LANES), |item| {
            for row in start + item * LANES..(start + (item + 1) * LANES).min(start + rows) {
                if scaled {
                    largest.fetch_max((x.largest(row) * 255.0).round() as usize, Ordering::Relaxed);
                } else if x.find_outside(row, support).is_some() {
                    first_bad.fetch_min(row, Ordering::Relaxed);
                }
            }
        });
    });
    let row = first_bad.into_inner();
    if row != usize::MAX {
        let (col, value) = x.find_outside(row, support).unwrap_or((0, f32::NAN));
        return Err(Error::Value(match likelihood {
            Some(Likelihood::Bernoulli) if value.is_finite() => format!(
                "{name}[{row}, {col}] is {value}, but the Bernoulli likelihood takes values in [0, 1]: scale the \
                 data, or use likelihood=\"gaussian\""
            ),
            _ => format!(
                "{name}[{row}, {col}] is {value}; {name} must be finite: remove or fill in NaN and infinity"
            ),
        }));
    }
    if finished && scaled && largest.load(Ordering::Relaxed) == 1 {
        return Err(Error::Value(format!(
            "{name} is uint8 with no value above 1: uint8 means 0..255 and is scaled to 0..1, so binary data must \
             be passed as floats: {name}.astype(numpy.float32)"
        )));
    }
    Ok(finished)
}

impl Vae {
    /// The posterior's mu and logvar, each [n, latent_dim]; an empty `logvar` is not filled.
    pub fn encode(
        &mut self,
        x: &Source,
        mu: &mut [f32],
        logvar: &mut [f32],
        cursor: &mut Cursor,
    ) -> Result<bool> {
        let (work, latent) = (self.network.work(), self.network.spec.latent_dim);
        let wants_logvar = !logvar.is_empty();
        let (mu, logvar) = (Shared::new(mu), Shared::new(logvar));
        let lent = self.lend(BLOCK.min(x.rows()), Purpose::Infer)?;
        Ok(cursor.walk(x.rows(), work, |worker, start, rows| {
            let pass = lent.pass(rows);
            pass.load(worker, x, false, Rows::From(start));
            pass.encode(worker);
            pass.emit(worker, 0, mu, start);
            if wants_logvar {
                pass.emit(worker, latent, logvar, start);
            }
        }))
    }

    /// E[x|z] for given codes, [n, n_features].
    pub fn decode(&mut self, z: &Source, out: &mut [f32], cursor: &mut Cursor) -> Result<bool> {
        let (work, out) = (self.network.work(), Shared::new(out));
        let lent = self.lend(BLOCK.min(z.rows()), Purpose::Infer)?;
        Ok(cursor.walk(z.rows(), work, |worker, start, rows| {
            let pass = lent.pass(rows);
            pass.load_codes(worker, z, start);
            pass.decode(worker);
            pass.mean(worker, out, start);
        }))
    }

    /// E[x|z = mu(x)], [n, n_features].
    pub fn reconstruct(
        &mut self,
        x: &Source,
        out: &mut [f32],
        cursor: &mut Cursor,
    ) -> Result<bool> {
        let (work, out) = (self.network.work(), Shared::new(out));
        let lent = self.lend(BLOCK.min(x.rows()), Purpose::Infer)?;
        Ok(cursor.walk(x.rows(), work, |worker, start, rows| {
            let pass = lent.pass(rows);
            pass.load(worker, x, false, Rows::From(start));
            pass.encode(worker);
            pass.take_means(worker);
            pass.decode(worker);
            pass.mean(worker, out, start);
        }))
    }

    /// -log p(x|z) and KL of each example, nats, with one draw of z: `eps`, or the content's own noise.
    pub fn score(
        &mut self,
        x: &Source,
        eps: Option<Source>,
        reconstruction: &mut [f32],
        kl: &mut [f32],
        cursor: &mut Cursor,
    ) -> Result<bool> {
        let (work, seed) = (self.network.work(), self.seed);
        let losses = [Shared::new(reconstruction), Shared::new(kl)];
        let lent = self.lend(BLOCK.min(x.rows()), Purpose::Infer)?;
        Ok(cursor.walk(x.rows(), work, |worker, start, rows| {
            let pass = lent.pass(rows);
            pass.load(worker, x, true, Rows::From(start));
            pass.encode(worker);
            let epsilon = match eps {
                Some(eps) => Epsilon::Given(eps, start),
                None => Epsilon::Score { seed },
            };
            pass.sample(worker, epsilon);
            pass.decode(worker);
            pass.score(worker, None);
            pass.reduce(worker, || ());
            pass.emit_losses(worker, losses, start);
        }))
    }

    /// Turns means [n, n_features] into draws from p(x|z).
    pub fn observe(&self, means: &mut [f32], seed: u64) {
        let cols = self.network.spec.n_features;
        let likelihood = self.network.spec.likelihood;
        let scales = self.scales();
        let distribution = match likelihood {
            Likelihood::Bernoulli => Distribution::Uniform,
            Likelihood::Gaussian(_) => Distribution::StandardNormal,
        };
        let noise = Noise { seed, stream: Stream::Observation as u8, sample: 0 };
        noise.fill(self.isa, distribution, cols, means, |mean, j, noise| {
            *mean = match likelihood {
                Likelihood::Bernoulli => f32::from(noise < *mean),
                Likelihood::Gaussian(_) => *mean + scales[j] * noise,
            };
        });
    }

    /// The Gaussian likelihood's standard deviation of each feature.
    fn scales(&self) -> Vec<f32> {
        let cols = self.network.spec.n_features;
        let learned = || {
            let tensor = self.network.tensors.last().expect("a network has tensors");
            self.parameter(tensor).into_iter().map(f32::exp).collect::<Vec<_>>()
        };
        match self.network.spec.likelihood {
            Likelihood::Bernoulli => Vec::new(),
            Likelihood::Gaussian(Scale::Fixed(scale)) => vec![scale; cols],
            Likelihood::Gaussian(Scale::Shared) => vec![learned()[0]; cols],
            Likelihood::Gaussian(Scale::PerFeature) => learned(),
        }
    }
}
