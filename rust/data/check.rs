//! Looking at data on their way in: for values that the likelihood cannot take, and for uint8 data that are no
//! pictures.

use crate::data::input_transform::Transform;
use crate::data::{Element, Source};
use crate::error::{Error, Result};
use crate::nn::likelihood::{Likelihood, Support};
use crate::simd::{Op, Row, Simd, ZERO_ROW};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// What was seen of an array so far, by all threads.
pub struct ValueCheck {
    /// What the values must suit; none for numbers of any size.
    likelihood: Option<Likelihood>,
    /// What the encoder makes of them.
    transform: Option<Transform>,
    /// Whether NaN is allowed too.
    missing: bool,
    first_bad: AtomicUsize,
    /// The bits of the largest value, of which none is below zero; for uint8 only.
    largest: AtomicU32,
}

impl ValueCheck {
    /// Nothing seen yet of data for that likelihood, or of any numbers; with `missing`, NaN is as good as any.
    pub fn new(likelihood: Option<Likelihood>, missing: bool) -> ValueCheck {
        let (first_bad, largest) = (AtomicUsize::new(usize::MAX), AtomicU32::new(0));
        ValueCheck { likelihood, transform: None, missing, first_bad, largest }
    }

    /// The same of data that the encoder sees through `transform`.
    pub fn through(self, transform: Option<Transform>) -> ValueCheck {
        ValueCheck { transform, ..self }
    }

    /// Values that are allowed.
    fn support(&self) -> (f32, f32) {
        let (low, high) =
            self.likelihood.map_or(Support::REAL, |likelihood| likelihood.support()).range;
        let (least, most) = self.transform.map_or((f32::MIN, f32::MAX), Transform::range);
        (low.max(least), high.min(most))
    }

    /// Begins to look at rows.
    #[inline(always)]
    pub(crate) fn begin<S: Simd>(&self, s: S) -> Inspection<'_, S> {
        let (low, high) = self.support();
        let (low, high) = (s.splat(low), s.splat(high));
        Inspection { watch: self, low, high, missing: self.missing, largest: s.zero(), outside: 0 }
    }

    /// An error if something was wrong with `x`, called `name`. `finished` says that all of it was seen.
    pub fn verdict(&self, x: &Source, name: &str, finished: bool) -> Result<()> {
        let beyond = |value: f32| {
            let out = |(least, most)| value.is_finite() && !(least..=most).contains(&value);
            self.transform.filter(|transform| out(transform.range()))
        };
        let row = self.first_bad.load(Ordering::Relaxed);
        if row != usize::MAX {
            let found = x.find_outside(row, self.support(), self.missing);
            let (col, value) = found.unwrap_or((0, f32::NAN));
            return Err(Error::Value(match self.likelihood {
                Some(likelihood) if value.is_finite() && likelihood.support().excludes(value) => {
                    format!(
                        "{name}[{row}, {col}] is {value}, but the {} likelihood takes {}",
                        likelihood.name(),
                        likelihood.support().words
                    )
                }
                _ if beyond(value) == Some(Transform::Log1p) => format!(
                    "{name}[{row}, {col}] is {value}, but input_transform=\"log1p\" takes the logarithm of 1 + x: it is \
                     for counts and other values above -1"
                ),
                _ if beyond(value).is_some() => format!(
                    "{name}[{row}, {col}] is {value}, whose square may overflow in the norm that input_transform divides \
                     by: scale the data"
                ),
                _ => {
                    let remedy = match (self.missing, self.likelihood) {
                        (true, _) => {
                            ", or NaN where it was not observed: remove or fill in infinity"
                        }
                        (_, Some(likelihood)) if value.is_nan() && likelihood.allows_missing() => {
                            ": remove or fill in NaN and infinity, or take NaN as not observed: missing=\"mask\""
                        }
                        _ => ": remove or fill in NaN and infinity",
                    };
                    format!("{name}[{row}, {col}] is {value}; {name} must be finite{remedy}")
                }
            }));
        }
        let largest = f32::from_bits(self.largest.load(Ordering::Relaxed));
        // Some rows of an array may well be dark.
        let whole = finished && !x.is_selection();
        if whole && x.element() == Element::U8 && largest == 1.0 / 255.0 {
            return Err(Error::Value(format!(
                "{name} is uint8 with no value above 1: uint8 means 0..255 and is scaled to 0..1, so binary data must \
                 be passed as floats: {name}.astype(numpy.float32)"
            )));
        }
        Ok(())
    }
}

/// What one worker sees of some rows.
pub(crate) struct Inspection<'a, S: Simd> {
    watch: &'a ValueCheck,
    low: S::F,
    high: S::F,
    missing: bool,
    largest: S::F,
    outside: u32,
}

impl<S: Simd> Inspection<'_, S> {
    /// Looks at 32 columns.
    #[inline(always)]
    pub fn look(&mut self, s: S, columns: &Row) {
        for lanes in columns {
            let mut x = s.load(lanes);
            if self.missing {
                x = s.select(s.is_number(x), x, s.zero());
            }
            // Not zero where x is below, above, infinite or NaN.
            let off = s.sub(s.max(s.min(x, self.high), self.low), x);
            self.outside |= s.nonzero(off);
            self.largest = s.max(self.largest, x);
        }
    }

    /// The row `row` of the array is over.
    #[inline(always)]
    pub fn end_row(&mut self, row: usize) {
        if self.outside != 0 {
            self.watch.first_bad.fetch_min(row, Ordering::Relaxed);
            self.outside = 0;
        }
    }

    /// All rows are over.
    #[inline(always)]
    pub fn end(self, s: S) {
        let mut row = ZERO_ROW;
        s.store(self.largest, &mut row[0]);
        let largest = row[0].0.into_iter().fold(0.0, f32::max);
        self.watch.largest.fetch_max(largest.to_bits(), Ordering::Relaxed);
    }
}

/// Looks at rows without keeping them.
pub(crate) struct Inspect<'a> {
    pub source: &'a Source<'a>,
    pub rows: Range<usize>,
    pub watch: &'a ValueCheck,
}

impl Op for Inspect<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut seen, mut values) = (self.watch.begin(s), ZERO_ROW);
        for row in self.rows {
            for piece in 0..self.source.pieces(row) {
                self.source.read_piece(row, piece, &mut values);
                seen.look(s, &values);
            }
            seen.end_row(row);
        }
        seen.end(s);
    }
}
