//! Checks of data while they are read: values outside the likelihood's support, too large values, NaN and infinity.

use crate::data::input_transform::Transform;
use crate::data::{Element, Source};
use crate::error::{Error, Result};
use crate::nn::likelihood::{ColumnGroups, Likelihood, PanelGroups, Support};
use crate::simd::{Op, Row, Simd, ZERO_ROW, floats_of};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest magnitude of a value: sums of squares over the largest number of columns do not overflow.
pub const LARGEST: f32 = 1e15;

/// The check of one array, shared by all threads that read it.
pub struct ValueCheck {
    /// The likelihood of a model's examples; `None` for other arrays.
    likelihood: Option<Likelihood>,
    /// Whether the likelihood's support limits the values; otherwise every number up to [`LARGEST`] is valid.
    scored: bool,
    /// The encoder's transform, whose range limits the values too.
    transform: Option<Transform>,
    /// Whether NaN is allowed.
    missing: bool,
    /// Whether variables of several levels are one-hot; otherwise they may hold probabilities.
    one_hot: bool,
    /// The first row with an invalid value; `usize::MAX` if there is none.
    first_bad: AtomicUsize,
    /// The first rows whose results are not finite numbers; `usize::MAX` if there is none.
    overflow: AtomicUsize,
}

impl ValueCheck {
    /// A check against the support of `likelihood`, or for numbers up to [`LARGEST`]. With `missing`, NaN is allowed.
    pub fn new(likelihood: Option<Likelihood>, missing: bool) -> ValueCheck {
        let first_bad = AtomicUsize::new(usize::MAX);
        ValueCheck {
            likelihood,
            scored: true,
            transform: None,
            missing,
            one_hot: true,
            first_bad,
            overflow: AtomicUsize::new(usize::MAX),
        }
    }

    /// Allows values outside the likelihood's support: only the encoder reads them.
    pub fn encoded_only(self) -> ValueCheck {
        ValueCheck { scored: false, one_hot: false, ..self }
    }

    /// Allows probabilities in place of a one-hot variable: predictions in place of missing values.
    pub fn filled_in(self) -> ValueCheck {
        ValueCheck { one_hot: false, ..self }
    }

    /// The groups of columns with ranges of their own, if any. They limit what the encoder reads too.
    fn groups(&self) -> Option<&ColumnGroups> {
        self.likelihood.as_ref().and_then(|likelihood| likelihood.groups())
    }

    /// The range of valid values of column `col`, ends included.
    fn range_of(&self, col: usize) -> (f32, f32) {
        let (low, high) = self.range();
        match self.groups() {
            None => (low, high),
            Some(groups) => {
                let support = groups.group_of(col).likelihood.support();
                (low.max(support.range.0), high.min(support.range.1))
            }
        }
    }

    /// Limits the values to the range of `transform` too.
    pub fn through(self, transform: Option<Transform>) -> ValueCheck {
        ValueCheck { transform, ..self }
    }

    /// The range of valid values, ends included.
    fn range(&self) -> (f32, f32) {
        let limits = self.likelihood.as_ref().filter(|_| self.scored);
        let support = limits.map_or(Support::REAL, |likelihood| likelihood.support());
        let (low, high) = support.accepted();
        (low.max(self.least()).max(-LARGEST), high.min(LARGEST))
    }

    /// The smallest value that the transform takes.
    fn least(&self) -> f32 {
        self.transform.map_or(f32::MIN, Transform::least)
    }

    /// Starts a worker's check of some rows.
    #[inline(always)]
    pub(crate) fn begin<S: Simd>(&self, s: S) -> RowCheck<'_, S> {
        let (low, high) = self.range();
        let (low, high) = (s.splat(low), s.splat(high));
        let groups = self.groups();
        let variables = groups.is_some_and(|groups| self.one_hot && !groups.variables.is_empty());
        let values = if variables { groups.map_or(0, |groups| groups.panels.len()) } else { 0 };
        let row = vec![ZERO_ROW; values];
        RowCheck { check: self, low, high, missing: self.missing, outside: 0, groups, row }
    }

    /// Reports a result of row `row` or one of the next that is not a finite number.
    pub(crate) fn report_overflow(&self, row: usize) {
        self.overflow.fetch_min(row, Ordering::Relaxed);
    }

    /// Returns an error if a value of `x`, called `name` in messages, is invalid, or a result is not finite.
    pub fn verdict(&self, x: &Source, name: &str) -> Result<()> {
        let row = self.first_bad.load(Ordering::Relaxed);
        if row == usize::MAX && self.overflow.load(Ordering::Relaxed) == usize::MAX {
            return Ok(());
        }
        if row == usize::MAX {
            return Err(Error::Diverged(format!(
                "a result is not a finite number: the network's outputs overflow in float32. If the values of {name} \
                 are like those of the training data, training has diverged: fit again with a lower \
                 learning_rate"
            )));
        }
        let outside = x.find_outside(row, &|col| self.range_of(col), self.missing);
        if let (None, Some(groups)) = (outside, self.groups())
            && let Some(error) = self.not_one_hot(groups, x, (row, name))
        {
            return Err(error);
        }
        let (col, value) = outside.unwrap_or((0, f32::NAN));
        let likelihood = match self.groups() {
            Some(groups) => Some(&groups.group_of(col).likelihood),
            None => self.likelihood.as_ref().filter(|_| self.scored),
        };
        let exact = x.exact(row, col).filter(|exact| value.is_infinite() && exact.is_finite());
        let place = format!("{name}[{row}, {col}]");
        Err(Error::Value(match likelihood {
            Some(likelihood) if value.is_finite() && likelihood.support().excludes(value) => {
                let reading = match x.element() {
                    Element::Byte => {
                        " (uint8 is not divided by 255, since the training data were not: pass X / 255 if \
                                      they are grey values)"
                    }
                    _ => "",
                };
                let support = likelihood.support();
                let negative =
                    if support.counts && value < 0.0 { "Negative values in data: " } else { "" };
                format!(
                    "{negative}{place} is {}{reading}, but the {} likelihood takes {}",
                    shown(value),
                    likelihood.name(),
                    support.words
                )
            }
            _ if value.is_finite() && value < self.least() => format!(
                "{place} is {value}, but input_transform=\"log1p\" is ln(1 + x) and takes values above -1: use it for \
                 counts"
            ),
            _ if value.is_finite() || exact.is_some() => format!(
                "{place} is {}: values above {LARGEST:e} in magnitude are refused, since products of them overflow in float32: scale the data",
                exact.map_or_else(|| shown(value), |exact| format!("{exact:e}"))
            ),
            _ => {
                let remedy = match (self.missing, &self.likelihood) {
                    (true, _) => ", or NaN where it was not observed: remove or fill in infinity",
                    (_, Some(likelihood)) if value.is_nan() && likelihood.allows_missing() => {
                        ": remove or fill in NaN and infinity, or pass missing=\"mask\" if NaN means not observed"
                    }
                    _ => ": remove or fill in NaN and infinity",
                };
                format!("{place} is {value}; {name} must be finite{remedy}")
            }
        }))
    }
}

impl ValueCheck {
    /// The error of a row with a variable that is not one-hot.
    fn not_one_hot(
        &self,
        groups: &ColumnGroups,
        x: &Source,
        place: (usize, &str),
    ) -> Option<Error> {
        let (row, name) = place;
        let mut values = vec![0.0; x.cols()];
        x.read(row, 0, &mut values);
        let variable = groups.not_one_hot(&values, self.missing)?;
        let (first, end) = (variable.first, variable.first + variable.levels);
        let kind = if variable.ordinal { "ordinal" } else { "categorical" };
        let values = &values[first..end.min(first + 8)];
        let values: Vec<String> = values.iter().map(|&x| shown(x)).collect();
        let more = if variable.levels > 8 { ", ..." } else { "" };
        let missing = if self.missing {
            ", or NaN in all of them where it was not observed"
        } else {
            "; with missing=\"mask\" NaN in all of them means not observed"
        };
        Some(Error::Value(format!(
            "{name}[{row}, {first}:{end}] is [{}{more}], but the {kind} variable in these columns takes 1 in the column of its \
             level and 0 in the others{missing}",
            values.join(", ")
        )))
    }
}

/// A value in a message.
fn shown(value: f32) -> String {
    if value.abs() < LARGEST { value.to_string() } else { format!("{value:e}") }
}

/// One worker's check of some rows.
pub(crate) struct RowCheck<'a, S: Simd> {
    check: &'a ValueCheck,
    low: S::F,
    high: S::F,
    missing: bool,
    outside: u32,
    groups: Option<&'a ColumnGroups>,
    /// The current row, for variables of several levels; else empty.
    row: Vec<Row>,
}

impl<S: Simd> RowCheck<'_, S> {
    /// Checks 32 columns of the current row, those of panel `panel`, or any without groups of columns.
    #[inline(always)]
    pub fn look(&mut self, s: S, panel: usize, columns: &Row) {
        if let Some(panels) = self.groups.map(|groups| &groups.panels) {
            let PanelGroups { low, high, .. } = &panels[panel];
            if let Some(to) = self.row.get_mut(panel) {
                *to = *columns;
            }
            for (v, lanes) in columns.iter().enumerate() {
                let low = s.max(s.load(&low[v]), self.low);
                let high = s.min(s.load(&high[v]), self.high);
                let mut x = s.load(lanes);
                if self.missing {
                    x = s.select(s.is_number(x), x, low);
                }
                let inside = s.max(s.min(x, high), low);
                self.outside |= s.nonzero(s.sub(inside, x));
            }
            return;
        }
        for lanes in columns {
            let mut x = s.load(lanes);
            if self.missing {
                x = s.select(s.is_number(x), x, s.zero());
            }
            // Nonzero where x is outside the range, infinite or NaN.
            let off = s.sub(s.max(s.min(x, self.high), self.low), x);
            self.outside |= s.nonzero(off);
        }
    }

    /// Ends row `row` of the array.
    #[inline(always)]
    pub fn end_row(&mut self, row: usize) {
        if let Some(groups) = self.groups.filter(|_| !self.row.is_empty()) {
            let bad = groups.not_one_hot(floats_of(&self.row), self.missing);
            self.outside |= u32::from(bad.is_some());
        }
        if self.outside != 0 {
            self.check.first_bad.fetch_min(row, Ordering::Relaxed);
            self.outside = 0;
        }
    }
}

/// Checks rows without storing them.
pub(crate) struct CheckRows<'a> {
    pub source: &'a Source<'a>,
    pub rows: Range<usize>,
    pub check: &'a ValueCheck,
}

impl Op for CheckRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut check, mut values) = (self.check.begin(s), ZERO_ROW);
        let panels = self.check.groups().map(|groups| groups.panels.len());
        for row in self.rows {
            for panel in 0..panels.unwrap_or(0) {
                self.source.read_panel(row, panel, &mut values);
                check.look(s, panel, &values);
            }
            let pieces = if panels.is_some() { 0 } else { self.source.pieces(row) };
            for piece in 0..pieces {
                self.source.read_piece(row, piece, &mut values);
                check.look(s, piece, &values);
            }
            check.end_row(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::likelihood::{Bernoulli, Gaussian};
    use crate::simd::{Isa, LANES};

    fn verdict(isa: Isa, check: &ValueCheck, values: &[f32]) -> Option<String> {
        let source = Source::from_slice(values, values.len());
        isa.run(CheckRows { source: &source, rows: 0..1, check });
        check.verdict(&source, "X").err().map(|error| error.to_string())
    }

    #[test]
    fn a_bad_value_is_named_with_its_place() {
        let (unit, real): (Likelihood, Likelihood) =
            (Bernoulli {}.into(), Gaussian::default().into());
        let out = 1.0 + 64.0 * f32::EPSILON;
        for isa in Isa::available() {
            for (likelihood, value, words) in [
                (&unit, out, Some("takes values in [0, 1]")),
                (&unit, 1.0 + 32.0 * f32::EPSILON, None),
                (&unit, -32.0 * f32::EPSILON, None),
                (&unit, -64.0 * f32::EPSILON, Some("takes values in [0, 1]")),
                (&unit, f32::NAN, Some("must be finite")),
                (&real, 1e15, None),
                (&real, -1.1e15, Some("is -1.1e15: values above 1e15 in magnitude are refused")),
                (&real, f32::INFINITY, Some("must be finite")),
            ] {
                let mut values = [0.5; 40];
                values[33] = value;
                let found =
                    verdict(isa, &ValueCheck::new(Some(likelihood.clone()), false), &values);
                assert_eq!(found.is_some(), words.is_some(), "{value}: {found:?}");
                let found = found.unwrap_or_default();
                assert!(found.contains(words.unwrap_or_default()), "{found}");
                assert!(found.is_empty() || found.starts_with("X[0, 33] is "), "{found}");
            }
            let encoded = ValueCheck::new(Some(unit.clone()), false).encoded_only();
            assert_eq!(verdict(isa, &encoded, &[3.0, -5.0]), None);
        }
    }

    struct RoundOff<'a>(&'a mut Row);

    impl Op for RoundOff<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            Support::UNIT.round_off(s, self.0);
        }
    }

    #[test]
    fn rounding_errors_are_the_ends_of_the_range_and_nothing_else_changes() {
        let step = 32.0 * f32::EPSILON;
        let pairs = [
            (1.0 + step, 1.0),
            (-step, 0.0),
            (-f32::MIN_POSITIVE, 0.0),
            (1.0f32.next_up(), 1.0),
            (1.0 + 2.0 * step, 1.0 + 2.0 * step),
            (-2.0 * step, -2.0 * step),
            (-0.0, -0.0),
            (0.3, 0.3),
            (f32::NAN, f32::NAN),
            (f32::INFINITY, f32::INFINITY),
            (-1e30, -1e30),
        ];
        for isa in Isa::available() {
            let mut row = ZERO_ROW;
            for (i, (x, _)) in pairs.iter().enumerate() {
                row[i / LANES].0[i % LANES] = *x;
            }
            isa.run(RoundOff(&mut row));
            for (i, (x, want)) in pairs.iter().enumerate() {
                let found = row[i / LANES].0[i % LANES];
                assert!(
                    found.to_bits() == want.to_bits() || (x.is_nan() && found.is_nan()),
                    "{x}: {found}"
                );
            }
        }
    }
}
