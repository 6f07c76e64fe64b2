//! The header of a file: JSON, with a strict reader.

use super::{history, refused};
use crate::error;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::marker::PhantomData;

/// The key of the metadata; all other keys are names of tensors.
const METADATA: &str = "__metadata__";

/// The largest number of keys in an object: all tensors of a file and the metadata. Limits time and memory: the parsed
/// form of small tensors is many times larger than their JSON.
pub const MAX_KEYS: usize = 1 << 16;

/// The largest number of dimensions of a tensor. A matrix has two; files of other versions may have more.
const MAX_DIMENSIONS: usize = 8;

/// The texts in `__metadata__`.
pub type Texts = BTreeMap<String, String>;

/// Writes a header, in a fixed order of keys.
pub fn write(
    metadata: &BTreeMap<&str, &str>,
    tensors: &[(String, TensorInfo)],
) -> error::Result<Vec<u8>> {
    serde_json::to_vec(&Written { metadata, tensors }).map_err(refused)
}

/// The inverse of [`write`]. [`described`] checks the tensors.
pub fn read(header: &[u8]) -> error::Result<(Texts, Vec<(String, Described)>)> {
    let read: Result<Strict<Header>, _> = serde_json::from_slice(header);
    let Strict(header) = read.map_err(|error| refused(format!("its header: {error}")))?;
    Ok((header.metadata, header.tensors))
}

/// Removes and returns a required text of the metadata.
pub fn taken(metadata: &mut Texts, key: &str) -> error::Result<String> {
    metadata.remove(key).ok_or_else(|| refused(format!("its metadata have no {key}")))
}

/// Reads a JSON object of the metadata; refuses duplicate keys.
pub fn object<V>(what: &str, text: &str) -> error::Result<BTreeMap<String, V>>
where
    V: for<'a> Deserialize<'a>,
{
    let read: Result<Strict<_>, _> = serde_json::from_str(text);
    read.map(|Strict(object)| object).map_err(|error| refused(format!("its {what}: {error}")))
}

/// The tensors of a header. Requires float32 or bytes, or float64 for the history, and contiguous data.
pub fn described(tensors: Vec<(String, Described)>) -> error::Result<Metadata> {
    let mut infos = Vec::new();
    for (name, tensor) in tensors {
        let Described { dtype: Some(dtype), shape: Some(shape), data_offsets: Some(data_offsets) } =
            tensor
        else {
            return Err(refused(format!("{name:?} has no dtype, no shape or no data_offsets")));
        };
        let (wanted, text) = match name.starts_with(history::PREFIX) {
            true => (Dtype::F64, "F64"),
            false if dtype == "I8" => (Dtype::I8, "I8"),
            false if dtype == "BF16" => (Dtype::BF16, "BF16"),
            false => (Dtype::F32, "F32"),
        };
        if dtype != text {
            return Err(refused(format!("{name:?} is of type {dtype:?}, not {text:?}")));
        }
        infos.push((name, TensorInfo { dtype: wanted, shape, data_offsets }));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);
    // The check of safetensors: no gaps, no overlaps, length of data equal to the product of the shape.
    Metadata::new(None, infos).map_err(refused)
}

struct Written<'a> {
    metadata: &'a BTreeMap<&'a str, &'a str>,
    tensors: &'a [(String, TensorInfo)],
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

/// The target type of a JSON object.
trait Object: Default {
    /// The description in error messages.
    const WHAT: &'static str;

    /// Reads the value of a key. Each key occurs once.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>;
}

/// A JSON object with unique keys; refuses a list, which serde accepts as an object. For a duplicate key, serde and
/// safetensors return the last value and other programs the first one, so that one file would hold two models.
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

/// A parsed header.
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

/// The description of a tensor in a header.
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

/// A list of at most [`MAX_DIMENSIONS`] sizes.
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
