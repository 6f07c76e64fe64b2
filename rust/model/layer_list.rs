//! The hidden layers of an encoder or a decoder in a specification, and the shapes between them.

use crate::error::{self, Error};
use crate::nn::activation::Activation;
use crate::nn::conv::Window;
use crate::nn::image::ImageShape;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most columns of a layer: a noise counter has 24 bits for a block of four columns.
pub const MAX_WIDTH: usize = 1 << 26;

/// The most hidden layers of an encoder or a decoder.
pub const MAX_LAYERS: usize = 1 << 15;

/// The largest side of a kernel, stride, padding or pool.
pub const MAX_SIDE: usize = 1 << 12;

/// A hidden layer. Its JSON is the number of units of a dense layer, or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerSpecification {
    /// A dense layer.
    Dense {
        /// The number of outputs.
        units: usize,
        /// What follows it.
        end: LayerEnd,
    },
    /// A convolution.
    Conv2d {
        /// The number of output channels.
        channels: usize,
        /// Its geometry.
        window: Window,
        /// What follows it.
        end: LayerEnd,
    },
    /// A transposed convolution.
    ConvTranspose2d {
        /// The number of output channels.
        channels: usize,
        /// The geometry of the convolution that it transposes.
        window: Window,
        /// Rows and columns of pixels added at the end.
        output_padding: [usize; 2],
        /// What follows it.
        end: LayerEnd,
    },
    /// The largest value of each channel in windows of this size.
    MaxPool2d {
        /// Pixels of a window.
        size: [usize; 2],
    },
    /// The mean of each channel in windows of this size.
    AvgPool2d {
        /// Pixels of a window.
        size: [usize; 2],
    },
    /// Each pixel repeated.
    Upsample {
        /// Repetitions.
        size: [usize; 2],
    },
    /// The outputs of a dense layer as an image, in PyTorch's order: channels, rows, columns.
    Unflatten {
        /// The image.
        shape: ImageShape,
    },
}

/// What follows a layer with weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerEnd {
    /// Batch normalisation.
    pub batch_norm: bool,
    /// The activation, if it is not the model's.
    pub activation: Option<Activation>,
}

/// Dense layers of these widths.
pub fn dense(units: &[usize]) -> Vec<LayerSpecification> {
    let end = LayerEnd::default();
    units.iter().map(|&units| LayerSpecification::Dense { units, end }).collect()
}

/// The output of a layer, or a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Columns.
    Flat(usize),
    /// An image.
    Image(ImageShape),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Shape::Flat(units) => write!(f, "{units}"),
            Shape::Image(ImageShape { height, width, channels }) => {
                write!(f, "{height} x {width} x {channels}")
            }
        }
    }
}

impl LayerSpecification {
    /// The name of its kind in Python.
    pub fn name(&self) -> &'static str {
        match self {
            LayerSpecification::Dense { .. } => "Dense",
            LayerSpecification::Conv2d { .. } => "Conv2d",
            LayerSpecification::ConvTranspose2d { .. } => "ConvTranspose2d",
            LayerSpecification::MaxPool2d { .. } => "MaxPool2d",
            LayerSpecification::AvgPool2d { .. } => "AvgPool2d",
            LayerSpecification::Upsample { .. } => "Upsample",
            LayerSpecification::Unflatten { .. } => "Unflatten",
        }
    }

    /// Whether it pools or repeats pixels: it has no weights.
    pub fn is_pool(&self) -> bool {
        matches!(
            self,
            LayerSpecification::MaxPool2d { .. }
                | LayerSpecification::AvgPool2d { .. }
                | LayerSpecification::Upsample { .. }
        )
    }

    /// The number of units of a dense layer.
    pub fn units(&self) -> Option<usize> {
        match *self {
            LayerSpecification::Dense { units, .. } => Some(units),
            _ => None,
        }
    }

    /// The output's shape, or why there is none.
    pub fn output(&self, input: Shape) -> Result<Shape, String> {
        let image = match (self, input) {
            (&LayerSpecification::Dense { units, .. }, _) => return Ok(Shape::Flat(units)),
            (&LayerSpecification::Unflatten { shape }, Shape::Flat(units)) => {
                return match shape.size() == units {
                    true => Ok(Shape::Image(shape)),
                    false => Err(format!(
                        "an image of {} has {} values",
                        Shape::Image(shape),
                        shape.size()
                    )),
                };
            }
            (LayerSpecification::Unflatten { .. }, Shape::Image(_)) => {
                return Err("its input is an image already".into());
            }
            (_, Shape::Flat(_)) => {
                return Err(
                    "it needs an image: pass image_shape=(height, width, channels), and put no Dense before it".into()
                );
            }
            (_, Shape::Image(image)) => image,
        };
        let sides = [image.height, image.width];
        let (channels, sides) = match *self {
            LayerSpecification::Conv2d { channels, window, .. } => {
                let Window { kernel, stride, padding } = window;
                let mut out = [0; 2];
                for d in 0..2 {
                    let padded = sides[d] + 2 * padding[d];
                    if kernel[d] > padded {
                        let (k, side) = (kernel[d], ["height", "width"][d]);
                        return Err(format!(
                            "the kernel's {side} {k} is larger than the padded image's, {padded}"
                        ));
                    }
                    out[d] = (padded - kernel[d]) / stride[d] + 1;
                }
                (channels, out)
            }
            LayerSpecification::ConvTranspose2d { channels, window, output_padding, .. } => {
                let Window { kernel, stride, padding } = window;
                let mut out = [0; 2];
                for d in 0..2 {
                    let full = (sides[d] - 1) * stride[d] + kernel[d] + output_padding[d];
                    out[d] = full.saturating_sub(2 * padding[d]);
                    if out[d] == 0 {
                        return Err(format!("its padding {} leaves no pixels", padding[d]));
                    }
                }
                (channels, out)
            }
            LayerSpecification::MaxPool2d { size } | LayerSpecification::AvgPool2d { size } => {
                let out = [0, 1].map(|d| sides[d] / size[d]);
                if out.contains(&0) {
                    return Err("its windows are larger than the image".into());
                }
                (image.channels, out)
            }
            LayerSpecification::Upsample { size } => {
                (image.channels, [0, 1].map(|d| sides[d].saturating_mul(size[d])))
            }
            LayerSpecification::Dense { .. } | LayerSpecification::Unflatten { .. } => {
                unreachable!("seen above")
            }
        };
        let size = sides[0].saturating_mul(sides[1]).saturating_mul(channels.next_multiple_of(32));
        match size <= MAX_WIDTH {
            true => Ok(Shape::Image(ImageShape { height: sides[0], width: sides[1], channels })),
            false => Err(format!("its output has more than {MAX_WIDTH} values")),
        }
    }

    /// An error unless its sizes are possible.
    fn check(&self) -> Result<(), String> {
        let count = |what: &str, x: usize| match (1..=MAX_WIDTH).contains(&x) {
            true => Ok(()),
            false => Err(format!("{what}={x} is not possible: use 1 to {MAX_WIDTH}")),
        };
        let sides = |what: &str, x: [usize; 2], least: usize| match x
            .iter()
            .all(|x| (least..=MAX_SIDE).contains(x))
        {
            true => Ok(()),
            false => Err(format!(
                "{what}=({}, {}) is not possible: use {least} to {MAX_SIDE}",
                x[0], x[1]
            )),
        };
        let window_of = |Window { kernel, stride, padding }: Window| {
            sides("kernel_size", kernel, 1)?;
            sides("stride", stride, 1)?;
            sides("padding", padding, 0)
        };
        match *self {
            LayerSpecification::Dense { units, .. } => count("units", units),
            LayerSpecification::Conv2d { channels, window, .. } => {
                count("channels", channels)?;
                window_of(window)
            }
            LayerSpecification::ConvTranspose2d { channels, window, output_padding, .. } => {
                count("channels", channels)?;
                window_of(window)?;
                match [0, 1].iter().all(|&d| output_padding[d] < window.stride[d]) {
                    true => Ok(()),
                    false => Err("output_padding must be below the stride".into()),
                }
            }
            LayerSpecification::MaxPool2d { size }
            | LayerSpecification::AvgPool2d { size }
            | LayerSpecification::Upsample { size } => sides("size", size, 1),
            LayerSpecification::Unflatten { shape } => {
                let ImageShape { height, width, channels } = shape;
                sides("shape", [height, width], 1)?;
                count("channels", channels)
            }
        }
    }
}

/// Layers with their indices in the user's list, where `Unflatten` does not stand: Python inserts it.
fn numbered(layers: &[LayerSpecification]) -> impl Iterator<Item = (usize, &LayerSpecification)> {
    layers.iter().scan(0, |next, layer| {
        let index = *next;
        *next += usize::from(!matches!(layer, LayerSpecification::Unflatten { .. }));
        Some((index, layer))
    })
}

/// An error unless each layer of a list is possible by itself. `name` is the list's name in Python.
fn check(name: &str, layers: &[LayerSpecification]) -> error::Result<()> {
    if layers.len() > MAX_LAYERS {
        return Err(Error::Parameter(format!(
            "the {name} has {} layers; use at most {MAX_LAYERS}",
            layers.len()
        )));
    }
    for (i, layer) in numbered(layers) {
        if let LayerSpecification::Dense { units, .. } = *layer
            && !(1..=MAX_WIDTH).contains(&units)
        {
            return Err(Error::Parameter(format!(
                "{name}[{i}]={units} is not possible: widths are 1 to {MAX_WIDTH}"
            )));
        }
        if let Err(why) = layer.check() {
            return Err(Error::Parameter(format!("{name}[{i}], {}: {why}", layer.name())));
        }
    }
    Ok(())
}

/// The shape of a list's input and those of all outputs. `name` is the list's name in Python.
pub fn shapes(
    name: &str,
    input: Shape,
    layers: &[LayerSpecification],
) -> error::Result<Vec<Shape>> {
    check(name, layers)?;
    let mut shapes = vec![input];
    for (i, layer) in numbered(layers) {
        let shape = layer.output(shapes[shapes.len() - 1]).map_err(|why| {
            let way: Vec<String> = shapes.iter().map(Shape::to_string).collect();
            let way = way.join(" -> ");
            Error::Parameter(format!(
                "{name}[{i}], {}, is not possible: {why} (sizes so far: {way})",
                layer.name()
            ))
        })?;
        shapes.push(shape);
    }
    Ok(shapes)
}

/// Deserializes a list of at most [`MAX_LAYERS`] layers.
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
            // A list that is too long must not take much memory: units take little, and only they fit a short text.
            let mut layers: Vec<Result<usize, Box<LayerSpecification>>> = Vec::new();
            while let Some(layer) = items.next_element()? {
                if layers.len() == MAX_LAYERS {
                    return Err(A::Error::custom(format!("more than {MAX_LAYERS} layers")));
                }
                layers.push(match layer {
                    LayerSpecification::Dense { units, end } if end == LayerEnd::default() => {
                        Ok(units)
                    }
                    other => Err(Box::new(other)),
                });
            }
            let end = LayerEnd::default();
            let whole = |layer: Result<usize, Box<LayerSpecification>>| match layer {
                Ok(units) => LayerSpecification::Dense { units, end },
                Err(other) => *other,
            };
            Ok(layers.into_iter().map(whole).collect())
        }
    }
    from.deserialize_seq(Layers)
}

/// The kinds of layers as objects.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Dense,
    #[serde(rename = "conv2d")]
    Conv2d,
    #[serde(rename = "conv_transpose2d")]
    ConvTranspose2d,
    #[serde(rename = "max_pool2d")]
    MaxPool2d,
    #[serde(rename = "avg_pool2d")]
    AvgPool2d,
    Upsample,
    Unflatten,
}

/// A layer as an object. Fields that its kind does not have are absent; others have defaults.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerObject {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    units: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel_size: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stride: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    padding: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_padding: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shape: Option<[usize; 3]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch_norm: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
}

impl LayerObject {
    const fn of(kind: Kind) -> LayerObject {
        LayerObject {
            kind,
            units: None,
            channels: None,
            kernel_size: None,
            stride: None,
            padding: None,
            output_padding: None,
            size: None,
            shape: None,
            batch_norm: None,
            activation: None,
        }
    }

    fn ended(self, end: LayerEnd) -> LayerObject {
        LayerObject { batch_norm: Some(end.batch_norm), activation: end.activation, ..self }
    }

    fn windowed(self, channels: usize, window: Window) -> LayerObject {
        let Window { kernel, stride, padding } = window;
        let (kernel_size, stride, padding) = (Some(kernel), Some(stride), Some(padding));
        LayerObject { channels: Some(channels), kernel_size, stride, padding, ..self }
    }

    /// The names of the fields that are present.
    fn present(&self) -> Vec<&'static str> {
        let fields = [
            ("units", self.units.is_some()),
            ("channels", self.channels.is_some()),
            ("kernel_size", self.kernel_size.is_some()),
            ("stride", self.stride.is_some()),
            ("padding", self.padding.is_some()),
            ("output_padding", self.output_padding.is_some()),
            ("size", self.size.is_some()),
            ("shape", self.shape.is_some()),
            ("batch_norm", self.batch_norm.is_some()),
            ("activation", self.activation.is_some()),
        ];
        fields.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }

    fn layer(self) -> Result<LayerSpecification, String> {
        let allowed: &[&str] = match self.kind {
            Kind::Dense => &["units", "batch_norm", "activation"],
            Kind::Conv2d => {
                &["channels", "kernel_size", "stride", "padding", "batch_norm", "activation"]
            }
            Kind::ConvTranspose2d => &[
                "channels",
                "kernel_size",
                "stride",
                "padding",
                "output_padding",
                "batch_norm",
                "activation",
            ],
            Kind::MaxPool2d | Kind::AvgPool2d | Kind::Upsample => &["size"],
            Kind::Unflatten => &["shape"],
        };
        if let Some(name) = self.present().into_iter().find(|name| !allowed.contains(name)) {
            return Err(format!("unknown field `{name}`"));
        }
        let missing = |name: &str| format!("missing field `{name}`");
        let end =
            LayerEnd { batch_norm: self.batch_norm.unwrap_or(false), activation: self.activation };
        let window = || {
            Ok::<_, String>(Window {
                kernel: self.kernel_size.ok_or_else(|| missing("kernel_size"))?,
                stride: self.stride.unwrap_or([1; 2]),
                padding: self.padding.unwrap_or([0; 2]),
            })
        };
        let channels = || self.channels.ok_or_else(|| missing("channels"));
        let size = || self.size.ok_or_else(|| missing("size"));
        Ok(match self.kind {
            Kind::Dense => LayerSpecification::Dense {
                units: self.units.ok_or_else(|| missing("units"))?,
                end,
            },
            Kind::Conv2d => {
                LayerSpecification::Conv2d { channels: channels()?, window: window()?, end }
            }
            Kind::ConvTranspose2d => LayerSpecification::ConvTranspose2d {
                channels: channels()?,
                window: window()?,
                output_padding: self.output_padding.unwrap_or([0; 2]),
                end,
            },
            Kind::MaxPool2d => LayerSpecification::MaxPool2d { size: size()? },
            Kind::AvgPool2d => LayerSpecification::AvgPool2d { size: size()? },
            Kind::Upsample => LayerSpecification::Upsample { size: size()? },
            Kind::Unflatten => {
                let [height, width, channels] = self.shape.ok_or_else(|| missing("shape"))?;
                LayerSpecification::Unflatten { shape: ImageShape { height, width, channels } }
            }
        })
    }
}

impl Serialize for LayerSpecification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = match *self {
            LayerSpecification::Dense { units, end } if end == LayerEnd::default() => {
                return units.serialize(serializer);
            }
            LayerSpecification::Dense { units, end } => {
                LayerObject { units: Some(units), ..LayerObject::of(Kind::Dense) }.ended(end)
            }
            LayerSpecification::Conv2d { channels, window, end } => {
                LayerObject::of(Kind::Conv2d).windowed(channels, window).ended(end)
            }
            LayerSpecification::ConvTranspose2d { channels, window, output_padding, end } => {
                let object = LayerObject::of(Kind::ConvTranspose2d).windowed(channels, window);
                LayerObject { output_padding: Some(output_padding), ..object }.ended(end)
            }
            LayerSpecification::MaxPool2d { size } => {
                LayerObject { size: Some(size), ..LayerObject::of(Kind::MaxPool2d) }
            }
            LayerSpecification::AvgPool2d { size } => {
                LayerObject { size: Some(size), ..LayerObject::of(Kind::AvgPool2d) }
            }
            LayerSpecification::Upsample { size } => {
                LayerObject { size: Some(size), ..LayerObject::of(Kind::Upsample) }
            }
            LayerSpecification::Unflatten { shape } => {
                let shape = Some([shape.height, shape.width, shape.channels]);
                LayerObject { shape, ..LayerObject::of(Kind::Unflatten) }
            }
        };
        object.serialize(serializer)
    }
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
                Ok(LayerSpecification::Dense { units, end: LayerEnd::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let object = LayerObject::deserialize(MapAccessDeserializer::new(map))?;
                object.layer().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Layer)
    }
}
