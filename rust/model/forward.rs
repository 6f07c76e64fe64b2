//! The phases of the forward pass.
#![allow(unsafe_code)]

use super::pass::{Pass, ROW_BLOCK};
use super::workspace::Matrix;
use crate::data::Source;
use crate::matrix::{Panels, ProductTile, Shared, panels_of, product};
use crate::nn::dense::BiasAndActivation;
use crate::nn::latent::{KlByCoordinate, LatentBlock, SamplePosterior, SampleWithRatio};
use crate::nn::likelihood::{Mean, Moments, Score};
use crate::random::{Distribution, Fill, Stream, row_words};
use crate::simd::{LANES, Lanes, MAX_TILE_ROWS, Row, WIDTH, ZERO_ROW, floats_mut};
use crate::threads::Worker;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Which noise the model draws, by the model's seed.
#[derive(Clone, Copy)]
pub enum NoiseKey {
    /// The training noise of a step; the row is the place in the batch.
    Train(u64, u32),
    /// The scoring noise; the row is the example's content.
    Score(u64),
    /// A draw from the posteriors of an array's rows, of which the batch is those from a first one on.
    Posterior {
        /// The key.
        seed: u64,
        /// The batch's first row.
        first: usize,
        /// Which draw.
        sample: u32,
    },
}

impl NoiseKey {
    /// The noise's key.
    pub fn seed(self) -> u64 {
        let (NoiseKey::Train(seed, _) | NoiseKey::Score(seed) | NoiseKey::Posterior { seed, .. }) =
            self;
        seed
    }

    /// The stream of eps.
    fn stream(self) -> Stream {
        match self {
            NoiseKey::Train(..) => Stream::Train,
            NoiseKey::Score(_) => Stream::Score,
            NoiseKey::Posterior { .. } => Stream::Posterior,
        }
    }
}

/// Where eps comes from.
#[derive(Clone, Copy)]
pub enum Epsilon<'a> {
    /// The caller: one row for each draw of an example, from that example on.
    Given(Source<'a>, usize),
    /// The caller: that row for all examples.
    Same(Source<'a>, usize),
    /// The model.
    Drawn(NoiseKey),
}

impl Pass<'_> {
    /// From x to [mu, logvar], or to the code.
    pub fn encode(&self, worker: &Worker) {
        for index in 0..=self.network.head() {
            self.layer(worker, index);
            self.normalize(worker, index);
        }
    }

    /// From z to what goes into the output layer.
    pub fn decode(&self, worker: &Worker) {
        for index in self.network.head() + 1..self.network.output() {
            self.layer(worker, index);
        }
    }

    /// The phase of one layer's product. `epilogue` gets every tile, the panel's bias and all parameters.
    pub(super) fn product(
        &self,
        worker: &Worker,
        index: usize,
        mut epilogue: impl FnMut(ProductTile, &Row, &[Row]),
    ) {
        if index == 0 && self.is_sparse() {
            // SAFETY: parameters change in the update only.
            return self.gather_product(worker, unsafe { self.weights() }, epilogue);
        }
        let network = self.network;
        let layer = &network.layers[index];
        // SAFETY: the input was written in an earlier phase; parameters change in the update only.
        let (input, parameters) = unsafe { (self.matrix(self.input(index)), self.weights()) };
        // SAFETY: phi changes in the update only.
        let phi = unsafe { self.topic_words() };
        let weights = |panel| match index == network.output() && network.mixes() {
            true => &phi[network.phi(panel)],
            false => &parameters[layer.weights(panel)],
        };
        let kept = |tile| self.kept_columns(index, tile);
        product(worker, self.isa, input, kept, layer.outputs, weights, |tile| {
            let bias = &parameters[layer.bias(tile.panel)];
            epilogue(tile, bias, parameters);
        });
    }

    pub(super) fn layer(&self, worker: &Worker, index: usize) {
        let (plan, activation) = (self.memory.plan, self.network.activation(index));
        let (value, slope) = (plan.values[index], plan.slopes[index]);
        // A shift is added to what is normalised, not here.
        let shifted = self.network.layers[index].shift().is_some();
        self.product(worker, index, |ProductTile { panel, rows, vectors, products }, bias, _| {
            let bias = if shifted { &ZERO_ROW } else { bias };
            // SAFETY: the layer's own output; these rows of this panel are the tile's.
            let (out, slope) = unsafe {
                let slope = slope.map(|slope| self.write(slope, panel, rows.clone()));
                (self.write(value, panel, rows), slope.unwrap_or_default())
            };
            self.isa.run(BiasAndActivation { products, vectors, bias, activation, out, slope });
        });
    }

    /// eps, z and each row's KL. A plain autoencoder has none of them.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        if !self.network.spec.variational {
            return;
        }
        self.by_rows(worker, |rows| {
            self.draw(rows.clone(), epsilon);
            // SAFETY: rows are this block's.
            let kl = unsafe { self.memory.kl.write(rows.clone()) };
            kl.fill(0.0);
            let mut block = LatentBlock::default();
            let mut clamped = 0;
            for col in (0..self.network.spec.latent_dim).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                clamped += self.isa.run(SamplePosterior { block: &mut block, kl: &mut *kl });
                self.put_codes(rows.clone(), col, &block.z);
            }
            self.codes_to_topics(rows.clone());
            self.join(rows);
            if clamped > 0 {
                self.clamped.fetch_add(clamped, Ordering::Relaxed);
            }
        });
    }

    /// z = mu, with the conditions behind it: what a reconstruction of a conditional model is decoded from.
    pub fn take_means(&self, worker: &Worker) {
        self.by_rows(worker, |rows| {
            // SAFETY: the head is from an earlier phase.
            let head = unsafe { self.matrix(self.memory.plan.values[self.network.head()]) };
            let mut codes = [Lanes::default(); ROW_BLOCK];
            for col in (0..self.network.spec.latent_dim).step_by(LANES) {
                head.gather(rows.clone(), col, &mut codes);
                self.put_codes(rows.clone(), col, &codes);
            }
            self.codes_to_topics(rows.clone());
            self.join(rows);
        });
    }

    /// Puts the conditions, which the encoder has seen behind x, behind the codes of the calling block's draws.
    pub(super) fn join(&self, draws: Range<usize>) {
        let (spec, plan) = (&self.network.spec, self.memory.plan);
        if spec.conditions == 0 {
            return;
        }
        // SAFETY: the batch was loaded in an earlier phase.
        let input = unsafe { self.matrix(plan.input) };
        let mut values = [0.0; WIDTH];
        for r in draws {
            for first in (0..spec.conditions).step_by(WIDTH) {
                let part = &mut values[..(spec.conditions - first).min(WIDTH)];
                input.copy_row(r / self.copies(), spec.conditions_at() + first, part);
                // SAFETY: row r is the calling block's.
                unsafe { self.put(plan.z, r, spec.latent_dim + first, part) };
            }
        }
    }

    /// Each coordinate's KL, summed over the batch, rows ascending.
    pub fn sum_kl(&self, worker: &Worker) {
        let latent = self.network.spec.latent_dim;
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

    /// What [`Pass::sum_kl`] has found.
    pub(super) fn kl_sums(&self) -> &[Lanes] {
        // SAFETY: written in that phase only.
        unsafe { self.memory.kl_sums.read(0..self.network.spec.latent_dim.div_ceil(LANES)) }
    }

    /// The same, one by one.
    pub fn kl_by_coordinate(&self) -> impl Iterator<Item = f32> {
        self.kl_sums().iter().flat_map(|lanes| lanes.0).take(self.network.spec.latent_dim)
    }

    /// Stores sixteen coordinates of z of the calling block's rows.
    pub(super) fn put_codes(&self, rows: Range<usize>, col: usize, codes: &[Lanes; ROW_BLOCK]) {
        // SAFETY: rows are the calling block's.
        let z = unsafe { self.write(self.memory.plan.z, col / WIDTH, rows) };
        for (row, lanes) in z.iter_mut().zip(codes) {
            row[col % WIDTH / LANES] = *lanes;
        }
    }

    /// Fills eps for the calling block's draws.
    pub(super) fn draw(&self, draws: Range<usize>, epsilon: Epsilon) {
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
            for panel in 0..panels_of(self.network.spec.latent_dim) {
                // SAFETY: row r is the calling block's.
                let eps = unsafe { self.write(self.memory.plan.eps, panel, r..r + 1) };
                source.read_panel(from(r), panel, &mut eps[0]);
            }
        }
    }

    /// Fills eps for the calling block's rows with noise of the model's.
    pub(super) fn fill_eps(
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
            cols: self.network.spec.latent_dim,
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
    pub(super) fn row_ids(
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
    pub(super) fn fetch(&self, block: &mut LatentBlock, rows: Range<usize>, col: usize) {
        // SAFETY: the rows of eps are the calling block's.
        let eps = unsafe { self.read_eps(rows.clone(), col) };
        self.fetch_posterior(block, rows, col);
        block.eps.iter_mut().zip(eps).for_each(|(to, eps)| *to = eps);
    }

    /// Takes mu and logvar of some rows and coordinates out of their panels.
    pub(super) fn fetch_posterior(&self, block: &mut LatentBlock, rows: Range<usize>, col: usize) {
        let latent = self.network.spec.latent_dim;
        block.rows = rows.len();
        block.cols = (latent - col).min(LANES);
        // SAFETY: the head is not written in a phase that fetches.
        let head = unsafe { self.matrix(self.memory.plan.values[self.network.head()]) };
        head.gather(rows.clone(), col, &mut block.mu);
        head.gather(rows, latent + col, &mut block.logvar);
    }

    /// z of some draws, whose eps is there, and their log p(z) - log q(z|x); `example` says whose posterior a draw is from.
    pub(super) fn take_draws(
        &self,
        draws: Range<usize>,
        head: Panels,
        example: impl Fn(usize) -> usize,
        ratio: &mut [f32],
    ) {
        ratio.fill(0.0);
        let mut block = LatentBlock::default();
        for col in (0..self.network.spec.latent_dim).step_by(LANES) {
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
        let latent = self.network.spec.latent_dim;
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
    pub(super) unsafe fn read_eps(
        &self,
        rows: Range<usize>,
        col: usize,
    ) -> impl Iterator<Item = Lanes> {
        // SAFETY: passed on to the caller.
        let eps = unsafe { self.read(self.memory.plan.eps, col / WIDTH, rows) };
        eps.iter().map(move |row| row[col % WIDTH / LANES])
    }

    /// The output layer with the likelihood: each row's -log p(x|z) and, if `weight` is given, that times the gradient of
    /// -log p with respect to the output. `last` runs when the losses are there.
    pub fn score(&self, worker: &Worker, weight: Option<f32>, last: impl FnOnce()) {
        if self.network.spec.likelihood.is_softmax() {
            self.score_softmax(worker, weight, last);
        } else {
            self.score_features(worker, weight);
            self.reduce(worker, last);
        }
    }

    /// [`Pass::score`] where a tile finishes its features: each row's partial sums of log p(x|z), and the gradient.
    fn score_features(&self, worker: &Worker, weight: Option<f32>) {
        let (network, plan, index) = (self.network, self.memory.plan, self.network.output());
        let mut scratch = [ZERO_ROW; MAX_TILE_ROWS];
        self.product(worker, index, |tile, bias, parameters| {
            let ProductTile { panel, rows, products, .. } = tile;
            let (start, features) = (panel * self.draws() + rows.start, network.features(panel));
            // SAFETY: the batch was loaded in an earlier phase; the gradient's rows of this panel and the partial
            // sums of (panel, rows) are the tile's own.
            let (targets, log_prob, [gradient, scale_gradient]) = unsafe {
                let scaled = weight.filter(|_| network.spec.stores_scale_gradient());
                let gradient = [
                    weight.map(|_| self.write(plan.gradients[index], panel, rows.clone())),
                    scaled.map(|_| self.write(plan.scale_gradient, panel, rows.clone())),
                ];
                let log_prob = self.memory.partial.write(start..start + rows.len());
                let targets = self.targets(features.start / WIDTH, rows, &mut scratch);
                (targets, log_prob, gradient.map(Option::unwrap_or_default))
            };
            self.isa.run(Score {
                likelihood: network.spec.likelihood,
                products,
                cols: features.len(),
                bias,
                parameter: &network.parameter_row(parameters, panel),
                targets,
                half: features.start % WIDTH / LANES,
                masked: network.spec.missing.is_masked(),
                log_prob,
                gradient,
                scale_gradient,
                weight: weight.unwrap_or(0.0),
            });
        });
    }

    /// Adds up each draw's -log p(x|z), panels ascending; `last` runs when all are there.
    fn reduce(&self, worker: &Worker, last: impl FnOnce()) {
        let panels = panels_of(self.network.layers[self.network.output()].outputs);
        let block = |rows: Range<usize>| {
            // SAFETY: the sums of these rows are this block's; the partial ones are from the phase before.
            let (sums, partial) = unsafe {
                let partial = self.memory.partial.read(0..panels * self.draws());
                (self.memory.reconstruction.write(rows.clone()), partial)
            };
            sums.fill(0.0);
            for panel in partial.chunks_exact(self.draws()) {
                for (sum, x) in sums.iter_mut().zip(&panel[rows.clone()]) {
                    *sum -= x;
                }
            }
        };
        self.by_draws_then(worker, block, last);
    }

    /// -log p(x|z) of each draw and KL of each row, once [`Pass::score`] is through.
    pub fn losses(&self) -> (&[f32], &[f32]) {
        // SAFETY: both are written in phases of `sample` and `score` only.
        unsafe {
            (self.memory.reconstruction.read(0..self.draws()), self.memory.kl.read(0..self.rows))
        }
    }

    /// Writes them to elements `first..` of two arrays.
    pub fn emit_losses(&self, worker: &Worker, out: [Shared<f32>; 2], first: usize) {
        let (reconstruction, kl) = self.losses();
        self.by_rows(worker, |rows| {
            for (from, to) in [reconstruction, kl].into_iter().zip(out) {
                // SAFETY: the elements are this block's.
                let to = unsafe { to.write(first + rows.start..first + rows.end) };
                to.copy_from_slice(&from[rows.clone()]);
            }
        });
    }

    /// The output layer's E[x|z] and, where it is the decoder's, the scale of p(x|z), for rows `first..` of an array
    /// [n, n_features]. `take` gets a part of a row at a time, with its place in the array; it is its tile's.
    fn outputs(
        &self,
        worker: &Worker,
        first: usize,
        mut take: impl FnMut(Range<usize>, &[f32], &[f32]),
    ) {
        let (network, index) = (self.network, self.network.output());
        let likelihood = network.spec.likelihood;
        let scaled = likelihood.outputs_per_feature() == 2;
        let mut take_tile = |panel: usize, rows: Range<usize>, tile: &mut [Row]| {
            let features = network.features(panel);
            let scale = if scaled { LANES..LANES + features.len() } else { 0..0 };
            for (row, r) in floats_mut(tile).chunks(WIDTH).zip(rows) {
                let start = (first + r) * network.spec.n_features + features.start;
                let place = start..start + features.len();
                take(place, &row[..features.len()], &row[scale.clone()]);
            }
        };
        if likelihood.is_softmax() {
            return self.softmax_means(worker, take_tile);
        }
        self.product(worker, index, |ProductTile { panel, rows, vectors, products }, bias, _| {
            self.isa.run(Mean { likelihood, products: &mut *products, vectors, bias });
            take_tile(panel, rows, products);
        });
    }

    /// The output layer's E[x|z], written to rows `first..` of `out`, [n, n_features].
    pub fn mean(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        self.outputs(worker, first, |place, mean, _| {
            // SAFETY: the place is a tile's own.
            unsafe { out.write(place) }.copy_from_slice(mean);
        });
    }

    /// The same, and the decoder's scale.
    pub fn mean_and_scale(&self, worker: &Worker, out: [Shared<f32>; 2], first: usize) {
        self.outputs(worker, first, |place, mean, scale| {
            for (out, from) in out.into_iter().zip([mean, scale]) {
                // SAFETY: the place is a tile's own.
                unsafe { out.write(place.clone()) }.copy_from_slice(from);
            }
        });
    }

    /// Takes draw `draw` of the output into rows `first..` of three arrays, [n, n_features]: see [`Moments`]. `scales` are
    /// those that are not the decoder's.
    pub fn moments(
        &self,
        worker: &Worker,
        scales: &[f32],
        out: [Shared<f32>; 3],
        (first, draw): (usize, u32),
    ) {
        let (likelihood, cols) = (self.network.spec.likelihood, self.network.spec.n_features);
        self.outputs(worker, first, |place, mean, scale| {
            let col = place.start % cols;
            let parameter = scales.get(col..col + mean.len()).unwrap_or(scale);
            // SAFETY: the place is a tile's own.
            let out = out.map(|out| unsafe { out.write(place.clone()) });
            self.isa.run(Moments { likelihood, mean, parameter, out, draw });
        });
    }

    /// Writes each coordinate's KL to rows `first..` of `out`, [n, latent_dim].
    pub fn emit_kl(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        let latent = self.network.spec.latent_dim;
        self.by_rows(worker, |rows| {
            let mut block = LatentBlock::default();
            for col in (0..latent).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                self.isa.run(KlByCoordinate { block: &mut block, sums: &mut Lanes::default() });
                for (lanes, r) in block.z.iter().zip(rows.clone()) {
                    let start = (first + r) * latent + col;
                    // SAFETY: the row is this block's.
                    let to = unsafe { out.write(start..start + block.cols) };
                    to.copy_from_slice(&lanes.0[..block.cols]);
                }
            }
        });
    }

    /// Writes columns `from..` of the head to rows `first..` of `out`, [n, latent_dim].
    pub fn emit(&self, worker: &Worker, from: usize, out: Shared<f32>, first: usize) {
        self.emit_from(worker, self.memory.plan.values[self.network.head()], from, out, first);
    }

    /// Adds what the decoder reads to rows `first..` of `out`, [n, latent_dim].
    pub fn add_codes(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        let latent = self.network.spec.latent_dim;
        self.by_rows(worker, |rows| {
            // SAFETY: z is from an earlier phase; these rows of `out` are this block's.
            let (z, out) = unsafe {
                let part = (first + rows.start) * latent..(first + rows.end) * latent;
                (self.matrix(self.memory.plan.z), out.write(part))
            };
            let mut code = [0.0; WIDTH];
            for (r, out) in rows.zip(out.chunks_exact_mut(latent)) {
                for (n, out) in out.chunks_mut(WIDTH).enumerate() {
                    let code = &mut code[..out.len()];
                    z.copy_row(r, n * WIDTH, code);
                    out.iter_mut().zip(code).for_each(|(sum, x)| *sum += *x);
                }
            }
        });
    }

    /// Writes z to rows `first..` of `out`, [n, latent_dim].
    pub fn emit_codes(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        self.emit_from(worker, self.memory.plan.z, 0, out, first);
    }

    fn emit_from(
        &self,
        worker: &Worker,
        matrix: Matrix,
        from: usize,
        out: Shared<f32>,
        first: usize,
    ) {
        let latent = self.network.spec.latent_dim;
        self.by_rows(worker, |rows| {
            // SAFETY: the matrix is not written in this phase; these rows of `out` are this block's.
            let (matrix, out) = unsafe {
                let part = (first + rows.start) * latent..(first + rows.end) * latent;
                (self.matrix(matrix), out.write(part))
            };
            for (r, out) in rows.zip(out.chunks_exact_mut(latent)) {
                matrix.copy_row(r, from, out);
            }
        });
    }
}
