//! Writes a model to the bytes of a file.

use super::checksum::Checksum;
use super::contents;
use super::counters::Counters;
use super::header::MAX_KEYS;
use super::{CHUNK, FileTensor, LENGTH, MAX_HEADER, scratch, size, tensors};
use crate::error::{Error, Result, filled};
use crate::model::{Engine, StateBuffer};
use safetensors::tensor::{Dtype, TensorInfo};

/// The bytes of a model's file, with the estimator's text and, if `moments`, the optimizer's moments.
pub fn to_bytes(engine: &Engine, estimator: &str, moments: bool) -> Result<Vec<u8>> {
    written(engine, estimator, &tensors(&engine.network, moments, false))
}

/// The bytes of the file of a model in training: with the optimizer's moments and, if any are stored, the best parameters.
pub fn checkpoint(engine: &Engine, estimator: &str) -> Result<Vec<u8>> {
    let best = !engine.buffer(StateBuffer::Best).is_empty();
    written(engine, estimator, &tensors(&engine.network, true, best))
}

fn written(engine: &Engine, estimator: &str, tensors: &[FileTensor]) -> Result<Vec<u8>> {
    let network = &engine.network;
    if tensors.len() >= MAX_KEYS {
        return Err(Error::Parameter(format!(
            "the model, with its optimizer, has {} tensors; a model file has room for {}",
            tensors.len(),
            MAX_KEYS - 1
        )));
    }
    let (mut infos, mut end) = (Vec::new(), 0);
    for tensor in tensors {
        let (start, shape) = (end, network.tensors[tensor.index].shape.clone());
        end += size_of::<f32>() * size(&network.tensors[tensor.index]);
        let info = TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) };
        infos.push((tensor.name.as_str(), info));
    }
    let (specification, counters) = (network.spec.to_json(), Counters::of(engine));
    let header = |checksums: &[String]| {
        let mut text = contents::to_json(&specification, counters, estimator, &infos, checksums)?;
        text.resize(text.len().next_multiple_of(LENGTH), b' '); // aligns the data
        Ok::<_, Error>(text)
    };
    // The header holds the checksums of the data after it. Reserve its space with placeholders of equal length.
    let mut checksums: Vec<_> = tensors.iter().map(|_| Checksum::default().finish()).collect();
    let text = header(&checksums)?;
    if text.len() as u64 > MAX_HEADER {
        return Err(Error::Parameter(format!(
            "the configuration of the model, with its history, takes {} MB; a model file has room for {} MB",
            text.len() >> 20,
            MAX_HEADER >> 20
        )));
    }

    let mut bytes = filled(0, (LENGTH + text.len()).checked_add(end))?;
    let (length, rest) = bytes.split_at_mut(LENGTH);
    let (start, mut data) = rest.split_at_mut(text.len());
    length.copy_from_slice(&(text.len() as u64).to_le_bytes());
    let mut scratch = scratch(network)?;
    for (written, checksum) in tensors.iter().zip(&mut checksums) {
        let tensor = &network.tensors[written.index];
        let plain = &mut scratch[..size(tensor)];
        tensor.read_into(engine.buffer(written.part), plain);
        let (here, rest) = data.split_at_mut(size_of_val(plain));
        *checksum = encode(plain, here);
        data = rest;
    }
    start.copy_from_slice(&header(&checksums)?);
    Ok(bytes)
}

/// Writes values and returns their checksum.
fn encode(plain: &[f32], bytes: &mut [u8]) -> String {
    let mut checksum = Checksum::default();
    for (plain, bytes) in plain.chunks(CHUNK / size_of::<f32>()).zip(bytes.chunks_mut(CHUNK)) {
        for (to, x) in bytes.as_chunks_mut().0.iter_mut().zip(plain) {
            *to = x.to_le_bytes();
        }
        checksum.update(bytes);
    }
    checksum.finish()
}
