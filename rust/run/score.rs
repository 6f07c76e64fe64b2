//! Losses of each example: -log p(x|z), KL and the importance-weighted bound.

use super::blocks::InferenceRun;
use crate::data::Source;
use crate::data::corruption::Corruption;
use crate::error::Result;
use crate::matrix::Shared;
use crate::model::{BatchSize, EncoderInput, Engine, Epsilon, NoiseKey, Rows};

impl Engine {
    /// -log p(x|z) and KL of each example, nats, with one draw of z: from `eps`, or from noise keyed by the example's
    /// content. `corruption` adds noise, keyed alike, to the encoder's input. `balanced`: log p has the weights of groups of
    /// columns, as in training.
    pub fn score(
        &mut self,
        x: &Source,
        eps: Option<Source>,
        corruption: Option<Corruption>,
        (losses, balanced): ([&mut [f32]; 2], bool),
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (own, input) = (NoiseKey::Score(self.network.spec.seed), self.own_input(corruption));
        let hash = eps.is_none() || corruption.is_some();
        let losses = losses.map(Shared::new);
        run.walk(self, x, input.storage(), |worker, pass, start, check| {
            let pass = pass.balanced(balanced);
            pass.load(worker, x, (hash, input), Rows::From(start), Some(check));
            pass.encode(worker);
            let given = |eps| Epsilon::Given(eps, start);
            pass.sample(worker, eps.map_or(Epsilon::Drawn(own), given));
            pass.decode(worker);
            pass.score(worker, None, &mut || ());
            pass.emit_losses(worker, losses, start);
        })
    }

    /// -log p(x|z), a mean over `copies` draws, KL and importance-weighted bound of each example, nats. Noise as in
    /// [`Engine::score`].
    pub fn bound(
        &mut self,
        x: &Source,
        (eps, copies): (Option<Source>, usize),
        corruption: Option<Corruption>,
        (losses, balanced): ([&mut [f32]; 3], bool),
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let BatchSize { copies, .. } = BatchSize::with_draws(&self.network.spec, x.rows(), copies)?;
        let (own, input) = (NoiseKey::Score(self.network.spec.seed), self.own_input(corruption));
        let hash = eps.is_none() || corruption.is_some();
        let losses = losses.map(Shared::new);
        run.walk_draws(self, x, input.storage(), copies, |worker, pass, start, check| {
            let pass = pass.balanced(balanced);
            pass.load(worker, x, (hash, input), Rows::From(start), Some(check));
            pass.encode(worker);
            let given = |eps| Epsilon::Given(eps, start);
            pass.sample_draws(worker, eps.map_or(Epsilon::Drawn(own), given));
            pass.decode(worker);
            pass.score(worker, None, &mut || ());
            pass.share(worker, &mut || ());
            pass.emit_bounds(worker, losses, start);
        })
    }

    /// KL of each latent coordinate of each example, nats, [n, latent_dim]. `corruption` as in
    /// [`Engine::score`].
    pub fn kl(
        &mut self,
        x: &Source,
        corruption: Option<Corruption>,
        out: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let input = self.own_input(corruption);
        let out = Shared::new(out);
        run.walk(self, x, input.storage(), |worker, pass, start, check| {
            let hash = corruption.is_some();
            pass.load(worker, x, (hash, input), Rows::From(start), Some(check));
            pass.encode(worker);
            pass.emit_kl(worker, out, start);
        })
    }

    /// The encoder's input of scored examples.
    fn own_input(&self, corruption: Option<Corruption>) -> EncoderInput<'static> {
        EncoderInput::of(None, corruption, NoiseKey::Score(self.network.spec.seed))
    }
}
