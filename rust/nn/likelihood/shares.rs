//! Counts in rows of a size: independent counts with means m = s softmax(y), s the size of the row and y the decoder's outputs
//! for all features of the row (Lopez et al., Nature Methods 15, 2018: scVI). With g the gradient of -log p with respect
//! to ln m, d(-log p)/dy = g - softmax(y) G, G the sum of g over the row.
//!
//! A tile holds 32 features of a row (16 with zero inflation, see [`super::inflation`]). The computation has five steps:
//!
//! 1. [`LogitsTile`] stores y of a tile, and computes partial results of each row.
//! 2. [`CombineLogits`] combines the partial results of each row: ln m is y plus an offset.
//! 3. [`ScoreCounts`] computes log p, g and m of a tile; or [`MeansTile`] computes the means alone.
//! 4. [`CombineSlopes`] computes -log p and G of each row.
//! 5. [`SharesGradient`] replaces g by the gradient.
//!
//! Most counts are zero. [`ScoreCounts`] computes the density of zero for all features, which is short, and the density of
//! other counts for these alone, sixteen at a time.

use super::inflation;
use super::softmax::{Partials, Total, load_some, store_some, total};
use super::{Density, Likelihood, LogProb};
use crate::simd::{
    Arithmetic, Isa, LANES, Lanes, MAX_TILE_ROWS, Op, Row, Several, Simd, WIDTH, in_groups, math,
};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// The size s of a row of counts, its factor in all means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", expecting = "size_factor must be \"total\", \"given\" or none")]
pub enum SizeFactor {
    /// The sum of the row's counts.
    Total,
    /// A number for each row, in the column of y behind the conditions, in units of `size_unit` counts.
    Given,
}

impl SizeFactor {
    /// The means in plain text.
    pub fn formula(self) -> String {
        let size = match self {
            SizeFactor::Total => "the sum of x",
            SizeFactor::Given => "the given size of x",
        };
        format!("m = s softmax(y), s {size}, y the decoder's output")
    }
}

/// The sizes of up to sixteen rows, for a phase.
#[derive(Clone, Copy)]
pub enum RowSizes<'a> {
    /// All are 1.
    One,
    /// Their numbers of counts.
    Counts,
    /// These.
    Given(&'a [f32]),
}

impl RowSizes<'_> {
    /// The sizes, of rows with these numbers of counts.
    #[inline(always)]
    fn load<S: Simd>(self, s: S, counts: S::F) -> S::F {
        let sizes = match self {
            RowSizes::One => return s.splat(1.0),
            RowSizes::Counts => counts,
            RowSizes::Given(sizes) => load_some(s, sizes),
        };
        s.max(sizes, s.splat(LEAST_SIZE))
    }
}

/// The smallest size: a row without counts has a finite loss.
const LEAST_SIZE: f32 = 1e-6;

/// The density of counts with a short form for zero.
pub trait CountDensity: Density {
    /// log p(0|y) and its gradient with respect to y, and the gradient of -log p(0|y) with respect to the parameter.
    fn of_zero<S: Arithmetic>(s: S, y: S::F, parameter: S::F) -> (LogProb<S::F>, S::F);
}

/// Adds the bias, stores the outputs, and computes the largest of them, the sum of their exponentials and the number of counts
/// in each row.
pub struct LogitsTile<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// The number of features in this panel.
    pub cols: usize,
    /// The panel's bias.
    pub bias: &'a Row,
    /// The tile's rows of x, with zeros in the padding; empty for the means alone.
    pub targets: &'a [Row],
    /// The vector of `targets` with the first of these features.
    pub half: usize,
    /// Whether the second vector holds the logits of zero inflation.
    pub inflated: bool,
    /// The partial results of the tile's rows.
    pub parts: Partials<&'a mut [f32]>,
    /// The outputs.
    pub outputs: &'a mut [Row],
}

impl Op for LogitsTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (products, outputs)) in self.products.iter().zip(&mut *self.outputs).enumerate() {
            let mut y = [s.zero(); 2];
            for v in 0..2 {
                y[v] = s.add(s.load(&products[v]), s.load(&self.bias[v]));
                s.store(y[v], &mut outputs[v]);
            }
            let vectors = if self.inflated { 1 } else { 2 };
            let used = [0, LANES].map(|start| s.first(self.cols.saturating_sub(start)));
            for v in 0..vectors {
                y[v] = s.select(used[v], y[v], s.splat(f32::MIN));
            }
            let most = if self.inflated { y[0] } else { s.max(y[0], y[1]) };
            let m = s.largest(most);
            let largest = s.splat(m);
            let [mut sum, mut count] = [s.zero(); 2];
            for v in 0..vectors {
                let e = math::exp(s, s.sub(y[v], largest));
                sum = s.add(sum, s.select(used[v], e, s.zero()));
                if let Some(x) = self.targets.get(i) {
                    let x = s.load(&x[self.half + v]);
                    count = s.add(count, s.select(used[v], x, s.zero()));
                }
            }
            self.parts.largest[i] = m;
            self.parts.sum[i] = s.sum(sum);
            self.parts.count[i] = s.sum(count);
        }
    }
}

/// Replaces the largest output of up to sixteen rows in each panel by ln m - y.
pub struct CombineLogits<'a, P> {
    /// The number of panels.
    pub panels: usize,
    /// The partial results of the rows in a panel.
    pub parts: P,
    /// The sizes of the rows.
    pub sizes: RowSizes<'a>,
}

impl<'a, P: Fn(usize) -> Partials<&'a mut [f32]>> Op for CombineLogits<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CombineLogits { panels, parts, sizes } = self;
        let Total { largest, log_sum, count } = total(s, panels, &parts);
        let log_size = match sizes {
            RowSizes::One => s.zero(),
            _ => math::ln(s, sizes.load(s, count)),
        };
        let offset = s.sub(s.sub(log_size, largest), log_sum);
        for panel in 0..panels {
            store_some(s, offset, parts(panel).largest);
        }
    }
}

/// Computes log p(x|z) of a tile's rows and, on request, the gradients of -log p with respect to ln m and to the parameter.
pub struct ScoreCounts<'a> {
    /// The outputs; the gradient g with respect to ln m overwrites them.
    pub outputs: &'a mut [Row],
    /// ln m - y of each row.
    pub offsets: &'a [f32],
    /// The number of features in this panel.
    pub cols: usize,
    /// The density's parameters of the panel's features: one row for all rows of the tile, or one for each.
    pub parameters: &'a [Row],
    /// The tile's rows of x.
    pub targets: &'a [Row],
    /// The vector of `targets` with the first of these features.
    pub half: usize,
    /// Whether the second vector holds the logits of zero inflation.
    pub inflated: bool,
    /// log p(x|z) in nats, one value for each row.
    pub log_prob: &'a mut [f32],
    /// The sum of g, one value for each row.
    pub slopes: &'a mut [f32],
    /// The output for m; empty without a gradient. Padding becomes zero.
    pub means: &'a mut [Row],
    /// The output for the gradient with respect to the parameter; empty without a gradient, or without a parameter.
    pub parameter_gradient: &'a mut [Row],
    /// The factor of the gradient with respect to the parameter.
    pub weight: f32,
}

impl ScoreCounts<'_> {
    /// Runs the step on a tile.
    pub fn run(self, isa: Isa, likelihood: &Likelihood) {
        match likelihood {
            Likelihood::Poisson(_) => isa.run(Counts(self, PhantomData::<super::Poisson>)),
            Likelihood::NegativeBinomial(_) => {
                isa.run(Counts(self, PhantomData::<super::NegativeBinomial>));
            }
            _ => unreachable!("only counts have a size"),
        }
    }
}

/// [`ScoreCounts`] with a density.
struct Counts<'a, D>(ScoreCounts<'a>, PhantomData<D>);

impl<D: CountDensity> Op for Counts<'_, D> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Counts(mut work, _) = self;
        let rows = work.outputs.len();
        let mut others = Others::default();
        let [mut sums, mut slopes] = [[s.zero(); MAX_TILE_ROWS]; 2];
        let vectors = if work.inflated { 1 } else { work.cols.div_ceil(LANES).min(2) };
        for v in 0..vectors {
            in_groups!(S::WIDE, rows, N, first => {
                let sums = (&mut sums[first..first + N], &mut slopes[first..first + N]);
                work.zeros::<S, D, N>(s, v, first, sums, &mut others);
            });
        }
        for i in 0..rows {
            (work.log_prob[i], work.slopes[i]) = (s.sum(sums[i]), s.sum(slopes[i]));
        }
        for first in (0..others.count).step_by(LANES) {
            work.others::<S, D>(s, &others, first);
        }
    }
}

/// The counts of a tile that are not zero, in the order of their vectors, rows and lanes.
struct Others {
    count: usize,
    /// x, ln m and the parameter.
    values: [[f32; MAX_TILE_ROWS * WIDTH]; 3],
    /// Their row, and their column in it.
    places: [(u8, u8); MAX_TILE_ROWS * WIDTH],
}

impl Default for Others {
    fn default() -> Others {
        Others {
            count: 0,
            values: [[0.0; MAX_TILE_ROWS * WIDTH]; 3],
            places: [(0, 0); MAX_TILE_ROWS * WIDTH],
        }
    }
}

impl ScoreCounts<'_> {
    /// Computes the density of zero for vector `v` of rows `first..first + N`, and collects the other counts.
    #[inline(always)]
    fn zeros<S: Simd, D: CountDensity, const N: usize>(
        &mut self,
        s: S,
        v: usize,
        first: usize,
        (sums, slopes): (&mut [S::F], &mut [S::F]),
        others: &mut Others,
    ) {
        let several = Several::<S, N>(s);
        let used = s.first(self.cols - v * LANES);
        let [mut x, mut y, mut parameters] = [several.zero(); 3];
        let shared = self.parameters.len() == 1;
        for i in 0..N {
            parameters[i] = s.load(&self.parameters[if shared { 0 } else { first + i }][v]);
            x[i] = s.load(&self.targets[first + i][self.half + v]);
            let offset = s.splat(self.offsets[first + i]);
            y[i] = s.add(s.load(&self.outputs[first + i][v]), offset);
        }
        let (LogProb { mut value, mut slope }, mut of_parameter) =
            D::of_zero(several, y, parameters);
        let some = several.less(several.zero(), x);
        if self.inflated {
            let mut u = several.zero();
            for i in 0..N {
                u[i] = s.load(&self.outputs[first + i][1]);
            }
            let zero = inflation::of_zero(several, value, u);
            value = several.select(some, zero.log_rest, zero.value);
            slope = several.mul(slope, zero.share);
            of_parameter = several.mul(of_parameter, zero.share);
            let slope_u = several.select(some, zero.slope_of_others, zero.slope);
            for i in 0..N {
                s.store(s.select(used, slope_u[i], s.zero()), &mut self.outputs[first + i][1]);
            }
        } else {
            value = several.select(some, several.zero(), value);
        }
        let g = several.select(some, several.zero(), slope);
        let m = math::exp(several, y);
        for i in 0..N {
            let row = first + i;
            sums[i] = s.add(sums[i], s.select(used, value[i], s.zero()));
            let g = s.select(used, g[i], s.zero());
            slopes[i] = s.add(slopes[i], g);
            let mut bits = s.nonzero(s.select(used, x[i], s.zero()));
            if bits != 0 {
                let [mut counts, mut means, mut own] = [Lanes::default(); 3];
                s.store(x[i], &mut counts);
                s.store(y[i], &mut means);
                s.store(parameters[i], &mut own);
                while bits != 0 {
                    let lane = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let at = others.count;
                    for (to, from) in others.values.iter_mut().zip([&counts, &means, &own]) {
                        to[at] = from.0[lane];
                    }
                    others.places[at] = (row as u8, (v * LANES + lane) as u8);
                    others.count += 1;
                }
            }
            if let Some(means) = self.means.get_mut(row) {
                s.store(g, &mut self.outputs[row][v]);
                s.store(s.select(used, m[i], s.zero()), &mut means[v]);
            }
            if let Some(to) = self.parameter_gradient.get_mut(row) {
                let slope = s.mul(of_parameter[i], s.splat(self.weight));
                s.store(s.select(used, slope, s.zero()), &mut to[v]);
            }
        }
    }

    /// Computes the density of sixteen other counts.
    #[inline(always)]
    fn others<S: Simd, D: CountDensity>(&mut self, s: S, others: &Others, first: usize) {
        let places = &others.places[first..others.count.min(first + LANES)];
        let load = |values: &[f32]| load_some(s, &values[first..first + places.len()]);
        let [x, y, parameter] = [0, 1, 2].map(|i| load(&others.values[i]));
        // The padding is a count of one with the mean one.
        let x = s.select(s.first(places.len()), x, s.splat(1.0));
        let LogProb { value, slope } = D::log_prob(s, x, y, parameter);
        let [mut values, mut slopes, mut of_parameter] = [Lanes::default(); 3];
        s.store(value, &mut values);
        s.store(slope, &mut slopes);
        let stored = D::STORES_GRADIENT && !self.parameter_gradient.is_empty();
        if stored {
            let slope = D::parameter_slope(s, x, y, parameter, slope);
            s.store(s.mul(slope, s.splat(self.weight)), &mut of_parameter);
        }
        for (i, &(row, column)) in places.iter().enumerate() {
            let (row, v, lane) =
                (usize::from(row), usize::from(column) / LANES, usize::from(column) % LANES);
            self.log_prob[row] += values.0[i];
            self.slopes[row] += slopes.0[i];
            if !self.means.is_empty() {
                self.outputs[row][v].0[lane] = slopes.0[i];
            }
            if stored {
                self.parameter_gradient[row][v].0[lane] = of_parameter.0[i];
            }
        }
    }
}

/// Sums log p and g of up to sixteen rows over the panels, in ascending order, and replaces the offset of each panel by
/// -G / s.
pub struct CombineSlopes<'a, P> {
    /// The number of panels.
    pub panels: usize,
    /// The partial results of the rows in a panel: log p, g in the place of the sum, and the number of counts.
    pub parts: P,
    /// -log p(x|z) in nats, one value for each row.
    pub losses: &'a mut [f32],
    /// The sizes of the rows.
    pub sizes: RowSizes<'a>,
}

impl<'a, P: Fn(usize) -> Partials<&'a mut [f32]>> Op for CombineSlopes<'a, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let CombineSlopes { panels, parts, losses, sizes } = self;
        let [mut loss, mut slope, mut count] = [s.zero(); 3];
        for panel in 0..panels {
            let part = parts(panel);
            loss = s.sub(loss, load_some(s, part.log_prob));
            slope = s.add(slope, load_some(s, part.sum));
            count = s.add(count, load_some(s, part.count));
        }
        let factor = s.neg(s.div(slope, sizes.load(s, count)));
        for panel in 0..panels {
            store_some(s, factor, parts(panel).largest);
        }
        store_some(s, loss, losses);
    }
}

/// Replaces g by `weight` (g - m G / s), `weight` times the gradient of -log p with respect to y.
pub struct SharesGradient<'a> {
    /// The tile's rows of g. With zero inflation, their second vector holds the gradient of its logits.
    pub rows: &'a mut [Row],
    /// The tile's rows of m; zero in the padding.
    pub means: &'a [Row],
    /// -G / s of each row.
    pub factors: &'a [f32],
    /// Whether the second vector holds the logits of zero inflation.
    pub inflated: bool,
    /// The number of used vectors of a row, at most two.
    pub vectors: usize,
    /// The factor of the gradient.
    pub weight: f32,
}

impl Op for SharesGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weight = s.splat(self.weight);
        for ((row, m), &factor) in self.rows.iter_mut().zip(self.means).zip(self.factors) {
            for v in 0..self.vectors {
                let mut slope = s.load(&row[v]);
                if v == 0 || !self.inflated {
                    slope = s.fma(s.load(&m[v]), s.splat(factor), slope);
                }
                s.store(s.mul(slope, weight), &mut row[v]);
            }
        }
    }
}

/// Replaces the outputs of a tile by softmax(y), or by its product with the probability of a count from the density; then
/// the second vector becomes the probability of inflation.
pub struct MeansTile<'a> {
    /// The tile's rows of y.
    pub rows: &'a mut [Row],
    /// ln softmax(y) - y of each row.
    pub offsets: &'a [f32],
    /// Whether the second vector holds the logits of zero inflation.
    pub inflated: bool,
}

impl Op for MeansTile<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, &offset) in self.rows.iter_mut().zip(self.offsets) {
            for v in 0..if self.inflated { 1 } else { 2 } {
                let mut mean = math::exp(s, s.add(s.load(&row[v]), s.splat(offset)));
                if self.inflated {
                    let u = s.load(&row[1]);
                    mean = s.mul(mean, math::sigmoid(s, s.neg(u)));
                    s.store(math::sigmoid(s, u), &mut row[1]);
                }
                s.store(mean, &mut row[v]);
            }
        }
    }
}
