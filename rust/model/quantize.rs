//! From a network to its form for inference only: with weights in bytes, or in bfloat16.

use super::engine::{Engine, StateBuffer};
use super::network::Network;
use super::spec::{Precision, Specification};
use super::tensor::TensorKind;
use crate::error::{Error, Result};
use crate::nn::quantize::quantize_weights;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Engine {
    /// The model with weights in bytes or in bfloat16 alone: for inference only, and smaller.
    pub fn quantized(&self, precision: Precision) -> Result<Engine> {
        self.require_training("quantize")?; // it has weights in float32
        let inference_only = precision == Precision::Bf16;
        let spec = Specification { precision, inference_only, ..self.network.spec.clone() };
        if spec.trains() {
            return Err(Error::Parameter("quantize to \"int8\" or \"bf16\"".into()));
        }
        let mut engine = Engine::empty(Network::new(spec)?)?;
        let tensors = engine.network.tensors.clone();
        for tensor in &tensors {
            if tensor.kind == TensorKind::Scale {
                continue; // set with its weights
            }
            let named = |name: &str| {
                let found = self.network.tensors.iter().find(|own| own.name == name);
                found.expect("both networks have the same layers")
            };
            let mut values = self.parameter(named(&tensor.name))?;
            if let Some(bad) =
                values.iter().find(|x| tensor.kind == TensorKind::Bf16 && !tensor.allows(**x))
            {
                return Err(Error::Parameter(format!(
                    "{} contains {bad}, which bfloat16 rounds to infinity: leave the model in float32",
                    tensor.name
                )));
            }
            if tensor.kind == TensorKind::Int8 {
                let rows = values.chunks_exact_mut(tensor.shape[1]);
                let scales: Vec<f32> = rows.map(quantize_weights).collect();
                let name = format!("{}_scale", tensor.name);
                let scale = tensors.iter().find(|tensor| tensor.name == name);
                let scale = scale.expect("weights in bytes have scales");
                scale.write(&scales, engine.buffer_mut(StateBuffer::Value).1);
            }
            tensor.write(&values, engine.buffer_mut(StateBuffer::Value).1);
        }
        engine.refresh()?;
        engine.steps = self.steps;
        engine.optimizer_start = self.steps;
        engine.epochs = self.epochs;
        engine.clamped = AtomicUsize::new(self.clamped.load(Ordering::Relaxed));
        Ok(engine)
    }

    /// Returns an error if the model is for inference only; `what` is what was asked for.
    pub fn require_training(&self, what: &str) -> Result<()> {
        let precision = match () {
            () if self.network.spec.trains() => return Ok(()),
            () if self.network.spec.is_int8() => "int8",
            () => "bf16",
        };
        Err(Error::Parameter(format!(
            "{what} needs weights in float32, but this model is quantised to {precision}, for inference only: use the \
             model that it was made from"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dense;

    #[test]
    fn a_model_in_bf16_has_no_other_weights() {
        let (encoder, decoder) = (dense(&[70, 33]), dense(&[50]));
        let spec = Specification {
            n_features: 101,
            latent_dim: 5,
            encoder,
            decoder,
            ..Default::default()
        };
        let engine = Engine::new(spec).unwrap();
        let quantized = engine.quantized(Precision::Bf16).unwrap();
        let rows = |engine: &Engine| {
            [StateBuffer::Value, StateBuffer::First, StateBuffer::Second]
                .map(|part| engine.buffer(part).len())
        };
        assert_eq!(rows(&engine)[1], rows(&engine)[0]);
        let [values, first, second] = rows(&quantized);
        assert!(values < rows(&engine)[0] * 11 / 20, "{values} of {}", rows(&engine)[0]);
        assert_eq!((first, second, quantized.derived().len()), (0, 0, 0));
        assert!(engine.quantized(Precision::Float32).is_err());
    }
}
