//! The architecture and where its parameters lie.

use super::layer_list::LayerSpecification;
use super::spec::{MAX_WIDTH, Specification, WeightConstraint};
use super::workspace::BatchSize;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::matrix::{ColumnMap, from_panels, panels_of, to_panels};
use crate::nn::activation::Activation;
use crate::nn::dense::{Dense, Norm};
use crate::nn::likelihood::Likelihood;
use crate::simd::{LANES, Row, WIDTH, ZERO_ROW, floats_mut};
use std::ops::Range;

/// The most parameters in a model: 16 GiB of float32 with both moments and the transposes.
const MAX_PARAMETERS: usize = 1 << 30;

/// A named parameter as PyTorch shows it: `weight` is [out, in].
#[derive(Clone, Debug)]
pub struct Tensor {
    /// For example `encoder.0.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Whether it has a gradient: a running statistic has none.
    pub trained: bool,
    place: Place,
}

impl Tensor {
    /// Whether it can have such a value: a finite one, of a variance not below zero.
    pub fn allows(&self, x: f32) -> bool {
        x.is_finite() && (x >= 0.0 || !matches!(self.place, Place::Running { which: 1, .. }))
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Some outputs of a layer.
    Weight {
        layer: usize,
        columns: ColumnMap,
    },
    Bias {
        layer: usize,
        columns: ColumnMap,
    },
    LogScale,
    /// Running means (0) or variances (1) of some outputs of a layer.
    Running {
        layer: usize,
        columns: ColumnMap,
        which: usize,
    },
}

/// The layers: the encoder's hidden ones, the head ([mu, logvar] or the code), the decoder's hidden ones, the output.
#[derive(Clone, Debug)]
pub struct Network {
    /// What the user chose.
    pub spec: Specification,
    /// In the order of the forward pass.
    pub layers: Vec<Dense>,
    /// All parameters by name, the running statistics last.
    pub tensors: Vec<Tensor>,
    /// Rows of the parameter buffer (and of each moment's and the gradient's).
    pub rows: usize,
    /// The first of them: those that the optimiser updates. Running statistics are behind them.
    pub trained_rows: usize,
    /// Panels with normalised columns.
    pub normalized_panels: usize,
    /// m0 and s0 of the topics, in panels of one row; empty for other models.
    pub prior: [Vec<Row>; 2],
    /// Rows of the buffer of transposes.
    pub transposed_rows: usize,
    /// The row where ln s starts, for a Gaussian that learns it, or a negative binomial's ln r.
    pub log_scale: Option<usize>,
}

impl Network {
    /// Lays the parameters out.
    pub fn new(spec: Specification) -> Result<Network> {
        spec.check()?;
        let widths = |x: usize, hidden: &[LayerSpecification], y: usize| -> Vec<usize> {
            let hidden: Vec<usize> = hidden.iter().map(|layer| layer.units()).collect();
            [&[x], &hidden[..], &[y]].concat()
        };
        let head = spec.latent_dim.saturating_mul(if spec.variational { 2 } else { 1 });
        let with_y = |cols: usize| cols.saturating_add(spec.conditions);
        let encoder = widths(with_y(spec.conditions_at()), &spec.encoder, head);
        // With a scale from the decoder a panel has the means of sixteen features and their log scales.
        let output = match spec.likelihood.outputs_per_feature() {
            2 => ColumnMap::Half(1).at(spec.n_features.max(1) - 1).saturating_add(1),
            _ => spec.n_features,
        };
        let decoder = widths(with_y(spec.latent_dim), &spec.decoder, output);
        let mut network = Network {
            layers: Vec::new(),
            tensors: Vec::new(),
            rows: 0,
            trained_rows: 0,
            normalized_panels: 0,
            prior: [Vec::new(), Vec::new()],
            transposed_rows: 0,
            log_scale: None,
            spec,
        };
        for (inputs, outputs) in
            encoder.windows(2).chain(decoder.windows(2)).map(|pair| (pair[0], pair[1]))
        {
            network.add_layer(inputs, outputs)?;
        }
        let (learned, n_features) =
            (network.spec.likelihood.learned_scale(), network.spec.n_features);
        network.log_scale = learned.map(|scale| network.add_rows(scale.rows(n_features)));
        if network.spec.weight_constraint == WeightConstraint::Nonnegative {
            let output = network.output();
            network.layers[output].biased = network.layers[output].outputs;
        }
        network.trained_rows = network.rows;
        network.add_topics();
        network.name_tensors();
        Ok(network)
    }

    fn add_rows(&mut self, rows: usize) -> usize {
        let start = self.rows;
        self.rows += rows;
        start
    }

    /// What a topic model has beside its layers.
    fn add_topics(&mut self) {
        let Some(topics) = &self.spec.topics else { return };
        let latent = self.spec.latent_dim;
        self.prior = [&topics.mean, &topics.scale].map(|values| {
            let mut panels = vec![ZERO_ROW; panels_of(latent)];
            floats_mut(&mut panels)[..latent].copy_from_slice(values);
            panels
        });
        let (head, output) = (self.head(), self.output());
        self.layers[head].biased = latent;
        self.normalize(head, latent);
        if self.mixes() {
            self.layers[output].biased = self.layers[output].outputs;
        } else {
            self.normalize(output, self.layers[output].outputs);
        }
    }

    /// Normalises the first `cols` outputs of a layer over the batch.
    fn normalize(&mut self, layer: usize, cols: usize) {
        let (panels, columns) = (panels_of(cols), self.normalized_panels);
        self.normalized_panels += panels;
        let start = self.add_rows(2 * panels);
        self.layers[layer].norm = Some(Norm { cols, start, columns });
    }

    /// Whether the decoder is the topics' distributions on words.
    pub fn mixes(&self) -> bool {
        matches!(self.spec.likelihood, Likelihood::Mixture(_))
    }

    /// Whether the output layer's gradient is stored before it is followed: that of the free parameters takes all of it.
    pub fn stores_output_gradient(&self) -> bool {
        self.mixes() || self.spec.weight_constraint != WeightConstraint::Free
    }

    fn add_layer(&mut self, inputs: usize, outputs: usize) -> Result<()> {
        let room = MAX_PARAMETERS - self.rows * WIDTH;
        let possible = (1..=MAX_WIDTH).contains(&inputs)
            && (1..=MAX_WIDTH).contains(&outputs)
            && (inputs + 1).checked_mul(outputs.next_multiple_of(WIDTH)).is_some_and(|n| n <= room);
        if !possible {
            return Err(Error::Parameter(format!(
                "a layer of {inputs} x {outputs} is not possible: widths are 1 to {MAX_WIDTH}, and a model has at most \
                 {MAX_PARAMETERS} parameters"
            )));
        }
        let start = self.rows;
        let mut layer = Dense { inputs, outputs, start, transposed: None, biased: 0, norm: None };
        if !self.layers.is_empty() {
            layer.transposed = Some(self.transposed_rows);
            self.transposed_rows += panels_of(inputs) * outputs;
        }
        self.add_rows(layer.rows());
        self.layers.push(layer);
        Ok(())
    }

    /// Names as in the torch module that a reader would write: an `nn.Sequential` has a layer, an activation, a
    /// layer, ..., so layer i has index 2 i.
    fn name_tensors(&mut self) {
        let (head, latent) = (self.head(), self.spec.latent_dim);
        let scaled = self.spec.likelihood.outputs_per_feature() == 2;
        let all = ColumnMap::From(0);
        let mut running = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let parts = match index {
                i if i < head => vec![(format!("encoder.{}", 2 * i), all, layer.outputs)],
                i if i == head && self.spec.variational => {
                    vec![
                        ("mu".into(), all, latent),
                        ("logvar".into(), ColumnMap::From(latent), latent),
                    ]
                }
                i if i == head => vec![("code".into(), all, latent)],
                _ if self.spec.topics.is_some() => vec![("topics".into(), all, layer.outputs)],
                i => {
                    let name = format!("decoder.{}", 2 * (i - head - 1));
                    match (scaled && i == self.output(), self.spec.n_features) {
                        (true, n) => {
                            vec![
                                (name, ColumnMap::Half(0), n),
                                ("scale".into(), ColumnMap::Half(1), n),
                            ]
                        }
                        _ => vec![(name, all, layer.outputs)],
                    }
                }
            };
            for (name, columns, outputs) in parts {
                self.tensors.push(Tensor {
                    name: format!("{name}.weight"),
                    shape: vec![outputs, layer.inputs],
                    trained: true,
                    place: Place::Weight { layer: index, columns },
                });
                if layer.biased <= columns.at(0) {
                    self.tensors.push(Tensor {
                        name: match layer.shift() {
                            Some(_) => format!("{name}.norm.bias"),
                            None => format!("{name}.bias"),
                        },
                        shape: vec![outputs],
                        trained: true,
                        place: Place::Bias { layer: index, columns },
                    });
                }
                if layer.norm.is_some_and(|norm| columns.at(0) < norm.cols) {
                    running.extend([(0, "mean"), (1, "var")].map(|(which, what)| Tensor {
                        name: format!("{name}.norm.running_{what}"),
                        shape: vec![outputs],
                        trained: false,
                        place: Place::Running { layer: index, columns, which },
                    }));
                }
            }
        }
        if let Some(scale) = self.spec.likelihood.learned_scale() {
            let features = scale.per_feature.then_some(self.spec.n_features);
            let (shape, name) = (features.into_iter().collect(), scale.name.into());
            self.tensors.push(Tensor { name, shape, trained: true, place: Place::LogScale });
        }
        self.tensors.extend(running);
    }

    /// The index of the layer that gives [mu, logvar], or the code.
    pub fn head(&self) -> usize {
        self.spec.encoder.len()
    }

    /// The index of the last layer.
    pub fn output(&self) -> usize {
        self.layers.len() - 1
    }

    /// Whether layer `index` is followed by the activation (the head and the output are not).
    pub fn activation(&self, index: usize) -> Activation {
        if index == self.head() || index == self.output() {
            Activation::Identity
        } else {
            self.spec.activation
        }
    }

    /// The features in panel `panel` of the output.
    pub fn features(&self, panel: usize) -> Range<usize> {
        let width = if self.spec.likelihood.outputs_per_feature() == 2 { LANES } else { WIDTH };
        panel * width..((panel + 1) * width).min(self.spec.n_features)
    }

    /// What a density reads of the features of panel `panel`: see [`Likelihood::parameter_row`].
    pub fn parameter_row(&self, parameters: &[Row], panel: usize) -> Row {
        let log_scales = &parameters[self.log_scale.unwrap_or(0)..];
        self.spec.likelihood.parameter_row(log_scales, &self.spec.trials, panel)
    }

    /// Brings the learned scales that are outside their range back to its ends.
    pub fn keep_scale_in_range(&self, log_scale: &mut [Row]) {
        if let Some(scale) = self.spec.likelihood.learned_scale() {
            scale.keep_in_range(log_scale, self.spec.n_features);
        }
    }

    /// An error if a learned scale is out of its range by more than the rounding of a logarithm.
    pub fn check_scale(&self, parameters: &[Row]) -> Result<()> {
        match (self.spec.likelihood.learned_scale(), self.log_scale) {
            (Some(scale), Some(start)) => scale.check(&parameters[start..], self.spec.n_features),
            _ => Ok(()),
        }
    }

    /// Copies a parameter (or its gradient, or a moment) out of a buffer with the parameters' layout.
    pub fn read(&self, tensor: &Tensor, buffer: &[Row]) -> Vec<f32> {
        let mut plain = vec![0.0; tensor.shape.iter().product()];
        self.read_into(tensor, buffer, &mut plain);
        plain
    }

    /// [`Network::read`] into memory that there is.
    pub fn read_into(&self, tensor: &Tensor, buffer: &[Row], plain: &mut [f32]) {
        let (at, rows, columns, stride) = self.place(tensor);
        from_panels(&buffer[at..], rows, columns, stride, plain);
    }

    /// The inverse of [`Network::read`].
    pub fn write(&self, tensor: &Tensor, plain: &[f32], buffer: &mut [Row]) {
        let (at, rows, columns, stride) = self.place(tensor);
        to_panels(plain, rows, columns, stride, &mut buffer[at..]);
    }

    /// First row, rows per column, columns, rows from panel to panel.
    fn place(&self, tensor: &Tensor) -> (usize, usize, ColumnMap, usize) {
        match tensor.place {
            Place::Weight { layer, columns } => {
                let layer = &self.layers[layer];
                (layer.start, layer.inputs, columns, layer.inputs + 1)
            }
            Place::Bias { layer, columns } => {
                let layer = &self.layers[layer];
                (layer.bias(0), 1, columns, layer.inputs + 1)
            }
            Place::LogScale => (self.log_scale.unwrap_or(0), 1, ColumnMap::From(0), 1),
            Place::Running { layer, columns, which } => {
                let norm = self.layers[layer].norm.expect("a layer with running statistics");
                (norm.rows(0)[which], 1, columns, 1)
            }
        }
    }

    /// The inputs of the layer that a tensor belongs to: PyTorch's fan_in. None for the scale.
    pub fn fan_in(&self, tensor: &Tensor) -> Option<usize> {
        match tensor.place {
            Place::Weight { layer, .. } | Place::Bias { layer, .. } => {
                Some(self.layers[layer].inputs)
            }
            Place::LogScale | Place::Running { .. } => None,
        }
    }

    /// The tensors that are trained: all but the running statistics.
    pub fn trained(&self) -> &[Tensor] {
        &self.tensors[..self.tensors.iter().take_while(|tensor| tensor.trained).count()]
    }

    /// An error unless examples come with exactly the conditions that the model wants.
    pub fn check_conditions(&self, x: &Source) -> Result<()> {
        match (x.conditions().map_or(0, Source::cols), self.spec.conditions) {
            (given, wanted) if given == wanted => Ok(()),
            (given, wanted) => Err(Error::Shape(format!(
                "{given} columns of conditions for a model with {wanted}"
            ))),
        }
    }

    /// The size of a batch with so many draws of z for each example.
    pub fn extent(&self, rows: usize, copies: usize) -> Result<BatchSize> {
        match copies {
            1 => Ok(BatchSize { rows, copies }),
            0 => Err(Error::Parameter("an example has at least one draw of z".into())),
            _ if self.spec.topics.is_some() => {
                Err(Error::Parameter("a topic model has one draw of z".into()))
            }
            _ if self.spec.variational => Ok(BatchSize { rows, copies }),
            _ => Err(Error::Parameter("a plain autoencoder has no draws of z".into())),
        }
    }

    /// About how many bytes an example and its activations take.
    pub fn row_bytes(&self) -> usize {
        let outputs: usize = self.layers.iter().map(|layer| layer.outputs).sum();
        let spec = &self.spec;
        size_of::<f32>()
            * (spec.conditions_at() + 2 * (spec.latent_dim + spec.conditions) + outputs)
    }

    /// Multiply-adds of one example's forward pass.
    pub fn work(&self) -> usize {
        self.work_of(BatchSize::of(1))
    }

    /// Multiply-adds of a batch's forward pass.
    pub fn work_of(&self, BatchSize { rows, copies }: BatchSize) -> usize {
        let work = |layers: &[Dense]| -> usize {
            layers.iter().map(|layer| layer.inputs * layer.outputs).sum()
        };
        let (encoder, decoder) = self.layers.split_at(self.head() + 1);
        rows.saturating_mul(work(encoder).saturating_add(copies.saturating_mul(work(decoder))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Missing, Topics, dense};
    use crate::nn::likelihood::{Bernoulli, Gaussian, Mixture, Multinomial, Scale, SquaredError};

    fn spec(likelihood: impl Into<Likelihood>) -> Specification {
        Specification {
            n_features: 37,
            latent_dim: 3,
            encoder: dense(&[33]),
            decoder: dense(&[5, 64]),
            likelihood: likelihood.into(),
            ..Specification::default()
        }
    }

    #[test]
    fn tensors_round_trip_and_do_not_overlap() {
        for scale in [Scale::PerFeature, Scale::Decoder] {
            round_trip(Network::new(spec(Gaussian { scale, ..Gaussian::default() })).unwrap());
        }
    }

    fn round_trip(network: Network) {
        let mut buffer = vec![crate::simd::ZERO_ROW; network.rows];
        let mut count = 0;
        for (n, tensor) in network.tensors.iter().enumerate() {
            let size: usize = tensor.shape.iter().product();
            let plain: Vec<f32> = (0..size).map(|i| (n * 10_000 + i + 1) as f32).collect();
            network.write(tensor, &plain, &mut buffer);
            count += size;
        }
        for (n, tensor) in network.tensors.iter().enumerate() {
            let plain = network.read(tensor, &buffer);
            let good = plain.iter().enumerate().all(|(i, &x)| x == (n * 10_000 + i + 1) as f32);
            assert!(good, "{}", tensor.name);
        }
        let filled = buffer.iter().flatten().flat_map(|l| l.0).filter(|&x| x != 0.0).count();
        assert_eq!(filled, count, "padding must stay zero");
    }

    #[test]
    fn tensors_have_torch_names_and_shapes() {
        let network =
            Network::new(spec(Gaussian { scale: Scale::Shared, ..Gaussian::default() })).unwrap();
        let named: Vec<_> =
            network.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        assert_eq!(
            named,
            [
                ("encoder.0.weight", &[33, 37][..]),
                ("encoder.0.bias", &[33]),
                ("mu.weight", &[3, 33]),
                ("mu.bias", &[3]),
                ("logvar.weight", &[3, 33]),
                ("logvar.bias", &[3]),
                ("decoder.0.weight", &[5, 3]),
                ("decoder.0.bias", &[5]),
                ("decoder.2.weight", &[64, 5]),
                ("decoder.2.bias", &[64]),
                ("decoder.4.weight", &[37, 64]),
                ("decoder.4.bias", &[37]),
                ("likelihood.log_scale", &[]),
            ]
        );
    }

    #[test]
    fn a_scale_from_the_decoder_is_a_layer_beside_the_last_one() {
        let decoder = Gaussian { scale: Scale::Decoder, ..Gaussian::default() };
        let network = Network::new(spec(decoder)).unwrap();
        let named: Vec<_> =
            network.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        assert_eq!(
            named[10..],
            [
                ("decoder.4.weight", &[37, 64][..]),
                ("decoder.4.bias", &[37]),
                ("scale.weight", &[37, 64]),
                ("scale.bias", &[37]),
            ]
        );
        let panels: Vec<_> = (0..3).map(|panel| network.features(panel)).collect();
        assert_eq!(panels, [0..16, 16..32, 32..37]);
        assert_eq!(network.layers[network.output()].outputs, 2 * 32 + 16 + 5);
    }

    fn topics(likelihood: impl Into<Likelihood>) -> Specification {
        let topics = Topics { mean: vec![0.0; 3], scale: vec![1.0; 3] };
        Specification { decoder: vec![], topics: Some(topics), ..spec(likelihood) }
    }

    #[test]
    fn a_topic_model_has_running_statistics_behind_what_is_trained() {
        for (likelihood, own) in [
            (Likelihood::from(Mixture {}), &[][..]),
            (
                Multinomial {}.into(),
                &[("topics.norm.running_mean", 37), ("topics.norm.running_var", 37)],
            ),
        ] {
            let network = Network::new(topics(likelihood)).unwrap();
            let names: Vec<_> = network.tensors.iter().map(|t| t.name.as_str()).collect();
            let trained = network.trained().len();
            assert_eq!(
                names[..6],
                [
                    "encoder.0.weight",
                    "encoder.0.bias",
                    "mu.weight",
                    "logvar.weight",
                    "logvar.bias",
                    "topics.weight"
                ]
            );
            assert_eq!(names[6..trained], ["topics.norm.bias"][..own.len() / 2]);
            let running: Vec<_> =
                network.tensors[trained..].iter().map(|t| (t.name.as_str(), t.shape[0])).collect();
            let head = [("mu.norm.running_mean", 3), ("mu.norm.running_var", 3)];
            assert_eq!(running, [&head[..], own].concat());
            round_trip(network);
        }
    }

    #[test]
    fn what_is_no_topic_model_is_refused() {
        let good = topics(Mixture {});
        let prior = |mean, scale| Some(Topics { mean, scale });
        for bad in [
            Specification { topics: None, ..good.clone() },
            Specification { likelihood: Bernoulli {}.into(), ..good.clone() },
            Specification { conditions: 2, ..good.clone() },
            Specification { variational: false, ..good.clone() },
            Specification { decoder: dense(&[5]), ..good.clone() },
            Specification { topics: prior(vec![0.0; 2], vec![1.0; 3]), ..good.clone() },
            Specification { topics: prior(vec![f32::NAN; 3], vec![1.0; 3]), ..good.clone() },
            Specification { topics: prior(vec![0.0; 3], vec![0.0; 3]), ..good.clone() },
        ] {
            assert!(Network::new(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(Network::new(good).is_ok());
    }

    #[test]
    fn a_plain_autoencoder_has_a_code_in_the_place_of_a_posterior() {
        let plain = Specification { variational: false, ..spec(SquaredError {}) };
        let network = Network::new(plain).unwrap();
        let names: Vec<_> = network.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names[2..4], ["code.weight", "code.bias"]);
        assert_eq!(network.layers[1].outputs, 3);
    }

    #[test]
    fn conditions_are_read_behind_x_and_behind_z() {
        let conditional = Specification { conditions: 4, ..spec(Bernoulli {}) };
        let network = Network::new(conditional.clone()).unwrap();
        let widths: Vec<_> = network.layers.iter().map(|l| (l.inputs, l.outputs)).collect();
        assert_eq!(widths, [(41, 33), (33, 6), (7, 5), (5, 64), (64, 37)]);
        let values = [0.0; 74];
        let (x, y) = (Source::from_slice(&values, 37), Source::from_slice(&values[..8], 4));
        assert!(network.check_conditions(&x.given(&y).unwrap()).is_ok());
        let narrow = Source::from_slice(&values[..6], 3);
        for wrong in [x, x.given(&narrow).unwrap()] {
            assert!(network.check_conditions(&wrong).is_err());
        }
        assert!(x.given(&x.select(&[0]).unwrap()).is_err(), "another number of rows");
        let plain = Specification { variational: false, ..conditional };
        assert!(Network::new(plain).is_err());
    }

    #[test]
    fn indicators_are_read_between_x_and_the_conditions() {
        for (missing, inputs) in [(Missing::Masked, 41), (Missing::Indicated, 78)] {
            let spec = Specification { missing, conditions: 4, ..spec(Bernoulli {}) };
            assert_eq!(spec.conditions_at(), inputs - 4);
            assert_eq!(Network::new(spec).unwrap().layers[0].inputs, inputs);
        }
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let mut huge = spec(Bernoulli {});
        huge.conditions = usize::MAX;
        assert!(Network::new(huge).is_err());
        let mut bad = spec(Bernoulli {});
        bad.encoder = dense(&[usize::MAX]);
        assert!(Network::new(bad.clone()).is_err());
        bad.encoder = dense(&[0]);
        assert!(Network::new(bad).is_err());
        for n_features in [0, usize::MAX] {
            let decoder = Gaussian { scale: Scale::Decoder, ..Gaussian::default() };
            let bad = Specification { n_features, ..spec(decoder) };
            assert!(Network::new(bad).is_err());
        }
    }
}
