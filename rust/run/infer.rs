//! Codes, means and draws from the posterior.

use super::blocks::InferenceRun;
use crate::data::Source;
use crate::error::Result;
use crate::matrix::Shared;
use crate::model::{
    BatchView, EncoderInput, Engine, Epsilon, InputStorage, NoiseKey, Pass, Rows, StateBuffer,
};
use std::ops::Range;
use std::sync::atomic::AtomicUsize;

impl Engine {
    /// The posterior's mu and logvar, each [n, latent_dim]; an empty `logvar` is not filled.
    pub fn encode(
        &mut self,
        x: &Source,
        mu: &mut [f32],
        logvar: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (latent, wants_logvar) = (self.network.spec.latent_dim, !logvar.is_empty());
        let (mu, logvar) = (Shared::new(mu), Shared::new(logvar));
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            pass.emit(worker, 0, mu, start, check);
            if wants_logvar {
                pass.emit(worker, latent, logvar, start, check);
            }
        })
    }

    /// The input of the output layer at z = mu(x), [n, inputs].
    pub fn last_hidden(
        &mut self,
        x: &Source,
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let out = Shared::new(out);
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            pass.take_means(worker);
            pass.decode(worker);
            pass.emit_hidden(worker, out, start, check);
        })
    }

    /// E[x|z] for codes `z`, [n, n_features], and, unless `scale` is empty, the decoder's scale.
    pub fn decode(
        &mut self,
        z: &Source,
        out: &mut [f32],
        scale: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, scale, cols) =
            (Shared::new(out), Shared::new(scale), self.network.spec.n_features);
        run.walk(self, z, InputStorage::Batch, |worker, pass, start, check| {
            pass.load_codes(worker, z, start, check);
            pass.decode(worker);
            if scale.is_empty() {
                pass.mean(worker, out, (start, false));
            } else {
                pass.mean_and_scale(worker, [out, scale], start);
                pass.check_finite(worker, (scale, cols), start, check);
            }
            pass.check_finite(worker, (out, cols), start, check);
        })
    }

    /// Draws `samples` from q(z|x), in their places in `out`, [all samples, n, latent_dim].
    pub fn posterior_sample(
        &mut self,
        x: &Source,
        (samples, seed): (Range<u32>, u64),
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, ignored) = (Shared::new(out), AtomicUsize::new(0));
        let (n, first) = (x.rows(), run.first);
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            for sample in samples.clone() {
                pass.sample(
                    worker,
                    Epsilon::Drawn(NoiseKey::Posterior { seed, first: first + start, sample }),
                );
                pass.emit_codes(worker, out, sample as usize * n + start, check);
            }
        })
    }

    /// The mean decoder input over the rows of noise `points`, which all examples share, [n, latent_dim]. In a topic model
    /// it approximates the mean of theta under q(z|x).
    pub fn mean_code(
        &mut self,
        x: &Source,
        points: &Source,
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (shared, ignored) = (Shared::new(out), AtomicUsize::new(0));
        let latent = self.network.spec.latent_dim;
        let done = run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            for point in 0..points.rows() {
                pass.sample(worker, Epsilon::Same(*points, point));
                pass.add_codes(worker, shared, start);
            }
            pass.check_finite(worker, (shared, latent), start, check);
        })?;
        if done {
            let share = 1.0 / points.rows() as f32;
            out.iter_mut().for_each(|x| *x *= share);
        }
        Ok(done)
    }

    /// Updates the moments of the posterior predictive distribution of each example, [n, n_features], with draws `samples`
    /// of [`Engine::posterior_sample`]: the means over the draws of E[x|z], of its squared deviation, and of the variance of
    /// p(x|z).
    pub fn predict(
        &mut self,
        x: &Source,
        (samples, seed): (Range<u32>, u64),
        moments: [&mut [f32]; 3],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (moments, ignored) = (moments.map(Shared::new), AtomicUsize::new(0));
        let (scales, cols) = (self.scales()?, self.network.spec.n_features);
        let first = run.first;
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            for sample in samples.clone() {
                pass.sample(
                    worker,
                    Epsilon::Drawn(NoiseKey::Posterior { seed, first: first + start, sample }),
                );
                pass.decode(worker);
                pass.moments(worker, &scales, moments, (start, sample));
            }
            for moment in moments {
                pass.check_finite(worker, (moment, cols), start, check);
            }
        })
    }

    /// The mean over draws `samples` of [`Engine::posterior_sample`], of `all` in all, of log p(x_v|z) of each variable of
    /// groups of columns, added to `out`, [n, n_variables]. Nats.
    pub fn variable_log_prob(
        &mut self,
        x: &Source,
        (samples, all, seed): (Range<u32>, u32, u64),
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, ignored) = (Shared::new(out), AtomicUsize::new(0));
        let first = run.first;
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            let pass = ignoring_clamps(pass, &ignored);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            for sample in samples.clone() {
                let key = NoiseKey::Posterior { seed, first: first + start, sample };
                pass.sample(worker, Epsilon::Drawn(key));
                pass.decode(worker);
                pass.add_terms(worker, out, start, 1.0 / all as f32);
            }
        })
    }

    /// E[x|z = mu(x)], [n, n_features].
    pub fn reconstruct(
        &mut self,
        x: &Source,
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (out, cols) = (Shared::new(out), self.network.spec.n_features);
        run.walk(self, x, InputStorage::Batch, |worker, pass, start, check| {
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            pass.take_means(worker);
            pass.decode(worker);
            pass.mean(worker, out, (start, true));
            pass.check_finite(worker, (out, cols), start, check);
        })
    }

    /// The parameter of each feature that the decoder does not give: a Gaussian's standard deviation, the negative
    /// binomial's r, or the binomial's trials.
    pub(crate) fn scales(&self) -> Result<Vec<f32>> {
        self.network.head.scales(self.buffer(StateBuffer::Value))
    }
}

/// The pass without its count of clamped log variances.
fn ignoring_clamps<'a>(pass: Pass<'a>, ignored: &'a AtomicUsize) -> Pass<'a> {
    Pass { batch: BatchView { clamped: ignored, ..pass.batch }, ..pass }
}
