//! The best items of each row, by a model whose likelihood is a softmax over items.

use super::blocks::{BLOCKS_AT_ONCE, BlockSize, InferenceRun};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::matrix::{Shared, panels_of};
use crate::model::{BestOut, EncoderInput, Engine, InputStorage, Lists, Ranking, Rows};
use crate::simd::WIDTH;

/// The most rows of a block. Each block reads the decoder's weights once, from the third-level cache or from memory.
const BLOCK: usize = 256;

/// The choice of the items, with memory.
pub struct BestItemsRun {
    n: usize,
    allowed: Vec<u32>,
    new_only: bool,
    lists: Option<Lists>,
}

impl BestItemsRun {
    /// The best `n` items of each row, at least one, among those that are `allowed` (empty: all); with `new_only` among those
    /// whose value in the row of x is zero.
    pub fn new(
        engine: &Engine,
        n: usize,
        allowed: &[bool],
        new_only: bool,
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
        let mut masks = vec![0; panels_of(spec.n_features)];
        for item in (0..spec.n_features).filter(|&item| allowed.is_empty() || allowed[item]) {
            masks[item / WIDTH] |= 1 << (item % WIDTH);
        }
        Ok(BestItemsRun { n, allowed: masks, new_only, lists: None })
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
            none => none.insert(Lists::new(n, cols, run.most_threads(), block)?),
        };
        let lists = lists.share();
        let ranking = Ranking { n, allowed: &best.allowed, new_only: best.new_only };
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
