//! Reads a model from a file.

use super::checksum::Checksum;
use super::contents::{self, Contents};
use super::history::{self, History};
use super::{
    CHUNK, FileTensor, LENGTH, MAX_HEADER, damaged, dtype, prefix, refused, scratch, size, tensors,
};
use crate::error::{Error, Result, filled};
use crate::matrix::from_bf16;
use crate::model::{Engine, Network, Specification, StateBuffer, TensorKind};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};

/// An open model file: header read and consistent with the length of the data, tensors unread.
#[derive(Debug)]
pub struct ModelFile<R> {
    reader: R,
    contents: Contents,
}

impl<R: Read> ModelFile<R> {
    /// Reads the header of a file of `len` bytes.
    pub fn open(mut reader: R, len: u64) -> Result<ModelFile<R>> {
        let Some(room) = len.checked_sub(LENGTH as u64) else {
            return Err(refused(format!("{len} bytes are too few")));
        };
        let mut length = [0; LENGTH];
        reader.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > room.min(MAX_HEADER) {
            return Err(refused(format!("a header of {length} bytes in a file of {len}")));
        }
        let mut text = filled(0, usize::try_from(length).ok())?;
        reader.read_exact(&mut text).map_err(unreadable)?;
        let contents = contents::from_json(&text)?;
        match contents.tensors.data_len() as u64 == room - length {
            true => Ok(ModelFile { reader, contents }),
            false => Err(refused(format!(
                "its tensors take {} bytes, but {} follow the header",
                contents.tensors.data_len(),
                room - length
            ))),
        }
    }

    /// The specification of the model.
    pub fn specification(&self) -> &Specification {
        &self.contents.specification
    }

    /// The estimator's text, unchanged.
    pub fn estimator(&self) -> &str {
        &self.contents.estimator
    }

    /// Reads the model and its history. Requires exactly the tensors of the specification, with correct checksums.
    pub fn read(mut self) -> Result<(Engine, History)> {
        let names = self.contents.tensors.offset_keys();
        let losses = history::losses(&self.contents.tensors, &names)?;
        let (losses, names) = names.split_at(losses);
        // Check before `Network::new`, whose memory grows with the number of layers.
        let specification = &self.contents.specification;
        if specification.encoder.len() + specification.decoder.len() > names.len() {
            return Err(refused("its specification describes a larger network than its tensors"));
        }
        let network = Network::new(specification.clone()).map_err(refused)?;
        let places = self.places(&network, names)?;
        let has = |part| places.iter().any(|place| place.0 == part);
        let moments = network.spec.moments() == [false; 2]
            || has(StateBuffer::First)
            || has(StateBuffer::Second);
        let best = has(StateBuffer::Best);

        let mut history = History::new();
        for name in losses {
            let length = self.contents.tensors.info(name).map_or(0, |info| info.shape[0]);
            let mut values = filled(0.0, Some(length))?;
            self.next_values(name, &mut values, f64::from_le_bytes)?;
            history.push((name[history::PREFIX.len()..].to_string(), values));
        }
        let mut engine = Engine::empty(network)?;
        if best {
            engine.allocate_best()?;
        }
        let mut scratch = scratch(&engine.network)?;
        for (name, (part, index)) in names.iter().zip(places) {
            let (network, buffer) = engine.buffer_mut(part);
            let tensor = &network.tensors[index];
            let plain = &mut scratch[..size(tensor)];
            match tensor.kind {
                TensorKind::Int8 => {
                    self.next_values(name, plain, |byte| f32::from(i8::from_le_bytes(byte)))?;
                }
                TensorKind::Bf16 => {
                    self.next_values(name, plain, |half| from_bf16(u16::from_le_bytes(half)))?;
                }
                _ => self.next_values(name, plain, f32::from_le_bytes)?,
            }
            let good = |x: &f32| tensor.allows(*x) && (part != StateBuffer::Second || *x >= 0.0);
            if let Some(bad) = plain.iter().find(|x| !good(x)) {
                return Err(refused(format!("{name} contains {bad}")));
            }
            tensor.write(plain, buffer);
        }
        for part in [StateBuffer::Value, StateBuffer::Best] {
            if part == StateBuffer::Value || best {
                engine.network.check(engine.buffer(part)).map_err(refused)?;
            }
        }
        engine.refresh()?;
        self.contents.counters.restore(&mut engine, moments);
        Ok((engine, history))
    }

    /// The places of the tensors `names`: value or moment of `network.tensors[index]`. Requires the names of the model.
    fn places(&self, network: &Network, names: &[String]) -> Result<Vec<(StateBuffer, usize)>> {
        let has = |part| names.iter().any(|name| name.starts_with(prefix(part)));
        let moments = has(StateBuffer::First) || has(StateBuffer::Second);
        let tensors = tensors(network, moments, has(StateBuffer::Best));
        let mut missing: HashMap<_, _> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let mut places = Vec::new();
        for name in names {
            let Some(&FileTensor { part, index, .. }) = missing.remove(name.as_str()) else {
                return Err(refused(format!("{name:?} is no part of the model that it describes")));
            };
            let info = self.contents.tensors.info(name);
            let (found, wanted) = (info.map(|info| info.dtype), dtype(&network.tensors[index]));
            if found.is_some_and(|found| found != wanted) {
                return Err(refused(format!(
                    "{name} is of another type than {wanted:?}, that of the model that it describes"
                )));
            }
            let shape = info.map_or(&[][..], |info| &info.shape);
            let wanted = &network.tensors[index].shape;
            if shape != wanted {
                return Err(refused(format!(
                    "{name} has shape {shape:?}, but in the model that it describes {wanted:?}"
                )));
            }
            places.push((part, index));
        }
        match tensors.iter().find(|tensor| missing.contains_key(tensor.name.as_str())) {
            Some(tensor) => Err(refused(format!("{} is missing", tensor.name))),
            None => Ok(places),
        }
    }

    /// Reads the values of the next tensor, with its checksum.
    fn next_values<T, const N: usize>(
        &mut self,
        name: &str,
        plain: &mut [T],
        from_bytes: fn([u8; N]) -> T,
    ) -> Result<()> {
        let (mut chunk, mut checksum) = ([0; CHUNK], Checksum::default());
        for plain in plain.chunks_mut(CHUNK / N) {
            let bytes = &mut chunk[..N * plain.len()];
            self.reader.read_exact(bytes).map_err(unreadable)?;
            checksum.update(bytes);
            for (x, bytes) in plain.iter_mut().zip(bytes.as_chunks().0) {
                *x = from_bytes(*bytes);
            }
        }
        let found = checksum.finish();
        match self.contents.checksums.as_ref().map(|checksums| &checksums[name]) {
            Some(wanted) if *wanted != found => Err(damaged(name, &found, wanted)),
            _ => Ok(()),
        }
    }
}

fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => refused("it is cut short"),
        kind => Error::Io(kind, format!("the model file cannot be read: {error}")),
    }
}
