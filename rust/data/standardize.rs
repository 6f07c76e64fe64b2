//! Standardisation of columns far from unit size. Adam moves every weight by about the learning rate, so weights beside
//! values of 10⁵ or 10⁻³ would not train: the first layer reads (x - shift) / scale, and a decoder of means returns
//! shift + scale y. The likelihood, its parameters and all results stay in the units of x.

use crate::error::{Error, Result};
use crate::nn::likelihood::{Column, ColumnGroups, FeatureParameter, Level, Likelihood};
use crate::simd::{LANES, Op, Row, Simd, WIDTH, ZERO_ROW, floats_mut};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The shift and the scale of each column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardize {
    /// Subtracted, [n_features]; empty if zeros stay zeros.
    pub shift: Vec<f32>,
    /// Divided by, [n_features], or one number for all columns.
    pub scale: Vec<f32>,
}

/// Scales from the inverse of this number to the number, and means up to this number of scales, are near unit size.
const UNIT: f64 = 4.0;

impl Standardize {
    /// The limits of a scale: its inverse is finite.
    pub const LIMITS: (f64, f64) = (1e-30, 1e30);

    /// The standardisation of training data with these columns; none if they are near unit size. `images`: the columns
    /// have one unit. The values are not shifted if they have no large mean, so that zeros stay zeros.
    pub fn of(likelihood: &Likelihood, columns: &[Column], images: bool) -> Option<Standardize> {
        let scale = match (likelihood.is_counts(), likelihood.output_is_mean()) {
            (true, _) => columns.iter().map(|column| column.root_mean_square().max(1.0)).collect(),
            (_, false) => return None,
            _ if !images && has_own_scales(likelihood) => own_scales(columns),
            _ => vec![common_scale(likelihood, columns)],
        };
        let is_far = |scale: &f64| *scale > UNIT || *scale < 1.0 / UNIT;
        let scales = scale.iter().cycle();
        let mut shift: Vec<f64> = columns.iter().map(|column| column.mean).collect();
        if likelihood.is_counts()
            || shift.iter().zip(scales).all(|(x, scale)| x.abs() <= UNIT * scale)
        {
            shift.clear();
        }
        if !scale.iter().any(is_far) && shift.is_empty() {
            return None;
        }
        let rounded = |values: Vec<f64>| values.into_iter().map(|x| x as f32).collect();
        let scale = scale.into_iter().map(|x| x.clamp(Self::LIMITS.0, Self::LIMITS.1)).collect();
        Some(Standardize { shift: rounded(shift), scale: rounded(scale) })
    }

    /// The standardisation for groups of columns, given the moments of what the encoder reads; none if it changes nothing.
    pub fn of_groups(groups: &ColumnGroups, encoded: &[Column]) -> Option<Standardize> {
        let columns = groups.groups.iter().enumerate();
        let columns = columns
            .flat_map(|(g, group)| encoded[groups.columns_of(g)].iter().map(move |x| (group, x)));
        let (shift, scale): (Vec<f32>, Vec<f32>) = columns
            .map(|(group, column)| {
                if !group.is_standardized() {
                    return (0.0, 1.0);
                }
                let scale = Level::of(std::slice::from_ref(column)).own_scale(column);
                (column.mean as f32, scale.clamp(Self::LIMITS.0, Self::LIMITS.1) as f32)
            })
            .unzip();
        let changes = shift.iter().any(|&x| x != 0.0) || scale.iter().any(|&s| s != 1.0);
        changes.then_some(Standardize { shift, scale })
    }

    /// The standardisation of covariates with these columns, each in its own unit; none if they are near unit size.
    pub fn of_covariates(columns: &[Column]) -> Option<Standardize> {
        let near = |column: &Column| {
            let deviation = column.deviation();
            (1.0 / UNIT..=UNIT).contains(&deviation) && column.mean.abs() <= UNIT * deviation
        };
        if columns.iter().all(near) {
            return None;
        }
        let scale = |column: &Column| match column.deviation() {
            0.0 => 1.0,
            deviation => deviation.clamp(Self::LIMITS.0, Self::LIMITS.1) as f32,
        };
        Some(Standardize {
            shift: columns.iter().map(|column| column.mean as f32).collect(),
            scale: columns.iter().map(scale).collect(),
        })
    }

    /// Returns an error unless there is a valid shift and scale for each of `n_features` columns.
    pub fn check(&self, n_features: usize) -> Result<()> {
        let lengths = [0, n_features].contains(&self.shift.len())
            && [1, n_features].contains(&self.scale.len())
            && n_features > 0;
        let range = (Self::LIMITS.0 as f32)..=(Self::LIMITS.1 as f32);
        if lengths
            && self.shift.iter().all(|x| x.is_finite())
            && self.scale.iter().all(|x| range.contains(x))
        {
            return Ok(());
        }
        Err(Error::Parameter(format!(
            "standardize must have a finite shift for each of the {n_features} features, or none, and a scale from 1e-30 to \
             1e30 for each, or one"
        )))
    }

    /// The shift of a column.
    pub fn shift(&self, col: usize) -> f32 {
        self.shift.get(col).copied().unwrap_or(0.0)
    }

    /// The scale of a column.
    pub fn scale(&self, col: usize) -> f32 {
        self.scale.get(col).copied().unwrap_or(self.scale[0])
    }

    /// The shifts and the scales of columns, in the first lanes; 0 and 1 in the others.
    pub fn rows(&self, cols: Range<usize>) -> [Row; 2] {
        let mut rows = [ZERO_ROW, ZERO_ROW];
        let (shifts, scales) = floats_mut(&mut rows).split_at_mut(WIDTH);
        scales.fill(1.0);
        for (j, col) in cols.enumerate() {
            (shifts[j], scales[j]) = (self.shift(col), self.scale(col));
        }
        rows
    }

    /// Whether zeros stay zeros.
    pub fn keeps_zeros(&self) -> bool {
        self.shift.is_empty()
    }
}

/// Whether the likelihood has a scale for each feature; otherwise it takes all columns to have one unit.
fn has_own_scales(likelihood: &Likelihood) -> bool {
    let own =
        matches!(likelihood.parameter(), FeatureParameter::Learned(scale) if scale.per_feature);
    own || likelihood.outputs_per_feature() == 2
}

/// The scale of each column.
fn own_scales(columns: &[Column]) -> Vec<f64> {
    let level = Level::of(columns);
    columns.iter().map(|column| level.own_scale(column)).collect()
}

/// The root mean square of the columns' standard deviations. For constant columns the likelihood's scale, since the
/// optimiser's steps of the outputs are proportional to it: 1 if it is fixed.
fn common_scale(likelihood: &Likelihood, columns: &[Column]) -> f64 {
    let level = Level::of(columns);
    let learned = matches!(likelihood.parameter(), FeatureParameter::Learned(_));
    if level.within > 0.0 || learned { level.shared_scale() } else { 1.0 }
}

/// Replaces rows x of a panel by (x - shift) / scale. Padding stays zero.
pub struct ToUnits<'a> {
    /// The shifts and the scales, from [`Standardize::rows`].
    pub by: &'a [Row; 2],
    /// The rows.
    pub rows: &'a mut [Row],
}

impl Op for ToUnits<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [shift, scale] = self.by;
        for v in 0..WIDTH / LANES {
            let (shift, inverse) = (s.load(&shift[v]), s.div(s.splat(1.0), s.load(&scale[v])));
            for row in &mut *self.rows {
                let x = s.mul(s.sub(s.load(&row[v]), shift), inverse);
                s.store(x, &mut row[v]);
            }
        }
    }
}

/// Replaces rows y of a tile by shift + scale (y + bias).
pub struct FromUnits<'a> {
    /// The shifts and the scales.
    pub by: &'a [Row; 2],
    /// The bias of the output layer.
    pub bias: &'a Row,
    /// The rows.
    pub rows: &'a mut [Row],
}

impl Op for FromUnits<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [shift, scale] = self.by;
        for v in 0..WIDTH / LANES {
            let [bias, shift, scale] = [self.bias, shift, scale].map(|row| s.load(&row[v]));
            for row in &mut *self.rows {
                let y = s.fma(s.add(s.load(&row[v]), bias), scale, shift);
                s.store(y, &mut row[v]);
            }
        }
    }
}

/// Multiplies rows of a gradient by the scales: the chain rule of [`FromUnits`].
pub struct Rescale<'a> {
    /// The scales.
    pub scale: &'a Row,
    /// The rows of the gradient.
    pub rows: &'a mut [Row],
}

impl Op for Rescale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows {
            for v in 0..WIDTH / LANES {
                let slope = s.mul(s.load(&row[v]), s.load(&self.scale[v]));
                s.store(slope, &mut row[v]);
            }
        }
    }
}
