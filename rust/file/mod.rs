//! The model file: a safetensors container, which any reader of that format opens.
//!
//! | in the file | what it is |
//! |---|---|
//! | `__metadata__.format_version` | [`FORMAT_VERSION`] |
//! | `__metadata__.specification` | the [`Specification`](crate::model::Specification), as JSON |
//! | `__metadata__.counters` | how far the training has come, as JSON |
//! | `__metadata__.estimator` | a text of the Python layer, which it alone reads |
//! | `__metadata__.checksums` | the checksum of each tensor, as JSON |
//! | `__metadata__.metadata_checksum` | the checksum of the other metadata |
//! | `encoder.0.weight`, ... | the parameters, float32, named and shaped as [`Network::tensors`], row after row |
//! | `optimizer.first.encoder.0.weight`, ... | the optimizer's first moments, if it uses them |
//! | `optimizer.second.encoder.0.weight`, ... | its second moments; a file has all moments or none |
//!
//! The same model gives the same bytes. Files of version 1 are read too; they have no checksums.
//!
//! A reader trusts nothing in a file. It refuses duplicate and unknown keys, tensors that the specification does not
//! imply, missing tensors, other shapes, gaps in the data, NaN, infinity, and wrong checksums. It allocates memory for a
//! model only if the file is as long as such a model.

mod atomic;
mod checksum;
mod contents;
mod counters;
mod header;
mod read;
mod version_1;
mod write;

pub use atomic::{open, write};
pub use read::ModelFile;
pub use write::to_bytes;

use crate::error::{Error, Result, filled};
use crate::model::{Network, StateBuffer, Tensor};
use std::fmt::Display;

/// The version of the format that this library writes.
pub const FORMAT_VERSION: &str = "2";

/// The longest header, in bytes; most of it is the estimator's text, with the history of the training.
const MAX_HEADER: u64 = 64 << 20;

/// The header's length comes first, in as many bytes.
const LENGTH: usize = size_of::<u64>();

/// Bytes read or written at a time: a checksum finds them in the first-level cache.
const CHUNK: usize = 1 << 14;

/// Why something is no model file.
fn refused(why: impl Display) -> Error {
    // A text in a file may be as long as the file.
    let why: String = why.to_string().chars().take(300).collect();
    Error::Format(format!("no model file that fastvae can read: {why}"))
}

/// The error of a piece whose checksum is wrong.
fn damaged(piece: &str, found: &str, wanted: &str) -> Error {
    refused(format!("{piece} is damaged: its checksum is {found}, not {wanted}; restore the file"))
}

/// A tensor in a file: a part of `network.tensors[index]`.
struct FileTensor {
    name: String,
    part: StateBuffer,
    index: usize,
}

/// The tensors in the file of such a model, in the order in which they are written.
fn tensors(network: &Network, moments: bool) -> Vec<FileTensor> {
    let [first, second] = network.spec.optimizer.moments().map(|used| used && moments);
    let mut tensors = Vec::new();
    for (wanted, part) in
        [(true, StateBuffer::Value), (first, StateBuffer::First), (second, StateBuffer::Second)]
    {
        let has = |tensor: &Tensor| wanted && (part == StateBuffer::Value || tensor.is_trained());
        for (index, tensor) in network.tensors.iter().enumerate().filter(|(_, t)| has(t)) {
            tensors.push(FileTensor {
                name: format!("{}{}", prefix(part), tensor.name),
                part,
                index,
            });
        }
    }
    tensors
}

fn prefix(part: StateBuffer) -> &'static str {
    match part {
        StateBuffer::Value => "",
        StateBuffer::First => "optimizer.first.",
        StateBuffer::Second => "optimizer.second.",
    }
}

fn size(tensor: &Tensor) -> usize {
    tensor.shape.iter().product()
}

/// Room for the largest tensor.
fn scratch(network: &Network) -> Result<Vec<f32>> {
    filled(0.0, network.tensors.iter().map(size).max())
}
