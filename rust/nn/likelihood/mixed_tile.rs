//! The epilogues of the output layer for the single columns of [`super::mixed`]: log p with its gradients, and means.

use super::mixed::{Group, Run};
use super::score::{LogProbOf, ParameterSlopeOf, or_zero};
use super::{Density, DensityWithScale, TileWork};
use crate::simd::{Isa, Lanes, Row, Simd};

/// Adds log p of the lanes of a run, in one vector of a tile, and writes its gradients or its terms.
pub struct MixedScore<'a> {
    /// The density and its lanes.
    pub run: &'a Run,
    /// The outputs of the tile, with bias, in the units of x (or of ln x).
    pub outputs: &'a [Row],
    /// The density's parameters for the panel's columns.
    pub parameter: &'a Row,
    /// The tile's rows of x.
    pub targets: &'a [Row],
    /// Whether x may have missing values (NaN).
    pub masked: bool,
    /// The factors of log p.
    pub weights: &'a Row,
    /// The scales of the outputs' units.
    pub units: &'a Row,
    /// log p(x|z) in nats of the lanes of each row, added.
    pub log_prob: &'a mut [Lanes],
    /// The tile's rows of the gradient, or of log p of each column with `terms`; or empty. Other lanes stay.
    pub gradient: &'a mut [Row],
    /// The tile's rows of the gradient with respect to ln s, if learned; else empty. Other lanes stay.
    pub scale_gradient: &'a mut [Row],
    /// The factor of the gradients.
    pub weight: f32,
    /// Whether `gradient` receives log p of each column.
    pub terms: bool,
}

impl MixedScore<'_> {
    /// Runs the epilogue.
    pub fn run(self, isa: Isa) {
        Group::tile(&self.run.likelihood, isa, self);
    }
}

/// The values common to all rows of a tile.
struct Column<S: Simd> {
    mask: S::M,
    parameter: S::F,
    weights: S::F,
    factor: S::F,
    scale_factor: S::F,
}

impl TileWork for MixedScore<'_> {
    #[inline(always)]
    fn run<S: Simd, D: Density>(mut self, s: S) {
        let v = self.run.vector;
        let weights = s.load(&self.weights[v]);
        let scale_factor = s.mul(weights, s.splat(self.weight));
        let column = Column {
            mask: s.less(s.zero(), s.load(&self.run.lanes)),
            parameter: s.load(&self.parameter[v]),
            weights,
            factor: s.mul(scale_factor, s.load(&self.units[v])),
            scale_factor,
        };
        // One row at a time: a table has few single columns, and several rows at once are four times as much code.
        for row in 0..self.outputs.len() {
            self.row::<S, D>(s, &column, row);
        }
    }

    /// Does nothing: groups have one output for each column.
    #[inline(always)]
    fn run_with_scale<S: Simd, D: DensityWithScale>(self, _: S, _: D) {}
}

impl MixedScore<'_> {
    #[inline(always)]
    fn row<S: Simd, D: Density>(&mut self, s: S, column: &Column<S>, i: usize) {
        let v = self.run.vector;
        let (mut x, y) = (s.load(&self.targets[i][v]), s.load(&self.outputs[i][v]));
        let observed = s.is_number(x);
        if self.masked {
            x = or_zero(s, observed, x);
        }
        let parameter = column.parameter;
        let [mut value, mut slope] = s.apply::<_, _, LogProbOf<D>>([x, y, parameter]);
        if self.masked {
            value = or_zero(s, observed, value);
        }
        let weighted = s.select(column.mask, s.mul(value, column.weights), s.zero());
        let sum = &mut self.log_prob[i];
        s.store(s.add(s.load(sum), weighted), sum);
        let Some(gradient) = self.gradient.get_mut(i) else { return };
        let to = &mut gradient[v];
        if self.terms {
            s.store(s.select(column.mask, value, s.load(to)), to);
            return;
        }
        if let Some(gradient) = self.scale_gradient.get_mut(i) {
            let [mut slope] = s.apply::<_, _, ParameterSlopeOf<D>>([x, y, parameter, slope]);
            if self.masked {
                slope = or_zero(s, observed, slope);
            }
            let to = &mut gradient[v];
            let slope = s.mul(slope, column.scale_factor);
            s.store(s.select(column.mask, slope, s.load(to)), to);
        }
        if self.masked {
            slope = or_zero(s, observed, slope);
        }
        s.store(s.select(column.mask, s.mul(slope, column.factor), s.load(to)), to);
    }
}

/// Replaces the outputs of the lanes of a run, in one vector of a tile, by means.
pub struct MixedMean<'a> {
    /// The density and its lanes.
    pub run: &'a Run,
    /// The outputs of the tile, with bias, in the units of x (or of ln x).
    pub outputs: &'a [Row],
    /// The density's parameters for the panel's columns.
    pub parameter: &'a Row,
    /// The means. Other lanes stay.
    pub out: &'a mut [Row],
}

impl MixedMean<'_> {
    /// Runs the epilogue.
    pub fn run(self, isa: Isa) {
        Group::tile(&self.run.likelihood, isa, self);
    }
}

impl TileWork for MixedMean<'_> {
    #[inline(always)]
    fn run<S: Simd, D: Density>(self, s: S) {
        let v = self.run.vector;
        let mask = s.less(s.zero(), s.load(&self.run.lanes));
        let parameter = s.load(&self.parameter[v]);
        for (y, to) in self.outputs.iter().zip(self.out) {
            let mean = D::mean_with(s, s.load(&y[v]), parameter);
            s.store(s.select(mask, mean, s.load(&to[v])), &mut to[v]);
        }
    }

    /// Does nothing: groups have one output for each column.
    #[inline(always)]
    fn run_with_scale<S: Simd, D: DensityWithScale>(self, _: S, _: D) {}
}
