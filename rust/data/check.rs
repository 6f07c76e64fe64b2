//! Checks of data while they are read: values outside the likelihood's support, NaN, infinity, and binary data passed
//! as uint8.

use crate::data::input_transform::Transform;
use crate::data::{Element, Source};
use crate::error::{Error, Result};
use crate::nn::likelihood::{Likelihood, Support};
use crate::simd::{Op, Row, Simd, ZERO_ROW};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// The check of one array, shared by all threads that read it.
pub struct ValueCheck {
    /// Its support limits the values; `None` allows every finite number.
    likelihood: Option<Likelihood>,
    /// The encoder's transform, whose range limits the values too.
    transform: Option<Transform>,
    /// Whether NaN is allowed.
    missing: bool,
    /// The first row with an invalid value; `usize::MAX` if there is none.
    first_bad: AtomicUsize,
    /// The bits of the largest value or 0, used for uint8 only: bits of nonnegative floats are ordered as the floats.
    largest: AtomicU32,
}

impl ValueCheck {
    /// A check against the support of `likelihood`, or for finite numbers. With `missing`, NaN is allowed.
    pub fn new(likelihood: Option<Likelihood>, missing: bool) -> ValueCheck {
        let (first_bad, largest) = (AtomicUsize::new(usize::MAX), AtomicU32::new(0));
        ValueCheck { likelihood, transform: None, missing, first_bad, largest }
    }

    /// Limits the values to the range of `transform` too.
    pub fn through(self, transform: Option<Transform>) -> ValueCheck {
        ValueCheck { transform, ..self }
    }

    /// The range of valid values, ends included.
    fn support(&self) -> (f32, f32) {
        let (low, high) =
            self.likelihood.map_or(Support::REAL, |likelihood| likelihood.support()).range;
        let (least, most) = self.transform.map_or((f32::MIN, f32::MAX), Transform::range);
        (low.max(least), high.min(most))
    }

    /// Starts a worker's check of some rows.
    #[inline(always)]
    pub(crate) fn begin<S: Simd>(&self, s: S) -> RowCheck<'_, S> {
        let (low, high) = self.support();
        let (low, high) = (s.splat(low), s.splat(high));
        RowCheck { check: self, low, high, missing: self.missing, largest: s.zero(), outside: 0 }
    }

    /// Returns an error if a value of `x`, called `name` in messages, is invalid. `finished`: all rows were checked.
    pub fn verdict(&self, x: &Source, name: &str, finished: bool) -> Result<()> {
        // The transform, if the value is outside its range.
        let violated = |value: f32| {
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
                _ if violated(value) == Some(Transform::Log1p) => format!(
                    "{name}[{row}, {col}] is {value}, but input_transform=\"log1p\" is ln(1 + x) and \
                     takes values above -1: use it for counts"
                ),
                _ if violated(value).is_some() => format!(
                    "{name}[{row}, {col}] is {value}, and its square may overflow in the norm of input_transform: \
                     scale the data"
                ),
                _ => {
                    let remedy = match (self.missing, self.likelihood) {
                        (true, _) => {
                            ", or NaN where it was not observed: remove or fill in infinity"
                        }
                        (_, Some(likelihood)) if value.is_nan() && likelihood.allows_missing() => {
                            ": remove or fill in NaN and infinity, or pass missing=\"mask\" if NaN means not observed"
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

/// One worker's check of some rows.
pub(crate) struct RowCheck<'a, S: Simd> {
    check: &'a ValueCheck,
    low: S::F,
    high: S::F,
    missing: bool,
    largest: S::F,
    outside: u32,
}

impl<S: Simd> RowCheck<'_, S> {
    /// Checks 32 columns of the current row.
    #[inline(always)]
    pub fn look(&mut self, s: S, columns: &Row) {
        for lanes in columns {
            let mut x = s.load(lanes);
            if self.missing {
                x = s.select(s.is_number(x), x, s.zero());
            }
            // Nonzero where x is outside the range, infinite or NaN.
            let off = s.sub(s.max(s.min(x, self.high), self.low), x);
            self.outside |= s.nonzero(off);
            self.largest = s.max(self.largest, x);
        }
    }

    /// Ends row `row` of the array.
    #[inline(always)]
    pub fn end_row(&mut self, row: usize) {
        if self.outside != 0 {
            self.check.first_bad.fetch_min(row, Ordering::Relaxed);
            self.outside = 0;
        }
    }

    /// Ends the check.
    #[inline(always)]
    pub fn end(self, s: S) {
        let mut row = ZERO_ROW;
        s.store(self.largest, &mut row[0]);
        let largest = row[0].0.into_iter().fold(0.0, f32::max);
        self.check.largest.fetch_max(largest.to_bits(), Ordering::Relaxed);
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
        for row in self.rows {
            for piece in 0..self.source.pieces(row) {
                self.source.read_piece(row, piece, &mut values);
                check.look(s, &values);
            }
            check.end_row(row);
        }
        check.end(s);
    }
}
