//! The best items of each row, by a model whose likelihood is a softmax over items.

use super::blocks::{BLOCKS_AT_ONCE, BlockSize, InferenceRun};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::matrix::{Shared, panels_of};
use crate::model::{
    BestOut, Bounds, Dense, EncoderInput, Engine, InputStorage, Lists, Ranking, Rows, Search,
    StateBuffer,
};
use crate::simd::{Row, WIDTH, floats};

/// The most rows of a block. Each block reads the decoder's weights once, from the third-level cache or from memory.
const BLOCK: usize = 256;

/// The choice of the items, with memory.
pub struct BestItemsRun {
    n: usize,
    allowed: Vec<u32>,
    new_only: bool,
    bounds: Option<Bounds>,
    largest: f32,
    /// The transposed weights of the output layer, if the engine has only their words.
    transposed: Option<Vec<Row>>,
    lists: Option<Lists>,
}

impl BestItemsRun {
    /// The best `n` items of each row, at least one, among those that are `allowed` (empty: all); with `new_only` among those
    /// whose value in the row of x is zero. `bounds` are the arguments of [`Bounds::new`], with which few logits are
    /// computed: results do not depend on them. The output layer multiplies float32, whatever the model's precision.
    pub fn new(
        engine: &Engine,
        n: usize,
        allowed: &[bool],
        new_only: bool,
        bounds: Option<(&[f32], &[f32], &[u32])>,
    ) -> Result<BestItemsRun> {
        let spec = &engine.network.spec;
        if !spec.likelihood.is_softmax() {
            return Err(Error::Parameter("only the multinomial likelihood ranks items".into()));
        }
        if n == 0 || (!allowed.is_empty() && allowed.len() != spec.n_features) {
            return Err(Error::Parameter(
                "n must be positive, and allowed have a value for each item".into(),
            ));
        }
        let Some(layer) = engine.network.output().dense() else {
            return Err(Error::Parameter("only a dense output layer ranks items".into()));
        };
        let parameters = engine.buffer(StateBuffer::Value);
        let (own, transposed) = match layer.all_transposed() {
            Some(rows) => (None, &engine.derived()[rows]),
            None => (Some(layer.transpose_of(engine.isa, parameters)?), [].as_slice()),
        };
        let shape = [layer.inputs, spec.n_features];
        let transposed = own.as_deref().unwrap_or(transposed);
        let bounds = bounds.map(|b| Bounds::new(b, shape, transposed)).transpose()?;
        let (largest, transposed) = match bounds {
            Some(_) => (0.0, None),
            None => (largest_norm(layer, parameters), own),
        };
        let mut masks = vec![0; panels_of(spec.n_features)];
        for item in (0..spec.n_features).filter(|&item| allowed.is_empty() || allowed[item]) {
            masks[item / WIDTH] |= 1 << (item % WIDTH);
        }
        Ok(BestItemsRun { n, allowed: masks, new_only, bounds, largest, transposed, lists: None })
    }
}

impl Engine {
    /// The items with the largest logits at z = mu(x) of each row, the best first, of equal ones the lower index, and the
    /// logits, each [n, best.n]; -1 and -infinity if there are no more items.
    pub fn best_items(
        &mut self,
        x: &Source,
        best: &mut BestItemsRun,
        items: &mut [i32],
        logits: &mut [f32],
        run: &mut InferenceRun,
    ) -> Result<bool> {
        let (n, cols) = (best.n, self.network.spec.n_features);
        let block = BLOCK.min(x.rows());
        let size = BlockSize { block, copies: 1, memory: 0, passes: 1, at_once: BLOCKS_AT_ONCE };
        let storage = InputStorage::Batch.of(&self.network.spec, x, block);
        let lists = match &mut best.lists {
            Some(lists) => lists,
            none => none.insert({
                let width = best.bounds.as_ref().map_or(0, Bounds::width);
                Lists::new([n, cols], run.most_threads(), block, width)?
            }),
        };
        let lists = lists.share();
        let (largest, transposed) = (best.largest, best.transposed.as_deref());
        let logits_of_all = Search::Logits { largest, transposed };
        let search = best.bounds.as_ref().map_or(logits_of_all, Search::Bounds);
        let ranking = Ranking { n, allowed: &best.allowed, new_only: best.new_only, search };
        let out = BestOut { items: Shared::new(items), logits: Shared::new(logits) };
        run.walk_in(self, x, storage, size, &|worker, buffers, part, rows, start, check| {
            let pass = buffers.pass(part, rows);
            pass.load(worker, x, (false, EncoderInput::Batch), Rows::From(start), Some(check));
            pass.encode(worker);
            pass.take_means(worker);
            pass.decode(worker);
            pass.best(worker, ranking, (lists, part), (x, start, check), out);
        })
    }
}

/// The largest norm of the weights of an output of a dense layer; `parameters` is the buffer of all parameters.
fn largest_norm(layer: &Dense, parameters: &[Row]) -> f32 {
    let mut largest = 0.0f32;
    for panel in 0..panels_of(layer.outputs) {
        let mut sums = [0.0f32; WIDTH];
        for row in &parameters[layer.weights(panel)] {
            sums.iter_mut().zip(floats(row)).for_each(|(sum, x)| *sum += x * x);
        }
        largest = sums.iter().fold(largest, |largest, &sum| largest.max(sum));
    }
    largest.sqrt()
}
