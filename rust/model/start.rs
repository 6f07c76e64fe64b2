//! The start of training at the level of the data: biases and random weights of the output layer, and the likelihood's
//! scales. See [`crate::nn::likelihood::start`].

use super::engine::Engine;
use super::layer_list::LayerSpecification;
use super::tensor::Tensor;
use crate::error::{Result, collected, copied};
use crate::nn::likelihood::{Column, Level, Start};

impl Engine {
    /// Moves the random initial parameters to the level of training data with these columns.
    pub fn start(&mut self, columns: &[Column]) -> Result<()> {
        self.require_training("the start of training")?;
        let level = Level::of(columns);
        let channels = self.channels(columns)?;
        let likelihood = &self.network.spec.likelihood;
        let starts_of = |columns: &[Column]| -> Result<Option<Vec<Start>>> {
            if let Some(groups) = likelihood.groups() {
                return Ok(groups.starts(columns));
            }
            let starts = columns.iter().map(|column| likelihood.start(column, &level));
            let starts = collected(starts)?;
            let all = starts.iter().all(Option::is_some);
            Ok(all.then(|| starts.into_iter().flatten().collect()))
        };
        let (Some(mut outputs), Some(features)) = (starts_of(&channels)?, starts_of(columns)?)
        else {
            return Ok(());
        };
        for (j, start) in outputs.iter_mut().enumerate() {
            *start = self.in_units(*start, j);
        }
        self.start_output(&outputs)?;
        self.start_scales(&features)?;
        self.centre_input(columns)?;
        self.start_linear_encoder()?;
        self.network.constrain(&mut self.parameters);
        self.refresh()
    }

    /// The start of an output in the units of the output layer.
    fn in_units(&self, start: Start, output: usize) -> Start {
        let spec = &self.network.spec;
        if spec.likelihood.groups().is_some() {
            let (shift, scale) = self.network.head.units_of(output);
            let of = |x: f64| (x - f64::from(shift)) / f64::from(scale);
            let spread = start.spread / f64::from(scale);
            return Start { output: of(start.output), spread, ..start };
        }
        let Some(by) = spec.standardize.as_ref().filter(|_| spec.likelihood.output_is_mean())
        else {
            return start;
        };
        let scale = f64::from(by.scale(output));
        // A shift is the mean of its own column.
        let output = if by.keeps_zeros() { start.output / scale } else { 0.0 };
        Start { output, spread: start.spread / scale, ..start }
    }

    /// Subtracts the means from the standardised input of a first dense layer by its bias.
    fn centre_input(&mut self, columns: &[Column]) -> Result<()> {
        let spec = &self.network.spec;
        let Some(by) = spec.input_standardize().filter(|by| by.keeps_zeros()) else {
            return Ok(());
        };
        if spec.image_shape.is_some() {
            return Ok(());
        }
        let means = columns.iter().enumerate();
        let means = collected(means.map(|(j, column)| column.mean as f32 / by.scale(j)))?;
        let tensors = self.network.encoder.first().map_or(Vec::new(), |layer| layer.tensors());
        for pair in tensors.windows(2) {
            let [weight, bias] = pair else { continue };
            if weight.shape.len() != 2 || bias.shape.len() != 1 {
                continue;
            }
            let (weights, mut biases) =
                (weight.read(&self.parameters)?, bias.read(&self.parameters)?);
            for (bias, weights) in biases.iter_mut().zip(weights.chunks(weight.shape[1])) {
                *bias -= weights.iter().zip(&means).map(|(w, mean)| w * mean).sum::<f32>();
            }
            bias.write(&biases, &mut self.parameters);
        }
        Ok(())
    }

    /// Scales the random weights of the log variance in an encoder without hidden layers.
    fn start_linear_encoder(&mut self) -> Result<()> {
        if !self.network.spec.encoder.is_empty() {
            return Ok(());
        }
        for layer in &self.network.encoder {
            for tensor in layer.tensors().iter().filter(|tensor| tensor.name == "logvar.weight") {
                let mut values = tensor.read(&self.parameters)?;
                values.iter_mut().for_each(|w| *w *= LOG_VARIANCE_SPREAD);
                tensor.write(&values, &mut self.parameters);
            }
        }
        Ok(())
    }

    /// The last hidden layer of the decoder with weights: the output, if the decoder is convolutional.
    fn last_layer(&self) -> Option<&LayerSpecification> {
        self.network.spec.decoder.iter().rfind(|layer| !layer.is_pool())
    }

    /// The moments behind each output of the last layer: of all pixels of a channel for a convolution.
    fn channels(&self, columns: &[Column]) -> Result<Vec<Column>> {
        let channels = match (self.last_layer(), self.network.spec.image()) {
            (
                Some(
                    LayerSpecification::Conv2d { .. } | LayerSpecification::ConvTranspose2d { .. },
                ),
                Some(image),
            ) => image.channels,
            _ => return copied(columns),
        };
        let of = |channel| collected(columns.iter().skip(channel).step_by(channels).copied());
        (0..channels).map(|channel| Ok(Column::of_all(&of(channel)?))).collect()
    }

    /// Sets the biases of the output layer and scales its weights.
    fn start_output(&mut self, starts: &[Start]) -> Result<()> {
        let transposed =
            matches!(self.last_layer(), Some(LayerSpecification::ConvTranspose2d { .. }));
        let layers = self.network.decoder.iter().rev();
        let Some(tensors) = layers.map(|layer| layer.tensors()).find(|found| !found.is_empty())
        else {
            return Ok(());
        };
        // Codes have more variance than hidden units.
        let linear = if self.network.spec.decoder.is_empty() { LINEAR_SPREAD } else { 1.0 };
        let name = format!("{}.", self.network.spec.likelihood.second_output());
        let second = |tensor: &Tensor| tensor.name.starts_with(&name);
        for tensor in &tensors {
            let mut values = tensor.read(&self.parameters)?;
            if tensor.name.ends_with(".bias") {
                for (value, start) in values.iter_mut().zip(starts) {
                    let y = if second(tensor) { start.second } else { start.output };
                    *value = y as f32;
                }
            } else if tensor.name.ends_with(".weight") {
                // [out, in, ...], or [in, out, ...] for a transposed convolution.
                let outputs = tensor.shape[usize::from(transposed)];
                let inner = tensor.shape[1 + usize::from(transposed)..].iter().product();
                let chunks = values.chunks_mut(inner);
                for (weights, start) in chunks.zip(starts[..outputs].iter().cycle()) {
                    let spread = if second(tensor) { SCALE_SPREAD } else { linear * start.spread };
                    weights.iter_mut().for_each(|w| *w *= spread as f32);
                }
            }
            tensor.write(&values, &mut self.parameters);
        }
        Ok(())
    }

    /// Sets the learned scales.
    fn start_scales(&mut self, starts: &[Start]) -> Result<()> {
        for tensor in self.network.head.tensors() {
            let mut values = tensor.read(&self.parameters)?;
            // [n_features], or [n_features, conditions]
            let each = tensor.shape.get(1).copied().unwrap_or(1);
            let starts = &starts[tensor.first_column()..];
            for (values, start) in values.chunks_mut(each).zip(starts) {
                values.fill(start.scale.ln() as f32);
            }
            tensor.write(&values, &mut self.parameters);
        }
        Ok(())
    }
}

/// The factor of the random weights of a decoder without hidden layers.
const LINEAR_SPREAD: f64 = 0.5;
/// The factor of the random weights of the log variance in a linear encoder. The KL is exponential in it, and an outlier's
/// input is far larger than hidden units are.
const LOG_VARIANCE_SPREAD: f32 = 0.1;
/// The factor of the random weights of the decoder's log scale u of a Gaussian. Noise of u costs more than that of the
/// mean: its Fisher information is 2, and the loss is exponential in it.
const SCALE_SPREAD: f64 = 0.25;
