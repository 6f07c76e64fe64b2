//! The one error type of the crate.

use std::{fmt, io};

/// An error with its message, which says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An array has the wrong shape.
    Shape(String),
    /// A parameter has an invalid value.
    Parameter(String),
    /// Data contain an invalid value: NaN, infinity, or a value outside the likelihood's support.
    Value(String),
    /// An allocation failed.
    Memory(String),
    /// The loss or a gradient became NaN or infinite in training. The weights are still finite.
    Diverged(String),
    /// A file contains no model that this version can read.
    Format(String),
    /// A file cannot be read.
    Io(io::ErrorKind, String),
}

/// The crate's result type.
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

/// A vector of `len` copies of `value`. Returns an error if the allocation fails (`vec!` would abort the process), or
/// if `len` is `None`: the size overflowed.
pub fn filled<T: Clone>(value: T, len: Option<usize>) -> Result<Vec<T>> {
    let allocatable = len.filter(|&len| Vec::<T>::new().try_reserve_exact(len).is_ok());
    match allocatable {
        Some(len) => Ok(vec![value; len]),
        None => Err(no_memory::<T>(len)),
    }
}

/// A vector of the items of an iterator, of which it says how many there are. Returns an error if the allocation fails.
pub fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    found.try_reserve_exact(items.len()).map_err(|_| no_memory::<T>(Some(items.len())))?;
    found.extend(items);
    Ok(found)
}

/// A copy of values. Returns an error if the allocation fails.
pub fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>> {
    collected(values.iter().copied())
}

/// The error of an allocation of `len` items; none: the size overflowed.
pub fn no_memory<T>(len: Option<usize>) -> Error {
    Error::Memory(match len.and_then(|n| n.checked_mul(size_of::<T>())) {
        Some(bytes) => format!("not enough memory for {} MB more", bytes >> 20),
        None => "the array is too large for the address space".to_string(),
    })
}
