//! The model file: a container in the format of safetensors, readable with any of its libraries.
//!
//! | key | value |
//! |---|---|
//! | `__metadata__.format_version` | [`FORMAT_VERSION`] |
//! | `__metadata__.specification` | the [`Specification`](crate::model::Specification), as JSON |
//! | `__metadata__.counters` | the counters of the training, as JSON |
//! | `__metadata__.estimator` | a text of the Python layer, opaque to this library |
//! | `__metadata__.checksums` | the checksum of each tensor, as JSON |
//! | `__metadata__.metadata_checksum` | the checksum of the other metadata |
//! | `encoder.0.weight`, ... | the parameters, float32, row-major, names and shapes as in [`Network::tensors`] |
//! | | int8 in a quantised model, with `encoder.0.weight_scale`, float32, one for each output |
//! | | bfloat16 in a model that is quantised to it |
//! | `optimizer.first.encoder.0.weight`, ... | the optimizer's first moments, if it uses them |
//! | `optimizer.second.encoder.0.weight`, ... | its second moments; a file has all moments or none, none if all are zero |
//! | `best.encoder.0.weight`, ... | the best parameters of a training with early stopping that goes on: all or none |
//! | `history.loss`, ... | the [`History`] of the training, float64, one value for each epoch |
//!
//! Writing is deterministic: equal models give equal bytes. The reader also supports files of version 2, whose history
//! is in the estimator's text, and of version 1, which have no checksums either.
//!
//! The reader validates the whole file. It refuses duplicate and unknown keys, unexpected and missing tensors, wrong
//! shapes, gaps in the data, NaN, infinity, and wrong checksums. It allocates memory for a model only if the file has
//! the length of that model.

mod atomic;
mod checksum;
mod contents;
mod counters;
mod header;
mod history;
mod limits;
mod read;
mod version_1;
mod write;

pub use atomic::{open, write};
pub use history::History;
pub use read::ModelFile;
pub use write::{checkpoint, to_bytes};

use crate::error::{Error, Result, filled};
use crate::model::{Network, StateBuffer, Tensor, TensorKind};
use safetensors::tensor::Dtype;
use std::fmt::Display;

/// The format version of new files.
pub const FORMAT_VERSION: &str = "3";

/// The largest size of a header, bytes. Most of a large header is names of features, or a history in version 1 or 2.
const MAX_HEADER: u64 = 64 << 20;

/// The size of the first field of a file, bytes. The field is the length of the header.
const LENGTH: usize = size_of::<u64>();

/// Bytes per read or write: small enough to stay in the first-level cache for the checksum.
const CHUNK: usize = 1 << 14;

/// The error for an invalid model file.
fn refused(why: impl Display) -> Error {
    // Truncate: a text of the file in the message may be very long.
    let why: String = why.to_string().chars().take(300).collect();
    Error::Format(format!("no model file that fastvae can read: {why}"))
}

/// The error for a wrong checksum.
fn damaged(piece: &str, found: &str, wanted: &str) -> Error {
    refused(format!("{piece} is damaged: its checksum is {found}, not {wanted}; restore the file"))
}

/// A tensor in a file: value or moment of `network.tensors[index]`.
struct FileTensor {
    name: String,
    part: StateBuffer,
    index: usize,
}

/// The tensors in a model's file, in the order of the file.
fn tensors(network: &Network, moments: bool, best: bool) -> Vec<FileTensor> {
    let [first, second] = network.spec.moments().map(|used| used && moments);
    let mut tensors = Vec::new();
    for (wanted, part) in [
        (true, StateBuffer::Value),
        (first, StateBuffer::First),
        (second, StateBuffer::Second),
        (best, StateBuffer::Best),
    ] {
        let is_moment = matches!(part, StateBuffer::First | StateBuffer::Second);
        let has = |tensor: &Tensor| wanted && (!is_moment || tensor.is_trained());
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
        StateBuffer::Best => "best.",
    }
}

/// The type of a tensor's values in a file.
fn dtype(tensor: &Tensor) -> Dtype {
    match tensor.kind {
        TensorKind::Int8 => Dtype::I8,
        TensorKind::Bf16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

fn size(tensor: &Tensor) -> usize {
    tensor.shape.iter().product()
}

/// A buffer for the largest tensor.
fn scratch(network: &Network) -> Result<Vec<f32>> {
    filled(0.0, network.tensors.iter().map(size).max())
}
