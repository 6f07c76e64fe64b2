//! A layer for tests only: multiplies each column by a learned factor. It is an example of a new kind of layer.
#![allow(unsafe_code)]

use super::Layer;
use crate::matrix::{ColumnMap, RowMap, Shared, panels_of, vectors_of};
use crate::model::memory::{BatchView, Matrix, Planner, Port, Slot};
use crate::model::sink::Sink;
use crate::model::tensor::{Layout, Place, Tensor, TensorKind};
use crate::simd::{Row, WIDTH, ZERO_ROW, floats, floats_mut};
use crate::threads::Worker;

/// y = a x, elementwise.
#[derive(Debug)]
pub struct Scaling {
    cols: usize,
    /// The row of a's first panel.
    start: usize,
}

impl Scaling {
    /// Allocates the row of factors of each panel.
    pub fn new(layout: &mut Layout, cols: usize) -> Scaling {
        Scaling { cols, start: layout.rows(panels_of(cols)) }
    }

    /// `to` = `from` times the factors.
    fn scale(&self, batch: &BatchView, worker: &Worker, from: Matrix, to: Matrix) {
        worker.phase(panels_of(self.cols), |panel| {
            // SAFETY: the panel is this item's; parameters change in the update only.
            let (rows, factors) = unsafe {
                let x = batch.read(from, panel, 0..batch.draws()).to_vec();
                let y = batch.write(to, panel, 0..batch.draws());
                y.copy_from_slice(&x);
                (y, &batch.weights()[self.start + panel])
            };
            for row in rows.chunks_mut(1) {
                floats_mut(row).iter_mut().zip(floats(factors)).for_each(|(x, a)| *x *= a);
            }
        });
    }
}

impl Layer for Scaling {
    fn outputs(&self) -> usize {
        self.cols
    }

    fn tensors(&self) -> Vec<Tensor> {
        let place = Place {
            start: self.start,
            rows: 1,
            order: RowMap::Same,
            columns: ColumnMap::From(0),
            stride: 1,
        };
        let (kind, shape) = (TensorKind::Trained, vec![self.cols]);
        vec![Tensor { name: "scaling".into(), shape, kind, fan_in: Some(1), place }]
    }

    fn plan(&self, planner: &mut Planner, below: Port, _: bool) -> Slot {
        let above = Port::placed(planner, self.cols, below.value.copies);
        Slot { below, above, rows: 0 }
    }

    fn forward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.scale(batch, worker, slot.below.value, slot.above.value);
    }

    fn backward(&self, batch: &BatchView, worker: &Worker, slot: &Slot) {
        self.scale(batch, worker, slot.above.gradient, slot.below.gradient);
    }

    /// da = sum over the batch of x dy.
    fn update(&self, batch: &BatchView, worker: &Worker, slot: &Slot, _: Shared<Row>, sink: Sink) {
        worker.phase(panels_of(self.cols), |panel| {
            // SAFETY: both are from earlier phases; the panel's factors are this item's.
            unsafe {
                let mut sums = [ZERO_ROW];
                let rows = 0..batch.draws();
                let x = batch.read(slot.below.value, panel, rows.clone());
                let dy = batch.read(slot.above.gradient, panel, rows);
                for (x, dy) in x.iter().zip(dy) {
                    let products = floats(x).iter().zip(floats(dy)).map(|(x, dy)| x * dy);
                    floats_mut(&mut sums).iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
                }
                let used = (self.cols - panel * WIDTH).min(WIDTH);
                floats_mut(&mut sums)[used..].fill(0.0);
                let row = self.start + panel;
                let vectors = vectors_of(self.cols, panel);
                sink.accept(batch.isa, batch.parameters, row..row + 1, &sums, vectors);
            }
        });
    }
}
