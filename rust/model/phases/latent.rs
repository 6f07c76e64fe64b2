//! The phases of the latent layer: noise, z and KL, and the gradients of the posterior's mean and log variance.
#![allow(unsafe_code)]

use crate::data::Source;
use crate::matrix::{Panels, panels_of};
use crate::model::batch::{CompositePrior, Epsilon, NoiseKey};
use crate::model::memory::{BatchView, ROW_BLOCK};
use crate::nn::composite_prior::{CompositeGradient, PreviousBlock, SampleComposite};
use crate::nn::latent::{
    KlByCoordinate, KlTerm, LatentBlock, LatentGradient, SamplePosterior, SampleWithRatio,
};
use crate::random::{Distribution, Fill, Stream, row_words};
use crate::simd::{LANES, Lanes, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl BatchView<'_> {
    /// Computes eps, z and the KL of each row. Does nothing for a plain autoencoder.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        if !self.spec.variational {
            return;
        }
        self.by_rows(worker, |rows| {
            self.draw(rows.clone(), epsilon);
            // SAFETY: only this block uses these rows.
            let kl = unsafe { self.memory.kl.write(rows.clone()) };
            kl.fill(0.0);
            let mut block = LatentBlock::default();
            let mut clamped = 0;
            for col in (0..self.spec.latent_dim).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                clamped += match self.prior {
                    None => self.isa.run(SamplePosterior { block: &mut block, kl: &mut *kl }),
                    Some(prior) => self.isa.run(SampleComposite {
                        mixture: prior.mixture,
                        previous: &self.previous(prior, rows.clone(), col),
                        block: &mut block,
                        kl: &mut *kl,
                    }),
                };
                self.put_codes(rows.clone(), col, &block.z);
            }
            if clamped > 0 {
                self.clamped.fetch_add(clamped, Ordering::Relaxed);
            }
        });
    }

    /// Coordinates `col..` of the earlier posteriors of `rows`.
    #[inline(never)]
    fn previous(&self, prior: &CompositePrior, rows: Range<usize>, col: usize) -> PreviousBlock {
        let cols = (self.spec.latent_dim - col).min(LANES);
        let mut block = PreviousBlock::default();
        // SAFETY: only the phase of loading writes the places.
        for (i, &place) in unsafe { self.memory.places.read(rows) }.iter().enumerate() {
            prior.posteriors[0].read(place, col, &mut block.mean[i].0[..cols]);
            prior.posteriors[1].read(place, col, &mut block.logvar[i].0[..cols]);
        }
        block
    }

    /// Sets z = mu. Does nothing for a plain autoencoder, whose encoder writes the code directly.
    pub fn take_means(&self, worker: &Worker) {
        if !self.spec.variational {
            return;
        }
        self.by_rows(worker, |rows| {
            // SAFETY: an earlier phase wrote the head.
            let head = unsafe { self.matrix(self.memory.plan.posterior.value) };
            let mut codes = [Lanes::default(); ROW_BLOCK];
            for col in (0..self.spec.latent_dim).step_by(LANES) {
                head.gather(rows.clone(), col, &mut codes);
                self.put_codes(rows.clone(), col, &codes);
            }
        });
    }

    /// Sums the weighted KL of each coordinate over the batch, in ascending order of rows.
    pub fn sum_kl(&self, worker: &Worker) {
        let latent = self.spec.latent_dim;
        worker.phase(latent.div_ceil(LANES), |item| {
            let (mut block, mut sums) = (LatentBlock::default(), Lanes::default());
            for first in (0..self.rows).step_by(ROW_BLOCK) {
                let rows = first..(first + ROW_BLOCK).min(self.rows);
                let factors = self.weights_of(rows.clone());
                self.fetch(&mut block, rows, item * LANES);
                self.isa.run(KlByCoordinate { block: &mut block, factors, sums: &mut sums });
            }
            // SAFETY: only this item writes these coordinates.
            unsafe { self.memory.kl_sums.write(item..item + 1)[0] = sums };
        });
        self.sum_over_ranks(worker, |sum| {
            // SAFETY: the sums are from an earlier phase; no other worker uses them in this one.
            let sums = unsafe { self.memory.kl_sums.write(0..latent.div_ceil(LANES)) };
            let mut values: Vec<f64> =
                sums.iter().flat_map(|lanes| lanes.0).map(f64::from).collect();
            sum(&mut values);
            let lanes = sums.iter_mut().flat_map(|lanes| &mut lanes.0);
            lanes.zip(values).for_each(|(to, value)| *to = value as f32);
        });
    }

    /// The weights of a block of examples in the loss.
    fn weights_of(&self, rows: Range<usize>) -> Lanes {
        let mut weights = Lanes([1.0; LANES]);
        if let Some(of) = self.example_weights() {
            weights.0[..rows.len()].copy_from_slice(&of[rows]);
        }
        weights
    }

    /// The sums of [`BatchView::sum_kl`].
    pub(in crate::model) fn kl_sums(&self) -> &[Lanes] {
        // SAFETY: only that phase writes the sums.
        unsafe { self.memory.kl_sums.read(0..self.spec.latent_dim.div_ceil(LANES)) }
    }

    /// The mean KL of each coordinate over the batch, nats, from [`BatchView::sum_kl`].
    pub fn mean_kl_by_coordinate(&self) -> impl Iterator<Item = f64> {
        let sums = self.kl_sums().iter().flat_map(|lanes| lanes.0).take(self.spec.latent_dim);
        sums.map(|sum| f64::from(sum) / self.all_rows() as f64)
    }

    /// Stores sixteen coordinates of z for the calling block's rows.
    pub(in crate::model) fn put_codes(
        &self,
        rows: Range<usize>,
        col: usize,
        codes: &[Lanes; ROW_BLOCK],
    ) {
        // SAFETY: only the calling block uses these rows.
        let z = unsafe { self.write(self.memory.plan.z.value, col / WIDTH, rows) };
        for (row, lanes) in z.iter_mut().zip(codes) {
            row[col % WIDTH / LANES] = *lanes;
        }
    }

    /// Fills eps for the calling block's draws.
    pub(in crate::model) fn draw(&self, draws: Range<usize>, epsilon: Epsilon) {
        let draw = match epsilon {
            Epsilon::Drawn(draw) => draw,
            Epsilon::Given(source, first) => {
                return self.read_eps_of(draws, &source, |r| first * self.copies() + r);
            }
            Epsilon::Same(source, row) => return self.read_eps_of(draws, &source, |_| row),
        };
        let ids = self.row_ids(draws.clone(), self.copies(), draw);
        self.fill_eps(draws, draw.seed(), draw.stream(), &ids);
    }

    /// Fills eps for the calling block's rows from rows of an array.
    fn read_eps_of(&self, rows: Range<usize>, source: &Source, from: impl Fn(usize) -> usize) {
        for r in rows {
            for panel in 0..panels_of(self.spec.latent_dim) {
                // SAFETY: only the calling block uses row r.
                let eps = unsafe { self.write(self.memory.plan.eps, panel, r..r + 1) };
                source.read_panel(from(r), panel, &mut eps[0]);
            }
        }
    }

    /// Fills eps for the calling block's rows with the model's noise.
    pub(in crate::model) fn fill_eps(
        &self,
        rows: Range<usize>,
        seed: u64,
        stream: Stream,
        ids: &[[u32; 3]; ROW_BLOCK],
    ) {
        Fill {
            seed,
            stream: stream as u8,
            distribution: Distribution::StandardNormal,
            rows: &ids[..rows.len()],
            cols: self.spec.latent_dim,
            put: |i, j, values: [f32; 4]| {
                let r = rows.start + i;
                // SAFETY: only the calling block uses row r.
                let columns =
                    floats_mut(unsafe { self.write(self.memory.plan.eps, j / WIDTH, r..r + 1) });
                columns[j % WIDTH..][..4].copy_from_slice(&values);
            },
        }
        .run(self.isa);
    }

    /// The counter words of the noise of `rows`; each example has `copies` rows. Scoring noise requires loaded
    /// examples, since its counters are their hashes.
    pub(in crate::model) fn row_ids(
        &self,
        rows: Range<usize>,
        copies: usize,
        draw: NoiseKey,
    ) -> [[u32; 3]; ROW_BLOCK] {
        let mut ids = [[0; 3]; ROW_BLOCK];
        for (id, row) in ids.iter_mut().zip(rows) {
            let (r, copy) = (row / copies, (row % copies) as u32);
            *id = match draw {
                NoiseKey::Train(_, step) => [copy, step, (self.first_row() + r) as u32],
                NoiseKey::Posterior { first, sample, .. } => {
                    let [high, low] = row_words((first + r) as u64);
                    [sample, high, low]
                }
                NoiseKey::Score(_) => {
                    // SAFETY: the calling block or an earlier phase loaded the row and wrote its hash.
                    let [a, b] = unsafe { self.memory.hashes.read(r..r + 1)[0] };
                    [copy, a, b]
                }
            };
        }
        ids
    }

    /// Copies mu, logvar and eps of `rows`, coordinates `col..`, from their panels to `block`.
    pub(in crate::model) fn fetch(&self, block: &mut LatentBlock, rows: Range<usize>, col: usize) {
        // SAFETY: only the calling block uses these rows of eps.
        let eps = unsafe { self.read_eps(rows.clone(), col) };
        self.fetch_posterior(block, rows, col);
        block.eps.iter_mut().zip(eps).for_each(|(to, eps)| *to = eps);
    }

    /// Copies mu and logvar of `rows`, coordinates `col..`, from their panels to `block`.
    pub(in crate::model) fn fetch_posterior(
        &self,
        block: &mut LatentBlock,
        rows: Range<usize>,
        col: usize,
    ) {
        let latent = self.spec.latent_dim;
        block.rows = rows.len();
        block.cols = (latent - col).min(LANES);
        // SAFETY: no phase both fetches and writes the head.
        let head = unsafe { self.matrix(self.memory.plan.posterior.value) };
        head.gather(rows.clone(), col, &mut block.mu);
        head.gather(rows, latent + col, &mut block.logvar);
    }

    /// Computes z and log p(z) - log q(z|x) of `draws` from their eps; `example` maps a draw to its example.
    pub(in crate::model) fn take_draws(
        &self,
        draws: Range<usize>,
        head: Panels,
        example: impl Fn(usize) -> usize,
        ratio: &mut [f32],
    ) {
        ratio.fill(0.0);
        let mut block = LatentBlock::default();
        for col in (0..self.spec.latent_dim).step_by(LANES) {
            self.fetch_draws(&mut block, draws.clone(), col, head, &example);
            self.isa.run(SampleWithRatio { block: &mut block, ratio: &mut *ratio });
            self.put_codes(draws.clone(), col, &block.z);
        }
    }

    /// Copies eps of `draws`, and mu and logvar of their examples, from their panels to `block`.
    fn fetch_draws(
        &self,
        block: &mut LatentBlock,
        draws: Range<usize>,
        col: usize,
        head: Panels,
        example: impl Fn(usize) -> usize,
    ) {
        let latent = self.spec.latent_dim;
        block.rows = draws.len();
        block.cols = (latent - col).min(LANES);
        // SAFETY: only the calling block uses these rows of eps.
        let eps = unsafe { self.read_eps(draws.clone(), col) };
        let [mut mu, mut logvar] = [Default::default(); 2];
        let mut gathered = None;
        for (i, (r, eps)) in draws.zip(eps).enumerate() {
            let example = example(r);
            if gathered != Some(example) {
                head.gather(example..example + 1, col, &mut mu);
                head.gather(example..example + 1, latent + col, &mut logvar);
                gathered = Some(example);
            }
            (block.mu[i], block.logvar[i], block.eps[i]) = (mu[0], logvar[0], eps);
        }
    }

    /// Sixteen coordinates of eps of `rows`.
    ///
    /// # Safety
    /// No other work item of the current phase writes to these rows.
    pub(in crate::model) unsafe fn read_eps(
        &self,
        rows: Range<usize>,
        col: usize,
    ) -> impl Iterator<Item = Lanes> {
        // SAFETY: the caller meets the same condition.
        let eps = unsafe { self.read(self.memory.plan.eps, col / WIDTH, rows) };
        eps.iter().map(move |row| row[col % WIDTH / LANES])
    }

    /// -log p(x|z) of each draw and KL of each row, nats. Requires a scored batch.
    pub fn losses(&self) -> (&[f32], &[f32]) {
        // SAFETY: only the phases of `sample` and `score` write them.
        unsafe {
            (self.memory.reconstruction.read(0..self.draws()), self.memory.kl.read(0..self.rows))
        }
    }

    /// Computes the gradients of mu and logvar from the gradient of z and the KL.
    pub fn latent_gradient(&self, worker: &Worker, kl: KlTerm) {
        let slope = match kl.is_plain() {
            true => kl.weight / self.all_rows() as f32,
            false => kl.slope(self.mean_kl_by_coordinate(), self.all_rows()),
        };
        let (latent, plan) = (self.spec.latent_dim, self.memory.plan);
        let to = plan.posterior.gradient;
        self.by_rows(worker, |rows| {
            // SAFETY: the previous phase wrote dz.
            let dz = unsafe { self.matrix(plan.z.gradient) };
            // The padding after the last column enters the vectorised products, so it must be zero.
            // SAFETY: only this block uses these rows.
            unsafe { self.write(to, panels_of(to.cols) - 1, rows.clone()) }.fill(ZERO_ROW);
            let mut block = LatentBlock::default();
            let factors = self.weights_of(rows.clone());
            for col in (0..latent).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                dz.gather(rows.clone(), col, &mut block.z);
                let slopes = match kl.is_plain() {
                    true => Lanes([slope; LANES]),
                    false => kl.slopes(slope, &self.kl_sums()[col / LANES], self.all_rows()),
                };
                match (self.prior, self.kl_factors()) {
                    (Some(prior), Some(of)) => {
                        let mut weights = factors;
                        let all = weights.0.iter_mut().zip(&of[rows.clone()]);
                        all.for_each(|(weight, factor)| *weight *= slope * factor);
                        self.isa.run(CompositeGradient {
                            mixture: prior.mixture,
                            previous: &self.previous(prior, rows.clone(), col),
                            block: &mut block,
                            weights,
                        });
                    }
                    _ => self.isa.run(LatentGradient { block: &mut block, slopes, factors }),
                }
                for (i, r) in rows.clone().enumerate() {
                    // SAFETY: only this block uses row r.
                    unsafe {
                        self.put(to, r, col, &block.mu[i].0[..block.cols]);
                        self.put(to, r, latent + col, &block.logvar[i].0[..block.cols]);
                    }
                }
            }
        });
    }
}
