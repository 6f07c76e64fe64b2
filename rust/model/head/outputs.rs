//! The decoder's predictions of x: means, scales, and their moments over draws of z.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::data::standardize::FromUnits;
use crate::matrix::{ProductTile, Shared};
use crate::model::memory::BatchView;
use crate::nn::likelihood::{Mean, Moments};
use crate::simd::{LANES, Row, WIDTH, ZERO_ROW, floats_mut, floats_of};
use crate::threads::Worker;
use std::ops::Range;

/// Receives a part of an output row: its range in the caller's array, the means, and the decoder's scales.
type TakeOutput<'a> = dyn FnMut(Range<usize>, &[f32], &[f32]) + 'a;

impl Head {
    /// Computes E[x|z] and, if the decoder outputs it, the scale of p(x|z), for rows `first..` of an array
    /// [n, n_features]. `take` receives one part of a row at a time, with its range in the array. Each range belongs to
    /// one tile only. `sized`: counts have the size of the loaded x; else the size 1.
    fn outputs(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        (first, sized): (usize, bool),
        take: &mut TakeOutput,
    ) {
        let likelihood = &self.likelihood;
        let scaled = likelihood.outputs_per_feature() == 2;
        let mut take_tile = |panel: usize, rows: Range<usize>, tile: &mut [Row]| {
            let features = self.features(panel);
            let scale = if scaled { LANES..LANES + features.len() } else { 0..0 };
            for (row, r) in floats_mut(tile).chunks(WIDTH).zip(rows) {
                let start = (first + r) * self.n_features + features.start;
                let place = start..start + features.len();
                take(place, &row[..features.len()], &row[scale.clone()]);
            }
        };
        if let Some(groups) = likelihood.groups() {
            return self.group_means(groups, batch, worker, tiles, &mut take_tile);
        }
        if likelihood.is_softmax() {
            return self.softmax_means(batch, worker, tiles, &mut take_tile);
        }
        if likelihood.size_factor().is_some() {
            return self.count_means(batch, worker, tiles, sized, &mut take_tile);
        }
        (tiles.run)(&mut |ProductTile { panel, rows, vectors, products }, bias| {
            let units = self.units(panel);
            if let Some(by) = &units {
                batch.isa.run(FromUnits { by, bias, rows: &mut *products });
            }
            let bias = if units.is_some() { &ZERO_ROW } else { bias };
            Mean { likelihood, products: &mut *products, vectors, bias }.run(batch.isa);
            take_tile(panel, rows, products);
        });
    }

    /// Writes E[x|z] to rows `first..` of `out`, [n, n_features]. `sized`: see [`Head::outputs`].
    pub fn mean(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        out: Shared<f32>,
        (first, sized): (usize, bool),
    ) {
        self.outputs(batch, worker, tiles, (first, sized), &mut |place, mean, _| {
            // SAFETY: the range belongs to one tile only.
            unsafe { out.write(place) }.copy_from_slice(mean);
        });
    }

    /// Writes E[x|z] and the decoder's scale to rows `first..` of the two arrays `out`, each [n, n_features].
    pub fn mean_and_scale(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        out: [Shared<f32>; 2],
        first: usize,
    ) {
        self.outputs(batch, worker, tiles, (first, false), &mut |place, mean, scale| {
            for (out, from) in out.into_iter().zip([mean, scale]) {
                // SAFETY: the range belongs to one tile only.
                unsafe { out.write(place.clone()) }.copy_from_slice(from);
            }
        });
    }

    /// Updates rows `first..` of three arrays, each [n, n_features], with draw `draw` of the output: see [`Moments`].
    /// `scales` holds the parameters from [`Head::scales`], empty for a scale from the decoder or scales of each condition.
    /// Counts have the size of x.
    pub fn moments(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        scales: &[f32],
        out: [Shared<f32>; 3],
        (first, draw): (usize, u32),
    ) {
        let (likelihood, cols) = (&self.likelihood, self.n_features);
        self.outputs(batch, worker, tiles, (first, true), &mut |place, mean, scale| {
            let col = place.start % cols;
            let mut own = [ZERO_ROW];
            if self.sets.is_some() {
                let draw = place.start / cols - first;
                // SAFETY: only the update writes parameters.
                let parameters = unsafe { batch.weights() };
                let row = &mut own;
                self.parameter_rows(batch, parameters, col / WIDTH, draw..draw + 1, row);
                floats_mut(row).iter_mut().for_each(|x| *x = x.exp());
            }
            let start = col % WIDTH;
            let of_row = self.sets.map(|_| &floats_of(&own)[start..start + mean.len()]);
            let (parameter, second) = match of_row.or_else(|| scales.get(col..col + mean.len())) {
                Some(parameter) => (parameter, scale),
                None => (scale, &[][..]),
            };
            // SAFETY: the range belongs to one tile only.
            let out = out.map(|out| unsafe { out.write(place.clone()) });
            Moments { likelihood, mean, parameter, second, out, draw, first: col }.run();
        });
    }
}
