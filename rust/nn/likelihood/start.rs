//! The start of training at the level of the data: the decoder's output and the scale of the best constant model, whose
//! p(x|z) does not depend on z. The random weights of the output layer are scaled to the precision of the likelihood, so
//! that the loss at the start is near that of the constant model.

/// The moments of the observed values of a column, or of all pixels of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Column {
    /// The number of observed values.
    pub count: f64,
    /// Their mean; 0 without values.
    pub mean: f64,
    /// Their variance, the mean squared deviation.
    pub variance: f64,
    /// The number of zeros among them.
    pub zeros: f64,
    /// The smallest value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
}

/// The largest ratio of a standard deviation to the root mean square that float32 data may owe to rounding.
const ROUNDING: f64 = 1e-6;

impl Column {
    /// The fields, in their order.
    pub fn numbers(&self) -> [f64; 6] {
        [self.count, self.mean, self.variance, self.zeros, self.least, self.most]
    }

    /// The inverse of [`Column::numbers`].
    pub fn of_numbers([count, mean, variance, zeros, least, most]: [f64; 6]) -> Column {
        Column { count, mean, variance, zeros, least, most }
    }

    /// The moments of the values of two columns together (Chan, Golub & LeVeque 1983).
    pub fn merged(&self, other: &Column) -> Column {
        let count = self.count + other.count;
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { *other } else { *self };
        }
        let (share, apart) = (other.count / count, other.mean - self.mean);
        let within = self.variance + share * (other.variance - self.variance);
        Column {
            count,
            mean: self.mean + share * apart,
            variance: within + share * (1.0 - share) * apart * apart,
            zeros: self.zeros + other.zeros,
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }

    /// The root mean square of the values.
    pub fn root_mean_square(&self) -> f64 {
        (self.mean * self.mean + self.variance).sqrt()
    }

    /// The standard deviation; 0 for a constant column.
    pub fn deviation(&self) -> f64 {
        let deviation = self.variance.max(0.0).sqrt();
        if deviation <= ROUNDING * self.root_mean_square() { 0.0 } else { deviation }
    }

    /// The moments of the values of several columns together.
    pub fn of_all(columns: &[Column]) -> Column {
        let count: f64 = columns.iter().map(|column| column.count).sum();
        let share = |value: f64, column: &Column| value * column.count / count.max(1.0);
        let mean: f64 = columns.iter().map(|column| share(column.mean, column)).sum();
        let square = |column: &Column| column.variance + (column.mean - mean).powi(2);
        Column {
            count,
            mean,
            variance: columns.iter().map(|column| share(square(column), column)).sum(),
            zeros: columns.iter().map(|column| column.zeros).sum(),
            least: columns.iter().map(|column| column.least).fold(f64::INFINITY, f64::min),
            most: columns.iter().map(|column| column.most).fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The columns of the training data, as a likelihood reads them.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// The mean over the columns of their variances, each about its own mean: the square of a shared scale.
    pub within: f64,
    /// The root mean square of all values.
    pub size: f64,
    /// The sum of the columns' means: the mean number of words of a document.
    pub total: f64,
    /// The number of columns.
    pub columns: usize,
}

impl Level {
    /// The level of columns.
    pub fn of(columns: &[Column]) -> Level {
        let count: f64 = columns.iter().map(|column| column.count).sum();
        let squares: f64 =
            columns.iter().map(|column| column.count * column.deviation().powi(2)).sum();
        Level {
            within: squares / count.max(1.0),
            size: Column::of_all(columns).root_mean_square(),
            total: columns.iter().map(|column| column.mean).sum(),
            columns: columns.len(),
        }
    }
}

/// The largest range of a column in units of its own scale: the residual of a rare value is no outlier at the start.
const WIDEST: f64 = 20.0;

impl Level {
    /// The scale of all columns together: the root mean square of their standard deviations; without any deviation, the
    /// size of the values.
    pub fn shared_scale(&self) -> f64 {
        let scales = [self.within.sqrt(), self.size];
        scales.into_iter().find(|&scale| scale > 0.0).unwrap_or(1.0)
    }

    /// The scale of a column: the standard deviation, at least a twentieth of the range. For a constant column, a twentieth
    /// of the deviation within all columns; without any deviation, the size of the value.
    pub fn own_scale(&self, column: &Column) -> f64 {
        let varying = column.deviation().max((column.most - column.least) / WIDEST);
        let constant = self.within.sqrt() / WIDEST;
        let scales = [if column.deviation() > 0.0 { varying } else { constant }, column.mean.abs()];
        let scale = scales.into_iter().find(|&scale| scale > 0.0).unwrap_or(1.0);
        scale.max(ROUNDING * column.mean.abs())
    }
}

/// The start of one feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    /// The decoder's output y of the best constant model.
    pub output: f64,
    /// The factor of the output layer's random weights: I^-1/2, I the Fisher information of y at the constant model,
    /// where the standard weights have more noise.
    pub spread: f64,
    /// The likelihood's parameter of the feature (s of a Gaussian, r of a negative binomial), if learned or an output.
    pub scale: f64,
    /// The decoder's second output, if it has one.
    pub second: f64,
}

impl Start {
    /// A start with the information `information` about y, and no learned parameter.
    pub fn new(output: f64, information: f64) -> Start {
        Start { output, spread: (1.0 / information.sqrt()).min(1.0), scale: 1.0, second: 0.0 }
    }
}

/// The share of ones, by Jeffreys' prior Beta(1/2, 1/2): not 0 or 1.
pub(super) fn share(column: &Column) -> f64 {
    (column.mean * column.count + 0.5) / (column.count + 1.0)
}

/// The rate of counts, by Jeffreys' prior Gamma(1/2, 0): not 0.
pub(super) fn rate(column: &Column) -> f64 {
    let count = column.count.max(1.0);
    column.mean + 0.5 / count
}

/// ln p / (1 - p).
pub(super) fn logit(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}
