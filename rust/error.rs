//! The one error type of the crate.

use std::fmt;

/// What can go wrong. Every message says what was wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An array has the wrong shape.
    Shape(String),
    /// A parameter has a value that makes no sense.
    Parameter(String),
    /// Data hold a value that the model cannot take: NaN, infinity, or outside the likelihood's support.
    Value(String),
    /// The loss stopped being finite during training; the weights are those before the failing step.
    Diverged(String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape(m) | Error::Parameter(m) | Error::Value(m) | Error::Diverged(m) => {
                f.write_str(m)
            }
        }
    }
}

impl std::error::Error for Error {}
