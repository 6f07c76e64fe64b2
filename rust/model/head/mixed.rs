//! The output of groups of columns with likelihoods of their own ([`crate::nn::likelihood::mixed`]), in two phases. The
//! tiles of the output score their single columns and store the outputs of variables of several levels in the buffer of the
//! output gradient. Then blocks of rows add up the panels and score these variables, in place.
#![allow(unsafe_code)]

use super::{Head, Tiles};
use crate::data::standardize::{FromUnits, Standardize};
use crate::error::{Result, filled};
use crate::matrix::{ColumnMap, ProductTile, RowMap, Shared, panels_of, spans};
use crate::model::memory::{BatchView, Matrix};
use crate::model::tensor::{Place, Tensor, TensorKind};
use crate::nn::likelihood::mixed::has_sigmoid;
use crate::nn::likelihood::{
    ColumnGroups, FeatureParameter, Levels, MixedMean, MixedScore, Variable, categorical, ordinal,
};
use crate::simd::{
    LANES, Lanes, MAX_TILE_ROWS, Op, Row, Simd, WIDTH, ZERO_ROW, floats, floats_mut, floats_of,
};
use crate::threads::Worker;
use std::ops::Range;

/// Receives a tile of means: its panel, its rows, and the means.
type TakeTile<'a> = dyn FnMut(usize, Range<usize>, &mut [Row]) + 'a;

/// What a score computes besides -log p(x|z) of each row.
#[derive(Clone, Copy)]
pub enum Want<'a> {
    /// Nothing.
    Losses,
    /// Nothing; the losses have the weights of the groups.
    Balanced,
    /// The gradient, times this factor; the losses have the weights of the groups.
    Gradient(f32),
    /// log p of each variable, times this factor, added to the rows from this one on of an array [n, variables].
    Terms(Shared<'a, f32>, usize, f32),
}

impl Want<'_> {
    /// The losses of a pass and, with a `weight`, the gradient.
    pub fn losses(weight: Option<f32>, batch: &BatchView) -> Want<'static> {
        match weight {
            Some(weight) => Want::Gradient(weight),
            None if batch.balanced => Want::Balanced,
            None => Want::Losses,
        }
    }
}

/// The rows [shift, scale] of the outputs of each panel. The outputs of other columns than means are as they are.
pub(super) fn units(groups: &ColumnGroups, by: Option<&Standardize>) -> Vec<[Row; 2]> {
    let one = [ZERO_ROW, [Lanes([1.0; LANES]); 2]];
    let mut units = vec![one; groups.panels.len()];
    let Some(by) = by else { return units };
    for (g, group) in groups.groups.iter().enumerate() {
        if group.has_units() && !has_sigmoid(&group.likelihood) {
            for col in groups.columns_of(g) {
                let [shift, scale] = &mut units[col / WIDTH];
                let (v, lane) = (col % WIDTH / LANES, col % LANES);
                (shift[v].0[lane], scale[v].0[lane]) = (by.shift(col), by.scale(col));
            }
        }
    }
    units
}

/// The logarithms of the learned scales of each group; `start` is their first row.
pub(super) fn tensors(groups: &ColumnGroups, start: usize) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    for (g, group) in groups.groups.iter().enumerate() {
        let Some(scale) = group.learned() else { continue };
        tensors.push(Tensor {
            name: name(g, scale.name),
            shape: vec![group.n_columns],
            kind: TensorKind::Trained,
            fan_in: None,
            place: Place {
                start,
                rows: 1,
                order: RowMap::Same,
                columns: ColumnMap::From(groups.firsts[g]),
                stride: 1,
            },
        });
    }
    tensors
}

/// The name of group `g`'s parameter: `likelihood.2.log_scale`.
fn name(g: usize, name: &str) -> String {
    name.replacen('.', &format!(".{g}."), 1)
}

/// Clamps the learned scales to their ranges.
pub(super) fn constrain(groups: &ColumnGroups, log_scales: &mut [Row]) {
    let log_scales = floats_mut(log_scales);
    for (g, group) in groups.groups.iter().enumerate() {
        if let Some(scale) = group.learned() {
            scale.clamp(&mut log_scales[groups.columns_of(g)]);
        }
    }
}

/// Returns an error if a learned scale is out of its range.
pub(super) fn check(groups: &ColumnGroups, log_scales: &[Row]) -> Result<()> {
    let log_scales = floats_of(log_scales);
    for (g, group) in groups.groups.iter().enumerate() {
        if let Some(scale) = group.learned() {
            scale.check_values(&name(g, scale.name), &log_scales[groups.columns_of(g)])?;
        }
    }
    Ok(())
}

impl Head {
    /// The shift and the scale of an output, for groups of columns.
    pub fn units_of(&self, output: usize) -> (f32, f32) {
        let [shift, scale] = &self.group_units[output / WIDTH];
        (floats(shift)[output % WIDTH], floats(scale)[output % WIDTH])
    }

    /// The scale, or r, of each column; 0 for a column without either.
    pub(super) fn group_scales(
        &self,
        groups: &ColumnGroups,
        parameters: &[Row],
    ) -> Result<Vec<f32>> {
        let mut scales = filled(0.0, Some(groups.columns))?;
        for (g, group) in groups.groups.iter().enumerate() {
            let columns = groups.columns_of(g);
            match (group.likelihood.parameter(), self.log_scale) {
                (FeatureParameter::Fixed(scale), _) => scales[columns].fill(scale),
                (FeatureParameter::Learned(_), Some(start)) => {
                    let learned = &floats_of(&parameters[start..])[columns.clone()];
                    scales[columns].iter_mut().zip(learned).for_each(|(to, x)| *to = x.exp());
                }
                _ => {}
            }
        }
        Ok(scales)
    }

    /// The density's parameters for the columns of panel `panel`.
    fn group_parameters(&self, groups: &ColumnGroups, parameters: &[Row], panel: usize) -> Row {
        let learned = self.log_scale.map_or(&ZERO_ROW, |start| &parameters[start + panel]);
        groups.panels[panel].parameter_row(learned)
    }

    /// Runs the output layer with the likelihoods of groups of columns. `last` runs after all losses are complete.
    pub(super) fn score_groups(
        &self,
        groups: &ColumnGroups,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        want: Want,
        last: &mut dyn FnMut(),
    ) {
        self.score_columns(groups, batch, tiles, want);
        let gradient = match want {
            Want::Gradient(weight) => Some(weight),
            _ => None,
        };
        let balanced = matches!(want, Want::Gradient(_) | Want::Balanced);
        let mut levels = Levels::new(gradient, false);
        let block = |rows: Range<usize>| {
            // SAFETY: the rows belong to this block only. The previous phase wrote the partial sums.
            let (sums, partial) = unsafe {
                let partial = batch.memory.partial.read(0..tiles.panels * batch.draws());
                (batch.memory.reconstruction.write(rows.clone()), partial)
            };
            sums.fill(0.0);
            for panel in partial.chunks_exact(batch.draws()) {
                for (sum, x) in sums.iter_mut().zip(&panel[rows.clone()]) {
                    *sum -= x;
                }
            }
            if let Want::Terms(out, first, share) = want {
                let stored = batch.memory.plan.output_gradient;
                for r in rows.clone() {
                    let n = groups.places.len();
                    // SAFETY: the rows belong to this block only; the previous phase wrote the terms.
                    let (out, terms) = unsafe {
                        (out.write((first + r) * n..(first + r + 1) * n), batch.matrix(stored))
                    };
                    let places = out.iter_mut().zip(&groups.places).zip(&groups.single);
                    for ((to, &place), _) in places.filter(|(_, single)| **single) {
                        *to += share * floats(&terms.panel(place / WIDTH)[r])[place % WIDTH];
                    }
                }
            }
            for variable in &groups.variables {
                let factor = if balanced { variable.weight } else { 1.0 };
                levels.weight = gradient.map(|weight| weight * variable.weight);
                batch.isa.run(ScoreVariable {
                    batch,
                    variable,
                    levels: &mut levels,
                    rows: rows.clone(),
                });
                for (sum, log_prob) in sums.iter_mut().zip(&levels.log_prob.0) {
                    *sum -= factor * log_prob;
                }
                if let Want::Terms(out, first, share) = want {
                    let n = groups.places.len();
                    let at = groups.places.partition_point(|&place| place < variable.first);
                    for (r, log_prob) in rows.clone().zip(&levels.log_prob.0) {
                        // SAFETY: the rows belong to this block only.
                        let to =
                            unsafe { out.write((first + r) * n + at..(first + r) * n + at + 1) };
                        to[0] += share * log_prob;
                    }
                }
            }
        };
        batch.by_draws_then(worker, block, last);
    }

    /// Adds log p of each variable of groups of columns to rows of an array: see [`Want::Terms`].
    pub fn add_terms(
        &self,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        (out, first, share): (Shared<f32>, usize, f32),
    ) {
        if let Some(groups) = self.likelihood.groups() {
            let want = Want::Terms(out, first, share);
            self.score_groups(groups, batch, worker, tiles, want, &mut || ());
        }
    }

    /// Scores the single columns of each tile, and stores the outputs of the other columns.
    fn score_columns(&self, groups: &ColumnGroups, batch: &BatchView, tiles: &Tiles, want: Want) {
        let plan = batch.memory.plan;
        // SAFETY: only the update writes parameters.
        let parameters = unsafe { batch.weights() };
        let balanced = matches!(want, Want::Gradient(_) | Want::Balanced);
        let (weight, terms) = match want {
            Want::Gradient(weight) => (weight, false),
            Want::Terms(..) => (0.0, true),
            _ => (0.0, false),
        };
        let writes = matches!(want, Want::Gradient(_) | Want::Terms(..));
        let [mut scratch, mut outputs] = [[ZERO_ROW; MAX_TILE_ROWS]; 2];
        (tiles.run)(&mut |tile, bias| {
            let ProductTile { panel, rows, products, .. } = tile;
            let of_panel = &groups.panels[panel];
            let by = &self.group_units[panel];
            let outputs = &mut outputs[..products.len()];
            outputs.copy_from_slice(products);
            batch.isa.run(FromUnits { by, bias, rows: outputs });
            let start = panel * batch.draws() + rows.start;
            let learned = matches!(want, Want::Gradient(_)) && of_panel.learned;
            // SAFETY: an earlier phase loaded the batch. The gradient's rows of this panel and the partial sums of
            // (panel, rows) belong to this tile only.
            let (targets, log_prob, gradient, scale_gradient) = unsafe {
                let stored = (writes || of_panel.levels)
                    .then(|| batch.write(plan.output_gradient, panel, rows.clone()));
                let scaled = learned.then(|| batch.write(plan.scale_gradient, panel, rows.clone()));
                let log_prob = batch.memory.partial.write(start..start + rows.len());
                let targets = batch.targets(panel, rows, &mut scratch);
                (targets, log_prob, stored.unwrap_or_default(), scaled.unwrap_or_default())
            };
            if of_panel.levels {
                gradient.copy_from_slice(outputs);
            }
            scale_gradient.fill(ZERO_ROW);
            let mut sums = [Lanes::default(); MAX_TILE_ROWS];
            let parameter = self.group_parameters(groups, parameters, panel);
            let ones = [Lanes([1.0; LANES]); 2];
            for run in &of_panel.runs {
                MixedScore {
                    run,
                    outputs,
                    parameter: &parameter,
                    targets,
                    masked: self.masked,
                    weights: if balanced { &of_panel.weights } else { &ones },
                    units: &by[1],
                    log_prob: &mut sums[..outputs.len()],
                    gradient: if writes { &mut *gradient } else { &mut [] },
                    scale_gradient: if run.learned { &mut *scale_gradient } else { &mut [] },
                    weight,
                    terms,
                }
                .run(batch.isa);
            }
            batch.isa.run(SumLanes { sums: &sums, out: log_prob });
            // Padding in the used vectors becomes zero.
            let cols = self.features(panel).len();
            if cols < WIDTH {
                for row in floats_mut(gradient).chunks_exact_mut(WIDTH) {
                    row[cols..].fill(0.0);
                }
            }
        });
    }

    /// Computes E[x|z]: of variables of several levels, the probabilities. `take` receives one tile at a time.
    pub(super) fn group_means(
        &self,
        groups: &ColumnGroups,
        batch: &BatchView,
        worker: &Worker,
        tiles: &Tiles,
        take: &mut TakeTile,
    ) {
        let place = batch.memory.plan.output_gradient;
        // SAFETY: only the update writes parameters.
        let parameters = unsafe { batch.weights() };
        let mut outputs = [ZERO_ROW; MAX_TILE_ROWS];
        (tiles.run)(&mut |ProductTile { panel, rows, products, .. }, bias| {
            let outputs = &mut outputs[..products.len()];
            outputs.copy_from_slice(products);
            batch.isa.run(FromUnits { by: &self.group_units[panel], bias, rows: outputs });
            // SAFETY: the rows of this panel belong to this tile only.
            let out = unsafe { batch.write(place, panel, rows) };
            out.copy_from_slice(outputs);
            let parameter = self.group_parameters(groups, parameters, panel);
            for run in &groups.panels[panel].runs {
                let out = &mut *out;
                MixedMean { run, outputs, parameter: &parameter, out }.run(batch.isa);
            }
        });
        let mut levels = Levels::new(Some(1.0), true);
        let block = |rows: Range<usize>| {
            for variable in &groups.variables {
                batch.isa.run(ScoreVariable {
                    batch,
                    variable,
                    levels: &mut levels,
                    rows: rows.clone(),
                });
            }
            for panel in 0..panels_of(place.cols) {
                // SAFETY: the rows belong to this block only.
                take(panel, rows.clone(), unsafe { batch.write(place, panel, rows.clone()) });
            }
        };
        batch.by_draws_then(worker, block, &mut || ());
    }
}

/// Sums the lanes of each row.
struct SumLanes<'a> {
    sums: &'a [Lanes],
    out: &'a mut [f32],
}

impl Op for SumLanes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (to, sums) in self.out.iter_mut().zip(self.sums) {
            *to = s.sum(s.load(sums));
        }
    }
}

/// Scores a variable of several levels in a block of rows: log p of each row and, with a weight, the gradient in place of
/// the stored outputs, or their probabilities.
struct ScoreVariable<'a> {
    batch: &'a BatchView<'a>,
    variable: &'a Variable,
    levels: &'a mut Levels,
    rows: Range<usize>,
}

impl Op for ScoreVariable<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ScoreVariable { batch, variable, levels, rows } = self;
        let plan = batch.memory.plan;
        levels.reset(rows.len(), variable.levels);
        for (i, r) in rows.clone().enumerate() {
            let part = i * levels.vectors..(i + 1) * levels.vectors;
            // SAFETY: the rows of the outputs belong to this block only; an earlier phase loaded the batch.
            unsafe {
                gather(s, batch, (plan.output_gradient, r), variable, &mut levels.y[part.clone()])
            };
            if !levels.means {
                // SAFETY: as above.
                unsafe {
                    gather(s, batch, (plan.x, r / batch.copies()), variable, &mut levels.x[part])
                };
            }
        }
        if levels.means {
            levels.x.fill(Lanes::default());
        }
        levels.hide_missing(s);
        match (variable.ordinal, levels.means) {
            (true, true) => ordinal::means(s, levels),
            (true, false) => ordinal::score(s, levels),
            (false, _) => categorical::score(s, levels),
        }
        if levels.weight.is_none() {
            return;
        }
        for (i, r) in rows.enumerate() {
            let part = i * levels.vectors..(i + 1) * levels.vectors;
            // SAFETY: the rows belong to this block only.
            unsafe { scatter(s, batch, (plan.output_gradient, r), variable, &levels.y[part]) };
        }
    }
}

/// Copies the columns of a variable from row `r` of a matrix, sixteen to a vector. Other lanes are unspecified.
///
/// # Safety
/// No other tile writes the row in the running phase.
#[inline(always)]
unsafe fn gather<S: Simd>(
    s: S,
    batch: &BatchView,
    (matrix, r): (Matrix, usize),
    variable: &Variable,
    to: &mut [Lanes],
) {
    let mut left = variable.levels;
    for (v, to) in to.iter_mut().enumerate() {
        let col = variable.first + v * LANES;
        let (panel, lane) = (col / WIDTH, col % WIDTH);
        // SAFETY: the caller's promise.
        let row = floats(&unsafe { batch.read(matrix, panel, r..r + 1) }[0]);
        if let Some(lanes) = row.get(lane..lane + LANES) {
            let mut copy = Lanes::default();
            copy.0.copy_from_slice(lanes);
            s.store(s.load(&copy), to);
        } else {
            let here = WIDTH - lane;
            to.0[..here].copy_from_slice(&row[lane..]);
            if left > here {
                // SAFETY: the caller's promise.
                let next = floats(&unsafe { batch.read(matrix, panel + 1, r..r + 1) }[0]);
                to.0[here..].copy_from_slice(&next[..LANES - here]);
            }
        }
        left -= left.min(LANES);
    }
}

/// The inverse of [`gather`]; other columns keep their values.
///
/// # Safety
/// The row is the caller's own in the running phase.
#[inline(always)]
unsafe fn scatter<S: Simd>(
    s: S,
    batch: &BatchView,
    (matrix, r): (Matrix, usize),
    variable: &Variable,
    from: &[Lanes],
) {
    let mut left = variable.levels;
    for (v, from) in from.iter().enumerate() {
        let (col, count) = (variable.first + v * LANES, left.min(LANES));
        left -= count;
        let (panel, lane) = (col / WIDTH, col % WIDTH);
        // SAFETY: the caller's promise.
        let row = floats_mut(unsafe { batch.write(matrix, panel, r..r + 1) });
        if let Some(lanes) = row.get_mut(lane..lane + LANES) {
            let mut copy = Lanes::default();
            copy.0.copy_from_slice(lanes);
            s.store(s.select(s.first(count), s.load(from), s.load(&copy)), &mut copy);
            lanes.copy_from_slice(&copy.0);
            continue;
        }
        for (panel, lanes, part) in spans(col, count) {
            // SAFETY: the caller's promise.
            let row = floats_mut(unsafe { batch.write(matrix, panel, r..r + 1) });
            for (to, x) in row[lanes].iter_mut().zip(&from.0[part]) {
                *to = *x;
            }
        }
    }
}
