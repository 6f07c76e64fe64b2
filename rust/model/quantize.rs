//! From a network to its form with weights in bytes.

use super::engine::{Engine, StateBuffer};
use super::network::Network;
use super::spec::{Precision, Specification};
use super::tensor::TensorKind;
use crate::error::{Error, Result};
use crate::nn::quantize::quantize_weights;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Engine {
    /// The model with weights in bytes: for inference only, and smaller.
    pub fn quantized(&self) -> Result<Engine> {
        self.require_training("quantize")?; // it has weights in float32
        let spec = Specification { precision: Precision::Int8, ..self.network.spec.clone() };
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
            if tensor.is_int8() {
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
        match self.network.spec.is_int8() {
            false => Ok(()),
            true => Err(Error::Parameter(format!(
                "{what} needs weights in float32, but this model is quantised to int8, for inference only: use the model \
                 that it was made from"
            ))),
        }
    }
}
