//! The one error type of the crate.

use std::{fmt, io};

/// What can go wrong. Every message says what was wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An array has the wrong shape.
    Shape(String),
    /// A parameter has a value that makes no sense.
    Parameter(String),
    /// Data hold a value that the model cannot take: NaN, infinity, or outside the likelihood's support.
    Value(String),
    /// There is not enough memory.
    Memory(String),
    /// The loss or a gradient stopped being finite in training; the weights are finite all the same.
    Diverged(String),
    /// A file holds no model that this library can read.
    Format(String),
    /// A file cannot be read.
    Io(io::ErrorKind, String),
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape(m)
            | Error::Parameter(m)
            | Error::Value(m)
            | Error::Memory(m)
            | Error::Diverged(m)
            | Error::Format(m)
            | Error::Io(_, m) => f.write_str(m),
        }
    }
}

impl std::error::Error for Error {}

/// A vector of `len` equal values, or an error where there is no memory for it (an allocation that fails
/// would end the process).
pub fn filled<T: Clone>(value: T, len: Option<usize>) -> Result<Vec<T>> {
    let room = len.filter(|&len| Vec::<T>::new().try_reserve_exact(len).is_ok());
    match room {
        Some(len) => Ok(vec![value; len]),
        None => Err(Error::Memory(match len.and_then(|n| n.checked_mul(size_of::<T>())) {
            Some(bytes) => format!("not enough memory for {} MB more", bytes >> 20),
            None => "an array of that size cannot exist".to_string(),
        })),
    }
}
