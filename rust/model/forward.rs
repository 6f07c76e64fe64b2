//! The phases of the forward pass.
#![allow(unsafe_code)]

use super::pass::Pass;
use super::workspace::Matrix;
use crate::data::Source;
use crate::isa::{LANES, Lanes, WIDTH, floats_mut};
use crate::latent::{Block, Sample};
use crate::layer::Forward;
use crate::likelihood::{LogProb, Mean};
use crate::matmul::{Shared, panels_of, product};
use crate::rng::{ContentHash, Distribution, Fill, Noise, Stream};
use crate::team::Worker;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Examples per work item in phases that go by rows.
pub(super) const ROW_BLOCK: usize = LANES;

/// Where eps comes from.
#[derive(Clone, Copy)]
pub enum Epsilon<'a> {
    /// The caller's, one row an example, from row `first` on.
    Given(Source<'a>, usize),
    /// The training noise of a step; the row is the place in the batch.
    Train { seed: u64, step: u32 },
    /// The scoring noise; the row is the example's content.
    Score { seed: u64 },
}

impl Pass<'_> {
    /// A phase over blocks of examples.
    pub(super) fn by_rows(&self, worker: &Worker, block: impl Fn(Range<usize>)) {
        worker.phase(self.rows.div_ceil(ROW_BLOCK), |item| {
            block(item * ROW_BLOCK..((item + 1) * ROW_BLOCK).min(self.rows));
        });
    }

    /// Gathers the batch into panels: example r is row `row_of(r)` of `source`.
    pub fn load(
        &self,
        worker: &Worker,
        source: &Source,
        hash: bool,
        row_of: impl Fn(usize) -> usize,
    ) {
        self.gather(worker, source, self.memory.plan.x, hash, row_of);
    }

    /// Takes codes from an array, from row `first` on.
    pub fn load_codes(&self, worker: &Worker, source: &Source, first: usize) {
        self.gather(worker, source, self.memory.plan.z, false, |r| first + r);
    }

    fn gather(
        &self,
        worker: &Worker,
        source: &Source,
        to: Matrix,
        hash: bool,
        row_of: impl Fn(usize) -> usize,
    ) {
        self.by_rows(worker, |rows| {
            for r in rows {
                let (from, mut content) = (row_of(r), ContentHash::new());
                for panel in 0..panels_of(to.cols) {
                    // SAFETY: row r is this block's.
                    let row = unsafe { self.memory.arena.write(self.place(to, panel, r..r + 1)) };
                    let used = (to.cols - panel * WIDTH).min(WIDTH);
                    let floats = floats_mut(row);
                    floats[used..].fill(0.0);
                    source.read(from, panel * WIDTH, &mut floats[..used]);
                    if hash {
                        row[0].iter().for_each(|lanes| content.update(lanes));
                    }
                }
                // SAFETY: row r is this block's.
                unsafe { self.memory.hashes.write(r..r + 1)[0] = content.finish() };
            }
        });
    }

    /// From x to [mu, logvar].
    pub fn encode(&self, worker: &Worker) {
        for index in 0..=self.network.head() {
            self.layer(worker, index);
        }
    }

    /// From z to what goes into the output layer.
    pub fn decode(&self, worker: &Worker) {
        for index in self.network.head() + 1..self.network.output() {
            self.layer(worker, index);
        }
    }

    fn layer(&self, worker: &Worker, index: usize) {
        let (network, plan) = (self.network, self.memory.plan);
        let (layer, activation) = (&network.layers[index], network.activation(index));
        let (value, kept) = (plan.values[index], plan.kept[index]);
        let keeps_slope = kept.panel(0, self.rows) != value.panel(0, self.rows);
        // SAFETY: the input was written in an earlier phase; this one writes the layer's own output, each
        // tile its own rows of its own panel. Parameters do not change in a forward pass.
        let input = unsafe { self.matrix(plan.input(network, index)) };
        let weights = |panel| unsafe { self.weights(layer.weights(panel)) };
        product(worker, self.isa, input, layer.outputs, weights, |tile| unsafe {
            let bias = layer.bias(tile.panel);
            self.isa.run(Forward {
                products: tile.products,
                vectors: tile.vectors,
                bias: &self.weights(bias..bias + 1)[0],
                activation,
                out: self.memory.arena.write(self.place(value, tile.panel, tile.rows.clone())),
                slope: if keeps_slope {
                    self.memory.arena.write(self.place(kept, tile.panel, tile.rows))
                } else {
                    &mut []
                },
            });
        });
    }

    /// eps, z and each row's KL.
    pub fn sample(&self, worker: &Worker, epsilon: Epsilon) {
        self.by_rows(worker, |rows| {
            self.draw(rows.clone(), epsilon);
            // SAFETY: rows are this block's.
            let kl = unsafe { self.memory.kl.write(rows.clone()) };
            kl.fill(0.0);
            let mut block = Block::default();
            let mut clamped = 0;
            for col in (0..self.network.spec.latent_dim).step_by(LANES) {
                self.fetch(&mut block, rows.clone(), col);
                clamped += self.isa.run(Sample { block: &mut block, kl: &mut *kl });
                for (i, r) in rows.clone().enumerate() {
                    let place = self.place(self.memory.plan.z, col / WIDTH, r..r + 1);
                    // SAFETY: row r is this block's.
                    let row = unsafe { self.memory.arena.write(place) };
                    row[0][col % WIDTH / LANES] = block.z[i];
                }
            }
            if clamped > 0 {
                self.clamped.fetch_add(clamped, Ordering::Relaxed);
            }
        });
    }

    /// z = mu, without noise.
    pub fn take_means(&self, worker: &Worker) {
        let (latent, plan) = (self.network.spec.latent_dim, self.memory.plan);
        self.by_rows(worker, |rows| {
            for col in (0..latent).step_by(LANES) {
                let mut lanes = [Lanes::default(); ROW_BLOCK];
                // SAFETY: the head is not written in this phase; z's rows are this block's.
                let head = unsafe { self.matrix(plan.values[self.network.head()]) };
                head.gather(rows.clone(), col, (latent - col).min(LANES), &mut lanes);
                for (i, r) in rows.clone().enumerate() {
                    let place = self.place(plan.z, col / WIDTH, r..r + 1);
                    let row = unsafe { self.memory.arena.write(place) };
                    row[0][col % WIDTH / LANES] = lanes[i];
                }
            }
        });
    }

    fn draw(&self, rows: Range<usize>, epsilon: Epsilon) {
        let (eps, latent) = (self.memory.plan.eps, self.network.spec.latent_dim);
        let write = |r: usize, panel: usize| {
            // SAFETY: row r is the calling block's.
            let row = unsafe { self.memory.arena.write(self.place(eps, panel, r..r + 1)) };
            floats_mut(row)
        };
        let (seed, stream) = match epsilon {
            Epsilon::Given(source, first) => {
                for r in rows {
                    for panel in 0..panels_of(latent) {
                        let used = (latent - panel * WIDTH).min(WIDTH);
                        let out = &mut write(r, panel)[..used];
                        source.read(first + r, panel * WIDTH, out);
                    }
                }
                return;
            }
            Epsilon::Train { seed, .. } => (seed, Stream::Train),
            Epsilon::Score { seed } => (seed, Stream::Score),
        };
        let mut ids = [[0; 2]; ROW_BLOCK];
        for (id, r) in ids.iter_mut().zip(rows.clone()) {
            *id = match epsilon {
                Epsilon::Train { step, .. } => [step, r as u32],
                // SAFETY: hashes are written when the batch is loaded, in an earlier phase.
                _ => unsafe { self.memory.hashes.read(r..r + 1)[0] },
            };
        }
        self.isa.run(Fill {
            noise: Noise { seed, stream: stream as u8, sample: 0 },
            distribution: Distribution::StandardNormal,
            rows: &ids[..rows.len()],
            cols: latent,
            put: |i, j, value| write(rows.start + i, j / WIDTH)[j % WIDTH] = value,
        });
    }

    /// Takes mu, logvar and eps of some rows and coordinates out of their panels.
    pub(super) fn fetch(&self, block: &mut Block, rows: Range<usize>, col: usize) {
        let (latent, plan) = (self.network.spec.latent_dim, self.memory.plan);
        block.rows = rows.len();
        block.cols = (latent - col).min(LANES);
        // SAFETY: the head is not written in a phase that fetches; eps only by the block itself.
        let (head, eps) = unsafe {
            (self.matrix(plan.values[self.network.head()]), self.matrix(plan.eps))
        };
        head.gather(rows.clone(), col, block.cols, &mut block.mu);
        head.gather(rows.clone(), latent + col, block.cols, &mut block.logvar);
        eps.gather(rows, col, block.cols, &mut block.eps);
    }

    /// The output layer with the likelihood: -log p(x|z) of each row and, if `weight` is given, that times the
    /// gradient of -log p with respect to the output.
    pub fn score(&self, worker: &Worker, weight: Option<f32>) {
        let (network, plan) = (self.network, self.memory.plan);
        let index = network.output();
        let layer = &network.layers[index];
        // SAFETY: as in `layer`; the targets are the loaded batch, the partial sums of (panel, row) are the
        // tile's own.
        let input = unsafe { self.matrix(plan.input(network, index)) };
        let weights = |panel| unsafe { self.weights(layer.weights(panel)) };
        product(worker, self.isa, input, layer.outputs, weights, |tile| unsafe {
            let bias = layer.bias(tile.panel);
            let partial = tile.panel * self.rows + tile.rows.start;
            self.isa.run(LogProb {
                likelihood: network.spec.likelihood,
                products: tile.products,
                cols: (layer.outputs - tile.panel * WIDTH).min(WIDTH),
                bias: &self.weights(bias..bias + 1)[0],
                log_scale: &network.log_scale_row(self.weights(0..network.rows), tile.panel),
                targets: self.memory.arena.read(self.place(plan.x, tile.panel, tile.rows.clone())),
                log_prob: self.memory.partial.write(partial..partial + tile.rows.len()),
                gradient: match weight {
                    Some(_) => self.memory.arena.write(self.place(
                        plan.gradients[index],
                        tile.panel,
                        tile.rows,
                    )),
                    None => &mut [],
                },
                weight: weight.unwrap_or(0.0),
            });
        });
    }

    /// Adds up each row's -log p(x|z), panels ascending; `last` runs when all are there.
    pub fn reduce(&self, worker: &Worker, last: impl FnOnce()) {
        let panels = panels_of(self.network.spec.n_features);
        worker.phase_then(
            self.rows.div_ceil(ROW_BLOCK),
            |item| {
                let rows = item * ROW_BLOCK..((item + 1) * ROW_BLOCK).min(self.rows);
                // SAFETY: the sums of these rows are this block's; the partial ones are from the phase before.
                let sums = unsafe { self.memory.reconstruction.write(rows.clone()) };
                sums.fill(0.0);
                for panel in 0..panels {
                    let start = panel * self.rows + rows.start;
                    let part = unsafe { self.memory.partial.read(start..start + rows.len()) };
                    for (sum, x) in sums.iter_mut().zip(part) {
                        *sum -= x;
                    }
                }
            },
            last,
        );
    }

    /// -log p(x|z) and KL of each row, once [`Pass::reduce`] is through.
    pub fn losses(&self) -> (&[f32], &[f32]) {
        // SAFETY: both are written in the phases `sample` and `reduce` only.
        unsafe {
            (self.memory.reconstruction.read(0..self.rows), self.memory.kl.read(0..self.rows))
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

    /// The output layer's E[x|z], written to rows `first..` of `out`, [n, n_features].
    pub fn mean(&self, worker: &Worker, out: Shared<f32>, first: usize) {
        let (network, plan) = (self.network, self.memory.plan);
        let index = network.output();
        let layer = &network.layers[index];
        // SAFETY: as in `layer`; a tile's part of each row of `out` is its own.
        let input = unsafe { self.matrix(plan.input(network, index)) };
        let weights = |panel| unsafe { self.weights(layer.weights(panel)) };
        product(worker, self.isa, input, layer.outputs, weights, |tile| unsafe {
            let bias = layer.bias(tile.panel);
            self.isa.run(Mean {
                likelihood: network.spec.likelihood,
                products: tile.products,
                vectors: tile.vectors,
                bias: &self.weights(bias..bias + 1)[0],
            });
            let col = tile.panel * WIDTH;
            let used = (layer.outputs - col).min(WIDTH);
            for (row, r) in floats_mut(tile.products).chunks(WIDTH).zip(tile.rows) {
                let start = (first + r) * layer.outputs + col;
                out.write(start..start + used).copy_from_slice(&row[..used]);
            }
        });
    }

    /// Writes columns `from..` of the head to rows `first..` of `out`, [n, latent_dim].
    pub fn emit(&self, worker: &Worker, from: usize, out: Shared<f32>, first: usize) {
        let latent = self.network.spec.latent_dim;
        self.by_rows(worker, |rows| {
            // SAFETY: the head is not written in this phase; these rows of `out` are this block's.
            let head =
                unsafe { self.matrix(self.memory.plan.values[self.network.head()]) };
            for r in rows {
                let start = (first + r) * latent;
                let out = unsafe { out.write(start..start + latent) };
                head.copy_row(r, from, out);
            }
        });
    }
}
