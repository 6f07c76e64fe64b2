//! The header of a file: JSON, read strictly.

use super::refused;
use crate::error;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

/// The key of what is no tensor.
const METADATA: &str = "__metadata__";

/// The most keys of an object, and so one more than the tensors of a file: very many small ones would take time, and many
/// times more memory than the text.
pub const MAX_KEYS: usize = 1 << 16;

/// The most dimensions of a tensor. A matrix has two; files of other versions may have more.
const MAX_DIMENSIONS: usize = 8;

/// The texts in `__metadata__`.
pub type Texts = BTreeMap<String, String>;

/// Writes a header, always in the same order.
pub fn write(
    metadata: &BTreeMap<&str, &str>,
    tensors: &[(&str, TensorInfo)],
) -> error::Result<Vec<u8>> {
    serde_json::to_vec(&Written { metadata, tensors }).map_err(refused)
}

/// The inverse of [`write`]. The tensors are checked by [`described`].
pub fn read(header: &[u8]) -> error::Result<(Texts, Vec<(String, Described)>)> {
    let read: Result<Strict<Header>, _> = serde_json::from_slice(header);
    let Strict(header) = read.map_err(|error| refused(format!("its header: {error}")))?;
    Ok((header.metadata, header.tensors))
}

/// Takes a text that the metadata must have.
pub fn taken(metadata: &mut Texts, key: &str) -> error::Result<String> {
    metadata.remove(key).ok_or_else(|| refused(format!("its metadata have no {key}")))
}

/// Reads a JSON object in the metadata in which no key comes twice.
pub fn object<V>(what: &str, text: &str) -> error::Result<BTreeMap<String, V>>
where
    V: for<'a> Deserialize<'a>,
{
    let read: Result<Strict<_>, _> = serde_json::from_str(text);
    read.map(|Strict(object)| object).map_err(|error| refused(format!("its {what}: {error}")))
}

/// The tensors of a header, which have one type and lie end to end.
pub fn described(tensors: Vec<(String, Described)>) -> error::Result<Metadata> {
    let mut infos = Vec::new();
    for (name, tensor) in tensors {
        let Described { dtype: Some(dtype), shape: Some(shape), data_offsets: Some(data_offsets) } =
            tensor
        else {
            return Err(refused(format!("{name:?} has no dtype, no shape or no data_offsets")));
        };
        if dtype != "F32" {
            return Err(refused(format!("{name:?} is of type {dtype:?}, not \"F32\"")));
        }
        infos.push((name, TensorInfo { dtype: Dtype::F32, shape, data_offsets }));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);
    // Safetensors' own check: no gaps, no overlaps, every tensor as long as its shape says.
    Metadata::new(None, infos).map_err(refused)
}

struct Written<'a> {
    metadata: &'a BTreeMap<&'a str, &'a str>,
    tensors: &'a [(&'a str, TensorInfo)],
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(METADATA, self.metadata)?;
        for (name, info) in self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

/// What a JSON object is read into.
trait Object: Default {
    /// What it is, in errors.
    const WHAT: &'static str;

    /// Reads the value of a key, which is a new one.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>;
}

/// A JSON object (and no list, which serde takes for one too) in which no key comes twice. Serde's and safetensors'
/// own readers take the last value of such a key, other programs the first one: they would see two models in one file.
struct Strict<T>(T);

impl<'de, T: Object> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StrictVisitor(PhantomData)).map(Strict)
    }
}

struct StrictVisitor<T>(PhantomData<T>);

impl<'de, T: Object> Visitor<'de> for StrictVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let (mut object, mut seen) = (T::default(), HashSet::new());
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {key:?} comes twice")));
            }
            if seen.len() > MAX_KEYS {
                return Err(A::Error::custom(format!("more than {MAX_KEYS} keys")));
            }
            object.take(key, &mut map)?;
        }
        Ok(object)
    }
}

/// The header as it is read.
#[derive(Default)]
struct Header {
    metadata: Texts,
    tensors: Vec<(String, Described)>,
}

impl Object for Header {
    const WHAT: &'static str = "an object of tensors";

    fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            METADATA => self.metadata = map.next_value::<Strict<_>>()?.0,
            _ => self.tensors.push((key, map.next_value::<Strict<_>>()?.0)),
        }
        Ok(())
    }
}

impl<V: for<'a> Deserialize<'a>> Object for BTreeMap<String, V> {
    const WHAT: &'static str = "an object";

    fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        self.insert(key, map.next_value()?);
        Ok(())
    }
}

/// What a header says of a tensor.
#[derive(Default)]
pub struct Described {
    dtype: Option<String>,
    shape: Option<Vec<usize>>,
    data_offsets: Option<(usize, usize)>,
}

impl Object for Described {
    const WHAT: &'static str = "an object with dtype, shape and data_offsets";

    fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        match key.as_str() {
            "dtype" => self.dtype = Some(map.next_value()?),
            "shape" => self.shape = Some(map.next_value::<Shape>()?.0),
            "data_offsets" => self.data_offsets = Some(map.next_value()?),
            _ => return Err(A::Error::custom(format!("the key {key:?} is not known"))),
        }
        Ok(())
    }
}

/// A list of few numbers.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = sizes.next_element()? {
            if shape.len() == MAX_DIMENSIONS {
                return Err(A::Error::custom(format!("more than {MAX_DIMENSIONS} dimensions")));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}
