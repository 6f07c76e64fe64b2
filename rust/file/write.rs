//! Writes a model to the bytes of a file.

use super::checksum::Checksum;
use super::contents;
use super::counters::Counters;
use super::header::MAX_KEYS;
use super::history::{self, History};
use super::limits;
use super::{CHUNK, FileTensor, LENGTH, MAX_HEADER, dtype, scratch, size, tensors};
use crate::error::{Error, Result, filled};
use crate::matrix::to_bf16;
use crate::model::{Engine, StateBuffer, TensorKind};
use safetensors::tensor::{Dtype, TensorInfo};

/// The bytes of a model's file, with the estimator's text, the history of the training and, if `moments`, the
/// optimizer's moments.
pub fn to_bytes(
    engine: &Engine,
    estimator: &str,
    history: &History,
    moments: bool,
) -> Result<Vec<u8>> {
    written(engine, estimator, history, (moments, false))
}

/// The bytes of the file of a model in training: with the optimizer's moments and, if any are stored, the best parameters.
pub fn checkpoint(engine: &Engine, estimator: &str, history: &History) -> Result<Vec<u8>> {
    let best = !engine.buffer(StateBuffer::Best).is_empty();
    written(engine, estimator, history, (true, best))
}

fn written(
    engine: &Engine,
    estimator: &str,
    history: &History,
    (moments, best): (bool, bool),
) -> Result<Vec<u8>> {
    history::check(history)?;
    let network = &engine.network;
    let mut scratch = scratch(network)?;
    let moments = moments && !has_fresh_moments(engine, &mut scratch);
    let tensors = tensors(network, moments, best);
    if history.len() + tensors.len() >= MAX_KEYS {
        return Err(Error::Parameter(format!(
            "the model, with its optimizer, has {} tensors; a model file has room for {}",
            tensors.len(),
            MAX_KEYS - 1
        )));
    }
    let (mut infos, mut end) = (Vec::new(), 0);
    let mut add = |name, dtype, shape, bytes| {
        let data_offsets = (end, end + bytes);
        end += bytes;
        infos.push((name, TensorInfo { dtype, shape, data_offsets }));
    };
    for (name, values) in history {
        let name = format!("{}{name}", history::PREFIX);
        add(name, Dtype::F64, vec![values.len()], size_of_val(values.as_slice()));
    }
    for FileTensor { name, index, .. } in &tensors {
        let tensor = &network.tensors[*index];
        let bytes = dtype(tensor).bitsize() / 8 * size(tensor);
        add(name.clone(), dtype(tensor), tensor.shape.clone(), bytes);
    }
    limits::check(estimator, end / size_of::<f32>()).map_err(|why| {
        Error::Parameter(format!("a model file has no room for the model: {why}"))
    })?;
    let (specification, counters) = (network.spec.to_json(), Counters::of(engine));
    let header = |checksums: &[String]| {
        let mut text = contents::to_json(&specification, counters, estimator, &infos, checksums)?;
        text.resize(text.len().next_multiple_of(LENGTH), b' '); // aligns the data
        Ok::<_, Error>(text)
    };
    // The header holds the checksums of the data after it. Reserve its space with placeholders of equal length.
    let mut checksums: Vec<_> = infos.iter().map(|_| Checksum::default().finish()).collect();
    let text = header(&checksums)?;
    if text.len() as u64 > MAX_HEADER {
        return Err(Error::Parameter(format!(
            "the configuration of the model, with names of features and classes, takes {} MB; a model file has room for \
             {} MB",
            text.len() >> 20,
            MAX_HEADER >> 20
        )));
    }

    let mut bytes = filled(0, (LENGTH + text.len()).checked_add(end))?;
    let (length, rest) = bytes.split_at_mut(LENGTH);
    let (start, mut data) = rest.split_at_mut(text.len());
    length.copy_from_slice(&(text.len() as u64).to_le_bytes());
    let mut next = |bytes| data.split_off_mut(..bytes).unwrap_or_default();
    let (of_history, of_tensors) = checksums.split_at_mut(history.len());
    for ((_, values), checksum) in history.iter().zip(of_history) {
        *checksum = encode(values, next(size_of_val(values.as_slice())), f64::to_le_bytes);
    }
    for (FileTensor { part, index, .. }, checksum) in tensors.iter().zip(of_tensors) {
        let plain = &mut scratch[..size(&network.tensors[*index])];
        network.tensors[*index].read_into(engine.buffer(*part), plain);
        *checksum = match network.tensors[*index].kind {
            TensorKind::Int8 => encode(plain, next(plain.len()), |x| (x as i8).to_le_bytes()),
            TensorKind::Bf16 => encode(plain, next(2 * plain.len()), |x| to_bf16(x).to_le_bytes()),
            _ => encode(plain, next(size_of_val(plain)), f32::to_le_bytes),
        };
    }
    start.copy_from_slice(&header(&checksums)?);
    Ok(bytes)
}

/// Whether all moments are zero, as those with which the optimizer starts without moments in a file.
fn has_fresh_moments(engine: &Engine, scratch: &mut [f32]) -> bool {
    let network = &engine.network;
    let mut is_zero = |FileTensor { part, index, .. }: &FileTensor| {
        let plain = &mut scratch[..size(&network.tensors[*index])];
        network.tensors[*index].read_into(engine.buffer(*part), plain);
        plain.iter().all(|x| x.to_bits() == 0)
    };
    let moments = |t: &&FileTensor| matches!(t.part, StateBuffer::First | StateBuffer::Second);
    engine.steps == engine.optimizer_start
        && tensors(network, true, false).iter().filter(moments).all(&mut is_zero)
}

/// Writes values and returns their checksum.
fn encode<T: Copy, const N: usize>(
    plain: &[T],
    bytes: &mut [u8],
    to_bytes: fn(T) -> [u8; N],
) -> String {
    let mut checksum = Checksum::default();
    for (plain, bytes) in plain.chunks(CHUNK / N).zip(bytes.chunks_mut(CHUNK)) {
        for (to, x) in bytes.as_chunks_mut().0.iter_mut().zip(plain) {
            *to = to_bytes(*x);
        }
        checksum.update(bytes);
    }
    checksum.finish()
}
