//! The phases of the latent layer: noise, z and KL, and the gradients of the posterior's mean and log variance.
#![allow(unsafe_code)]

use crate::data::Source;
use crate::matrix::{Panels, panels_of};
use crate::model::batch::{Epsilon, NoiseKey};
use crate::model::memory::{BatchView, ROW_BLOCK};
use crate::nn::latent::{
    KlByCoordinate, KlTerm, LatentBlock, LatentGradient, SamplePosterior, SampleWithRatio,
};
use crate::random::{Distribution, Fill, Stream, row_words};
use crate::simd::{LANES, Lanes, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::Ordering;

impl BatchView<'_> {
    /// eps, z and each row's KL. A plain autoencoder has none of them.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        if !self.spec.variational {
            return;
        }
        self.by_rows(worker, |rows| {
            self.draw(rows.clone(), epsilon);
            // SAFETY: rows are this block's.
            let kl = unsafe { self.memory.kl.write(rows.clone()) };
            kl.fill(0.0);
            let mut block = LatentBlock::default();
            let mut clamped = 0;
            for col in (0..self.spec.latent_dim).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                clamped += self.isa.run(SamplePosterior { block: &mut block, kl: &mut *kl });
                self.put_codes(rows.clone(), col, &block.z);
            }
            if clamped > 0 {
                self.clamped.fetch_add(clamped, Ordering::Relaxed);
            }
        });
    }

    /// z = mu. The code of a plain autoencoder is there already.
    pub fn take_means(&self, worker: &Worker) {
        if !self.spec.variational {
            return;
        }
        self.by_rows(worker, |rows| {
            // SAFETY: the head is from an earlier phase.
            let head = unsafe { self.matrix(self.memory.plan.posterior.value) };
            let mut codes = [Lanes::default(); ROW_BLOCK];
            for col in (0..self.spec.latent_dim).step_by(LANES) {
                head.gather(rows.clone(), col, &mut codes);
                self.put_codes(rows.clone(), col, &codes);
            }
        });
    }

    /// Each coordinate's KL, summed over the batch, rows ascending.
    pub fn sum_kl(&self, worker: &Worker) {
        let latent = self.spec.latent_dim;
        worker.phase(latent.div_ceil(LANES), |item| {
            let (mut block, mut sums) = (LatentBlock::default(), Lanes::default());
            for first in (0..self.rows).step_by(ROW_BLOCK) {
                self.fetch(&mut block, first..(first + ROW_BLOCK).min(self.rows), item * LANES);
                self.isa.run(KlByCoordinate { block: &mut block, sums: &mut sums });
            }
            // SAFETY: these coordinates are this item's.
            unsafe { self.memory.kl_sums.write(item..item + 1)[0] = sums };
        });
    }

    /// What [`BatchView::sum_kl`] has found.
    pub(in crate::model) fn kl_sums(&self) -> &[Lanes] {
        // SAFETY: written in that phase only.
        unsafe { self.memory.kl_sums.read(0..self.spec.latent_dim.div_ceil(LANES)) }
    }

    /// The mean KL of each coordinate over the batch, nats, from [`BatchView::sum_kl`].
    pub fn mean_kl_by_coordinate(&self) -> impl Iterator<Item = f64> {
        let sums = self.kl_sums().iter().flat_map(|lanes| lanes.0).take(self.spec.latent_dim);
        sums.map(|sum| f64::from(sum) / self.rows as f64)
    }

    /// Stores sixteen coordinates of z of the calling block's rows.
    pub(in crate::model) fn put_codes(
        &self,
        rows: Range<usize>,
        col: usize,
        codes: &[Lanes; ROW_BLOCK],
    ) {
        // SAFETY: rows are the calling block's.
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
                // SAFETY: row r is the calling block's.
                let eps = unsafe { self.write(self.memory.plan.eps, panel, r..r + 1) };
                source.read_panel(from(r), panel, &mut eps[0]);
            }
        }
    }

    /// Fills eps for the calling block's rows with noise of the model's.
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
                // SAFETY: row r is the calling block's.
                let columns =
                    floats_mut(unsafe { self.write(self.memory.plan.eps, j / WIDTH, r..r + 1) });
                columns[j % WIDTH..][..4].copy_from_slice(&values);
            },
        }
        .run(self.isa);
    }

    /// The counter words of the noise of some rows, of which an example has `copies`. Those of the scoring noise are
    /// there once the examples are loaded.
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
                NoiseKey::Train(_, step) => [copy, step, r as u32],
                NoiseKey::Posterior { first, sample, .. } => {
                    let [high, low] = row_words((first + r) as u64);
                    [sample, high, low]
                }
                NoiseKey::Score(_) => {
                    // SAFETY: a row's hash is written by who loads it: the calling block, or one of an earlier phase.
                    let [a, b] = unsafe { self.memory.hashes.read(r..r + 1)[0] };
                    [copy, a, b]
                }
            };
        }
        ids
    }

    /// Takes mu, logvar and eps of some rows and coordinates out of their panels.
    pub(in crate::model) fn fetch(&self, block: &mut LatentBlock, rows: Range<usize>, col: usize) {
        // SAFETY: the rows of eps are the calling block's.
        let eps = unsafe { self.read_eps(rows.clone(), col) };
        self.fetch_posterior(block, rows, col);
        block.eps.iter_mut().zip(eps).for_each(|(to, eps)| *to = eps);
    }

    /// Takes mu and logvar of some rows and coordinates out of their panels.
    pub(in crate::model) fn fetch_posterior(
        &self,
        block: &mut LatentBlock,
        rows: Range<usize>,
        col: usize,
    ) {
        let latent = self.spec.latent_dim;
        block.rows = rows.len();
        block.cols = (latent - col).min(LANES);
        // SAFETY: the head is not written in a phase that fetches.
        let head = unsafe { self.matrix(self.memory.plan.posterior.value) };
        head.gather(rows.clone(), col, &mut block.mu);
        head.gather(rows, latent + col, &mut block.logvar);
    }

    /// z of some draws, whose eps is there, and their log p(z) - log q(z|x); `example` says whose posterior a draw is from.
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

    /// Takes eps of some draws, and mu and logvar of their examples, out of their panels.
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
        // SAFETY: the draws' rows of eps are the calling block's.
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

    /// Sixteen coordinates of eps of some rows.
    ///
    /// # Safety
    /// No other tile of the running phase writes to them.
    pub(in crate::model) unsafe fn read_eps(
        &self,
        rows: Range<usize>,
        col: usize,
    ) -> impl Iterator<Item = Lanes> {
        // SAFETY: passed on to the caller.
        let eps = unsafe { self.read(self.memory.plan.eps, col / WIDTH, rows) };
        eps.iter().map(move |row| row[col % WIDTH / LANES])
    }

    /// -log p(x|z) of each draw and KL of each row, once the batch is scored.
    pub fn losses(&self) -> (&[f32], &[f32]) {
        // SAFETY: both are written in phases of `sample` and `score` only.
        unsafe {
            (self.memory.reconstruction.read(0..self.draws()), self.memory.kl.read(0..self.rows))
        }
    }

    /// The gradients of mu and logvar from that of z and the KL.
    pub fn latent_gradient(&self, worker: &Worker, kl: KlTerm) {
        let slope = match kl.is_plain() {
            true => kl.weight / self.rows as f32,
            false => kl.slope(self.mean_kl_by_coordinate(), self.rows),
        };
        let (latent, plan) = (self.spec.latent_dim, self.memory.plan);
        let to = plan.posterior.gradient;
        self.by_rows(worker, |rows| {
            // SAFETY: dz was written in the phase before.
            let dz = unsafe { self.matrix(plan.z.gradient) };
            // What lies beyond the last column takes part in the products' vectors: it must be zero.
            // SAFETY: rows are this block's.
            unsafe { self.write(to, panels_of(to.cols) - 1, rows.clone()) }.fill(ZERO_ROW);
            let mut block = LatentBlock::default();
            for col in (0..latent).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                dz.gather(rows.clone(), col, &mut block.z);
                let slopes = match kl.is_plain() {
                    true => Lanes([slope; LANES]),
                    false => kl.slopes(slope, &self.kl_sums()[col / LANES], self.rows),
                };
                self.isa.run(LatentGradient { block: &mut block, slopes });
                for (i, r) in rows.clone().enumerate() {
                    // SAFETY: row r is this block's.
                    unsafe {
                        self.put(to, r, col, &block.mu[i].0[..block.cols]);
                        self.put(to, r, latent + col, &block.logvar[i].0[..block.cols]);
                    }
                }
            }
        });
    }
}
