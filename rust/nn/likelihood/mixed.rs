//! Groups of columns with likelihoods of their own, for tables (HI-VAE, Nazábal et al., arXiv:1807.03653):
//! log p(x|z) = sum_g log p_g(x_g|z), over groups of consecutive columns.
//!
//! Single columns (Gaussian, log-normal, Poisson, negative binomial, Bernoulli) are scored where a tile of the output is
//! still in the first-level cache ([`super::mixed_tile`]): a vector of sixteen columns runs the density of each likelihood
//! in it, and masks select. Variables of several levels ([`super::categorical`], [`super::ordinal`]) need all of their
//! columns, and follow in the phase that adds up the rows.
//!
//! The encoder reads ln x of log-normal columns and ln(1 + x) of counts.

use super::start::{Column, Level, Start};
use super::{
    Categorical, Draws, FeatureParameter, LearnedScale, Likelihood, LikelihoodKind, Link,
    LogNormal, Support, TileWork, ordinal,
};
use crate::error::{Error, Result};
use crate::json;
use crate::matrix::panels_of;
use crate::random::draws::Uniforms;
use crate::simd::math;
use crate::simd::{Isa, LANES, Lanes, Row, Simd, WIDTH, ZERO_ROW, floats_mut};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A likelihood of some consecutive columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The likelihood.
    #[serde(deserialize_with = "json::object")]
    pub likelihood: Likelihood,
    /// The number of columns; of a categorical or ordinal variable the number of its levels.
    pub n_columns: usize,
    /// The factor of the group's log p in the training loss.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// The JSON form.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    groups: Vec<Group>,
}

/// Groups of columns with likelihoods of their own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Groups", into = "Groups")]
pub struct Mixed(Arc<ColumnGroups>);

impl PartialEq for Mixed {
    fn eq(&self, other: &Mixed) -> bool {
        self.0.groups == other.0.groups
    }
}

impl From<Groups> for Mixed {
    fn from(from: Groups) -> Mixed {
        Mixed(Arc::new(ColumnGroups::new(from.groups)))
    }
}

impl From<Mixed> for Groups {
    fn from(from: Mixed) -> Groups {
        Groups { groups: from.0.groups.clone() }
    }
}

impl Mixed {
    /// A likelihood of groups.
    #[cfg(test)]
    pub fn new(groups: Vec<Group>) -> Mixed {
        Groups { groups }.into()
    }
}

/// The most columns.
const MOST: usize = 1 << 16;
/// The range of a group's weight.
const WEIGHTS: (f32, f32) = (1e-6, 1e6);

/// The groups, and the layout of their columns.
#[derive(Debug, Default)]
pub struct ColumnGroups {
    /// The groups, in the order of their columns.
    pub groups: Vec<Group>,
    /// The first column of each group.
    pub firsts: Vec<usize>,
    /// The number of columns.
    pub columns: usize,
    /// The columns by panels of the output.
    pub panels: Vec<PanelGroups>,
    /// The variables of several levels.
    pub variables: Vec<Variable>,
    /// The first column of each variable, single columns included.
    pub places: Vec<usize>,
    /// Whether each variable is a single column.
    pub single: Vec<bool>,
    /// Whether the encoder reads a transform of a column.
    pub transforms: bool,
}

/// The likelihoods and options of the columns of a panel.
#[derive(Clone, Debug)]
pub struct PanelGroups {
    /// The densities of single columns.
    pub runs: Vec<Run>,
    /// Whether columns belong to variables of several levels.
    pub levels: bool,
    /// Whether columns have a learned scale.
    pub learned: bool,
    /// The weight of each column.
    pub weights: Row,
    /// The fixed ln s of columns without a learned scale.
    pub constants: Row,
    /// 1 for columns with a learned scale.
    pub learns: Row,
    /// 1 for columns of which the encoder reads ln x.
    pub ln: Row,
    /// 1 for columns of which the encoder reads ln(1 + x).
    pub log1p: Row,
    /// Whether there are such columns.
    pub transforms: bool,
    /// The smallest valid value of each column.
    pub low: Row,
    /// The largest valid value of each column.
    pub high: Row,
}

/// A density and the lanes of a vector of the panel that it is for.
#[derive(Clone, Debug)]
pub struct Run {
    /// The likelihood.
    pub likelihood: Likelihood,
    /// The vector of the panel.
    pub vector: usize,
    /// 1 in its lanes.
    pub lanes: Lanes,
    /// Whether the scale is learned.
    pub learned: bool,
}

/// A variable of several levels.
#[derive(Clone, Debug)]
pub struct Variable {
    /// The first column.
    pub first: usize,
    /// The number of levels.
    pub levels: usize,
    /// Whether the levels are ordered.
    pub ordinal: bool,
    /// The weight in the training loss.
    pub weight: f32,
}

impl PanelGroups {
    const EMPTY: PanelGroups = PanelGroups {
        runs: Vec::new(),
        levels: false,
        learned: false,
        weights: [Lanes([1.0; LANES]); 2],
        constants: ZERO_ROW,
        learns: ZERO_ROW,
        ln: ZERO_ROW,
        log1p: ZERO_ROW,
        transforms: false,
        low: ZERO_ROW,
        high: ZERO_ROW,
    };

    /// Transforms a row of the encoder's input.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, s: S, row: &mut Row) {
        for (v, lanes) in row.iter_mut().enumerate() {
            let (x, zero) = (s.load(lanes), s.zero());
            let [ln, log1p] = [&self.ln, &self.log1p].map(|row| s.less(zero, s.load(&row[v])));
            // Corruption may have left values out of the range.
            let logs = math::ln(s, s.max(s.splat(f32::MIN_POSITIVE), x));
            let counts = math::ln_1p_of(s, s.max(zero, x));
            let y = s.select(ln, logs, s.select(log1p, counts, x));
            s.store(s.select(s.is_number(x), y, x), lanes);
        }
    }
}

impl Group {
    /// Whether the columns are the levels of one variable.
    pub fn is_variable(&self) -> bool {
        matches!(self.likelihood, Likelihood::Categorical(_) | Likelihood::Ordinal(_))
    }

    /// The learned scale.
    pub fn learned(&self) -> Option<LearnedScale> {
        self.likelihood.learned_scale()
    }

    /// Whether the encoder reads standardised values: of x, of ln x or of ln(1 + x).
    pub fn is_standardized(&self) -> bool {
        !self.is_variable() && !matches!(self.likelihood, Likelihood::Bernoulli(_))
    }

    /// Whether the output is a mean in the units of x or of ln x, so that it is standardised.
    pub fn has_units(&self) -> bool {
        self.likelihood.output_is_mean() || matches!(self.likelihood, Likelihood::LogNormal(_))
    }

    /// Returns an error if the group is not possible.
    fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::Parameter(why));
        match &self.likelihood {
            Likelihood::Gaussian(gaussian) => match gaussian.parameter() {
                FeatureParameter::Fixed(_) => {}
                FeatureParameter::Learned(scale) if scale.per_feature => {}
                _ => {
                    return wrong(
                        "in a group of columns the scale of a Gaussian is a number or \"per_feature\": \"shared\" and \
                         \"decoder\" are for a Gaussian of all columns"
                            .into(),
                    );
                }
            },
            counts if counts.size_factor().is_some() => {
                return wrong(
                    "size_factor is for counts in all columns of X: leave it out in a group of columns".into(),
                );
            }
            Likelihood::LogNormal(_)
            | Likelihood::Poisson(_)
            | Likelihood::NegativeBinomial(_)
            | Likelihood::Bernoulli(_) => {}
            Likelihood::Categorical(_) | Likelihood::Ordinal(_) if self.n_columns < 2 => {
                return wrong(format!(
                    "a {} variable has one column for each of its levels, at least 2, not {}: give it the number of its \
                     levels, or use Bernoulli() for one column of 0 and 1",
                    self.likelihood.name(),
                    self.n_columns
                ));
            }
            Likelihood::Categorical(_) | Likelihood::Ordinal(_) => {}
            other => {
                return wrong(format!(
                    "the {} likelihood is not for a group of columns: use Gaussian, LogNormal, Poisson, NegativeBinomial, \
                     Bernoulli, Categorical or Ordinal",
                    other.name()
                ));
            }
        }
        self.likelihood.check()?;
        if !(1..=MOST).contains(&self.n_columns) {
            return wrong(format!("n_columns={} must be 1 to {MOST}", self.n_columns));
        }
        if !(WEIGHTS.0..=WEIGHTS.1).contains(&self.weight) {
            return wrong(format!(
                "weight={} must be {} to {}: it is the factor of a group's log p in the training loss",
                self.weight, WEIGHTS.0, WEIGHTS.1
            ));
        }
        Ok(())
    }

    /// Runs the work of a tile with the density.
    pub fn tile<W: TileWork>(likelihood: &Likelihood, isa: Isa, work: W) {
        match likelihood {
            Likelihood::Bernoulli(kind) => kind.tile(isa, work),
            Likelihood::Gaussian(kind) => kind.tile(isa, work),
            Likelihood::Poisson(kind) => kind.tile(isa, work),
            Likelihood::NegativeBinomial(kind) => kind.tile(isa, work),
            Likelihood::LogNormal(_) => work.dispatch::<LogNormal>(isa),
            _ => {}
        }
    }
}

impl ColumnGroups {
    /// Lays out the columns of groups. Too many columns get no layout: [`LikelihoodKind::check`] refuses them.
    fn new(groups: Vec<Group>) -> ColumnGroups {
        let columns =
            groups.iter().fold(0, |sum: usize, group| sum.saturating_add(group.n_columns));
        let mut all = ColumnGroups { columns, groups, ..ColumnGroups::default() };
        if columns > MOST {
            return all;
        }
        all.panels = vec![PanelGroups::EMPTY; panels_of(columns)];
        let mut first = 0;
        for group in &all.groups {
            all.firsts.push(first);
            let columns = first..first + group.n_columns;
            first = columns.end;
            if group.is_variable() {
                all.places.push(columns.start);
                all.single.push(false);
                all.variables.push(Variable {
                    first: columns.start,
                    levels: group.n_columns,
                    ordinal: matches!(group.likelihood, Likelihood::Ordinal(_)),
                    weight: group.weight,
                });
            } else {
                all.places.extend(columns.clone());
                all.single.resize(all.places.len(), true);
            }
            for column in columns {
                all.panels[column / WIDTH].add(group, column % WIDTH);
            }
        }
        all.transforms = all.panels.iter().any(|panel| panel.transforms);
        all
    }

    /// The columns of group `g`.
    pub fn columns_of(&self, g: usize) -> Range<usize> {
        self.firsts[g]..self.firsts[g] + self.groups[g].n_columns
    }

    /// The group of a column.
    pub fn group_of(&self, column: usize) -> &Group {
        &self.groups[self.firsts.partition_point(|&first| first <= column) - 1]
    }

    /// The starts of all outputs, given the moments of the columns, of ln x for log-normal ones.
    pub fn starts(&self, columns: &[Column]) -> Option<Vec<Start>> {
        let mut starts = Vec::with_capacity(columns.len());
        for (g, group) in self.groups.iter().enumerate() {
            let columns = &columns[self.columns_of(g)];
            match group.likelihood {
                Likelihood::Ordinal(_) => starts.extend(ordinal::starts(columns)),
                Likelihood::Categorical(kind) => {
                    let level = Level::of(columns);
                    starts.extend(columns.iter().filter_map(|column| kind.start(column, &level)));
                }
                _ => {
                    for column in columns {
                        let level = Level::of(std::slice::from_ref(column));
                        starts.push(group.likelihood.start(column, &level)?);
                    }
                }
            }
        }
        Some(starts)
    }

    /// The moments that the likelihoods start from: of x, of ln x for log-normal columns.
    pub fn level(&self, columns: &[Column], encoded: &[Column]) -> Vec<Column> {
        let pairs = columns.iter().zip(encoded).enumerate();
        let of = |(j, (column, encoded)): (usize, (&Column, &Column))| {
            let logs = matches!(self.group_of(j).likelihood, Likelihood::LogNormal(_));
            if logs { *encoded } else { *column }
        };
        pairs.map(of).collect()
    }

    /// The first variable of a row that is not one-hot, with NaN in all columns allowed if `missing`.
    pub fn not_one_hot(&self, row: &[f32], missing: bool) -> Option<&Variable> {
        self.variables.iter().find(|variable| {
            let x = &row[variable.first..variable.first + variable.levels];
            let (mut ones, mut zeros, mut holes) = (0, 0, 0);
            for &x in x {
                ones += usize::from(x == 1.0);
                zeros += usize::from(x == 0.0);
                holes += usize::from(x.is_nan());
            }
            let one_hot = ones == 1 && zeros + 1 == x.len();
            !(one_hot || (missing && holes == x.len()))
        })
    }
}

impl PanelGroups {
    /// Adds a column.
    fn add(&mut self, group: &Group, j: usize) {
        let set = |row: &mut Row, x: f32| row[j / LANES].0[j % LANES] = x;
        let support = group.likelihood.support();
        set(&mut self.low, support.range.0);
        set(&mut self.high, support.range.1);
        set(&mut self.weights, group.weight);
        match group.likelihood {
            Likelihood::Categorical(_) | Likelihood::Ordinal(_) => {
                self.levels = true;
                return;
            }
            Likelihood::LogNormal(_) => set(&mut self.ln, 1.0),
            Likelihood::Poisson(_) | Likelihood::NegativeBinomial(_) => set(&mut self.log1p, 1.0),
            _ => {}
        }
        self.transforms |= self.ln != ZERO_ROW || self.log1p != ZERO_ROW;
        let learned = group.learned().is_some();
        if learned {
            self.learned = true;
            set(&mut self.learns, 1.0);
        }
        if let FeatureParameter::Fixed(scale) = group.likelihood.parameter() {
            set(&mut self.constants, scale.ln());
        }
        // Options that the density does not read do not divide a run.
        let like = |run: &Run| match (&run.likelihood, &group.likelihood) {
            (Likelihood::Gaussian(a), Likelihood::Gaussian(b)) => {
                a.mean == b.mean && run.learned == learned
            }
            (Likelihood::NegativeBinomial(_), Likelihood::NegativeBinomial(_))
            | (Likelihood::LogNormal(_), Likelihood::LogNormal(_)) => true,
            (a, b) => a == b,
        };
        let vector = j / LANES;
        let found = self.runs.iter().position(|run| run.vector == vector && like(run));
        let at = found.unwrap_or_else(|| {
            let lanes = Lanes::default();
            let likelihood = group.likelihood.clone();
            self.runs.push(Run { likelihood, vector, lanes, learned });
            self.runs.len() - 1
        });
        self.runs[at].lanes.0[j % LANES] = 1.0;
    }

    /// ln of the columns' parameters, given the learned ones.
    pub fn parameter_row(&self, learned: &Row) -> Row {
        let mut row = [self.constants];
        let learned =
            learned.iter().zip(&self.learns).flat_map(|(x, on)| x.0.into_iter().zip(on.0));
        for (to, (x, on)) in floats_mut(&mut row).iter_mut().zip(learned) {
            *to = if on > 0.0 { x } else { *to };
        }
        row[0]
    }
}

impl LikelihoodKind for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }
    fn formula(&self) -> String {
        let mut text = String::from("sum over groups of columns:");
        for (g, group) in self.0.groups.iter().enumerate() {
            let columns = match self.0.firsts.get(g) {
                Some(&first) if group.n_columns == 1 => format!("column {first}"),
                Some(&first) => format!("columns {first} to {}", first + group.n_columns - 1),
                None => "columns".into(),
            };
            let weight = match group.weight {
                1.0 => String::new(),
                weight => format!(", times {} in the training loss", super::shown(weight)),
            };
            let (name, formula) = (group.likelihood.name(), group.likelihood.formula());
            text +=
                &format!("{} {columns}, {name}{weight}: {formula}", if g > 0 { ";" } else { "" });
        }
        text
    }
    fn check(&self) -> Result<()> {
        if self.0.groups.is_empty() {
            return Err(Error::Parameter(
                "groups is empty: give a likelihood and a number of columns for each group of columns"
                    .into(),
            ));
        }
        for (g, group) in self.0.groups.iter().enumerate() {
            group.check().map_err(|error| Error::Parameter(format!("groups[{g}]: {error}")))?;
        }
        if self.0.columns > MOST {
            return Err(Error::Parameter(format!(
                "the groups have {} columns, more than {MOST}",
                self.0.columns
            )));
        }
        Ok(())
    }
    /// The support of all columns together: the groups limit each column ([`PanelGroups::low`]). Bytes are not scaled.
    fn support(&self) -> Support {
        Support { counts: true, ..Support::REAL }
    }
    fn is_public(&self) -> bool {
        false
    }
    fn groups(&self) -> Option<&ColumnGroups> {
        Some(&self.0)
    }
    /// Does nothing: each group has its density.
    fn tile<W: TileWork>(&self, _: Isa, _: W) {}
    fn variance(&self, _: f32, _: f32) -> f32 {
        0.0
    }
    fn variance_of(&self, feature: usize, mean: f32, [parameter, _]: [f32; 2]) -> f32 {
        match &self.0.group_of(feature).likelihood {
            Likelihood::Gaussian(kind) => kind.variance(mean, parameter),
            Likelihood::LogNormal(kind) => kind.variance(mean, parameter),
            Likelihood::Poisson(kind) => kind.variance(mean, parameter),
            Likelihood::NegativeBinomial(kind) => kind.variance(mean, parameter),
            _ => Categorical {}.variance(mean, parameter),
        }
    }
    /// Each column with its own uniform numbers; a variable with those of its first column.
    fn draw(&self, draws: Draws) -> bool {
        let (seed, parameters) = (draws.progress.seed, draws.parameters);
        draws.each_row(|means, _, row| {
            for (g, group) in self.0.groups.iter().enumerate() {
                let columns = self.0.columns_of(g);
                if group.is_variable() {
                    draw_level(
                        &mut means[columns.clone()],
                        &mut Uniforms::of(seed, row, columns.start),
                    );
                    continue;
                }
                for j in columns {
                    let (uniforms, mean) = (&mut Uniforms::of(seed, row, j), means[j]);
                    means[j] = draw_one(&group.likelihood, mean, parameters[j], uniforms) as f32;
                }
            }
        })
    }
}

/// A draw of a single column.
fn draw_one(likelihood: &Likelihood, mean: f32, parameter: f32, uniforms: &mut Uniforms) -> f64 {
    let m = f64::from(mean);
    match likelihood {
        Likelihood::Gaussian(_) => m + f64::from(parameter) * uniforms.normal(),
        Likelihood::LogNormal(_) => LogNormal::draw_one(mean, parameter, uniforms),
        Likelihood::Poisson(_) => uniforms.poisson(m),
        Likelihood::NegativeBinomial(_) => {
            let r = f64::from(parameter);
            let rate = uniforms.gamma(r) * m / r;
            uniforms.poisson(rate)
        }
        _ if mean.is_nan() => f64::NAN,
        _ => f64::from(u8::from(uniforms.uniform() < m)),
    }
}

/// Replaces the probabilities of levels by the one-hot of a draw.
fn draw_level(p: &mut [f32], uniforms: &mut Uniforms) {
    let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
    if !total.is_finite() {
        return p.fill(f32::NAN);
    }
    let u = uniforms.uniform() * total;
    let mut upto = 0.0;
    let level = p.iter().position(|&p| {
        upto += f64::from(p);
        u < upto
    });
    let level = level.unwrap_or(p.len() - 1);
    p.fill(0.0);
    p[level] = 1.0;
}

/// Whether the mean of a Gaussian group is a sigmoid.
pub fn has_sigmoid(likelihood: &Likelihood) -> bool {
    matches!(likelihood, Likelihood::Gaussian(gaussian) if gaussian.mean == Link::Sigmoid)
}
