//! The list of hidden layers of an encoder or a decoder in a specification.

use crate::error::{self, Error};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most columns of a layer: noise counters have 24 bits for the index of a block of four columns.
pub const MAX_WIDTH: usize = 1 << 26;

/// The most hidden layers of an encoder or a decoder.
pub const MAX_LAYERS: usize = 1 << 15;

/// A hidden layer. In JSON an integer n is a dense layer of n units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerSpecification {
    /// A dense layer.
    Dense {
        /// The number of outputs.
        units: usize,
    },
}

/// Dense layers of these widths.
pub fn dense(units: &[usize]) -> Vec<LayerSpecification> {
    units.iter().map(|&units| LayerSpecification::Dense { units }).collect()
}

impl LayerSpecification {
    /// The number of outputs.
    pub fn units(self) -> usize {
        let LayerSpecification::Dense { units } = self;
        units
    }
}

/// Returns an error if there are too many layers or a width is out of range; `name` is the list's name in messages.
pub(super) fn check(name: &str, layers: &[LayerSpecification]) -> error::Result<()> {
    if layers.len() > MAX_LAYERS {
        return Err(Error::Parameter(format!(
            "the {name} has {} layers; use at most {MAX_LAYERS}",
            layers.len()
        )));
    }
    for (i, layer) in layers.iter().enumerate() {
        if !(1..=MAX_WIDTH).contains(&layer.units()) {
            return Err(Error::Parameter(format!(
                "{name}[{i}]={} is not possible: widths are 1 to {MAX_WIDTH}",
                layer.units()
            )));
        }
    }
    Ok(())
}

/// Reads a list of at most [`MAX_LAYERS`] layers.
pub(super) fn read<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<LayerSpecification>, D::Error> {
    struct Layers;
    impl<'de> Visitor<'de> for Layers {
        type Value = Vec<LayerSpecification>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list of layers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut layers = Vec::new();
            while let Some(layer) = items.next_element()? {
                if layers.len() == MAX_LAYERS {
                    return Err(A::Error::custom(format!("more than {MAX_LAYERS} layers")));
                }
                layers.push(layer);
            }
            Ok(layers)
        }
    }
    from.deserialize_seq(Layers)
}

impl Serialize for LayerSpecification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            LayerSpecification::Dense { units } => units.serialize(serializer),
        }
    }
}

/// A layer as a JSON object. New kinds of layers are added here.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum LayerObject {
    Dense { units: usize },
}

impl<'de> Deserialize<'de> for LayerSpecification {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Layer;
        impl<'de> Visitor<'de> for Layer {
            type Value = LayerSpecification;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(
                    "a number of units, or an object like {\"kind\":\"dense\",\"units\":64}",
                )
            }

            fn visit_u64<E: serde::de::Error>(self, units: u64) -> Result<Self::Value, E> {
                let units = usize::try_from(units).map_err(E::custom)?;
                Ok(LayerSpecification::Dense { units })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let LayerObject::Dense { units } =
                    LayerObject::deserialize(MapAccessDeserializer::new(map))?;
                Ok(LayerSpecification::Dense { units })
            }
        }
        deserializer.deserialize_any(Layer)
    }
}
