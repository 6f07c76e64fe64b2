//! The n best items of a row, from logits that arrive in any order. A better item has a larger logit or, of equal logits, a
//! lower index: a total order, so the result does not depend on the order of arrival.

use crate::simd::{Lanes, Op, Row, Simd};
use std::cmp::Ordering;

/// An item with its logit, which is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The logit.
    pub logit: f32,
    /// The item.
    pub item: u32,
}

/// A placeholder in memory that is not in use.
pub const UNUSED: Ranked = Ranked { logit: f32::NEG_INFINITY, item: u32::MAX };

/// The better item first.
fn by_rank(a: &Ranked, b: &Ranked) -> Ordering {
    let logits = b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal);
    logits.then(a.item.cmp(&b.item))
}

/// The state of a list of the best items: its length, and a logit below which no item is among them.
#[derive(Clone, Copy, Debug)]
pub struct ListState {
    len: u32,
    /// The threshold: -infinity until the list has been full once.
    pub least: f32,
}

impl ListState {
    /// The state of an empty list.
    pub const EMPTY: ListState = ListState { len: 0, least: f32::NEG_INFINITY };
}

/// A list of the best `n` items. Its memory has room for more, so that a selection serves many items.
pub struct BestItems<'a> {
    /// The number of items wanted, at least one.
    pub n: usize,
    /// The memory: [`BestItems::room`] items.
    pub items: &'a mut [Ranked],
    /// The state.
    pub state: &'a mut ListState,
}

impl BestItems<'_> {
    /// The memory of a list of the best `n` of `total` items.
    pub fn room(n: usize, total: usize) -> usize {
        (2 * n + 32).min(total.max(1))
    }

    /// Adds an item.
    #[inline]
    pub fn add(&mut self, item: Ranked) {
        if item.logit < self.state.least {
            return;
        }
        if self.state.len as usize == self.items.len() {
            self.select();
        }
        self.items[self.state.len as usize] = item;
        self.state.len += 1;
        if self.state.len as usize == self.items.len() {
            self.select();
        }
    }

    /// Drops all but the best `n` items.
    #[inline(never)]
    fn select(&mut self) {
        let len = self.state.len as usize;
        if len > self.n {
            let (_, last, _) = self.items[..len].select_nth_unstable_by(self.n - 1, by_rank);
            *self.state = ListState { len: self.n as u32, least: last.logit };
        }
    }

    /// The items so far, in any order.
    pub fn unsorted(&self) -> &[Ranked] {
        &self.items[..self.state.len as usize]
    }

    /// The best `n` items, or all if there are fewer, the best first.
    pub fn sorted(&mut self) -> &[Ranked] {
        self.select();
        let found = &mut self.items[..self.state.len as usize];
        found.sort_unstable_by(by_rank);
        found
    }
}

/// Finds the logits of a tile that are not below the threshold of their row, NaN among them.
pub struct FindBest<'a> {
    /// The products of the tile.
    pub products: &'a [Row],
    /// The panel's bias.
    pub bias: &'a Row,
    /// The states of the rows' lists.
    pub states: &'a [ListState],
    /// The output: a bit for each column of a row.
    pub found: &'a mut [u32],
}

impl Op for FindBest<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let bias = [s.load(&self.bias[0]), s.load(&self.bias[1])];
        let [one, zero] = [s.splat(1.0), s.zero()];
        for ((row, state), found) in self.products.iter().zip(self.states).zip(self.found) {
            let least = s.splat(state.least);
            let below = |v: usize, lanes: &Lanes| {
                s.nonzero(s.select(s.less(s.add(s.load(lanes), bias[v]), least), one, zero))
            };
            *found = !(below(0, &row[0]) | below(1, &row[1]) << 16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, LANES, WIDTH};

    #[test]
    fn the_best_items_are_found_in_any_order() {
        // Steps and totals are coprime: each order is a permutation.
        for (total, n) in [(1, 1), (5, 9), (53, 3), (307, 10), (307, 299), (1009, 40)] {
            let item = |i: usize| Ranked { logit: (i * 7919 % 31) as f32 - 15.0, item: i as u32 };
            let mut expected: Vec<Ranked> = (0..total).map(item).collect();
            expected.sort_by(by_rank); // many ties
            expected.truncate(n);
            let mut memory = vec![UNUSED; BestItems::room(n, total)];
            for step in [1, 7, 13] {
                let mut state = ListState::EMPTY;
                let mut list = BestItems { n, items: &mut memory, state: &mut state };
                (0..total).for_each(|i| list.add(item(i * step % total)));
                assert!(list.unsorted().len() >= n.min(total));
                assert_eq!(list.sorted(), expected, "{total} {n} {step}");
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same_columns() {
        let value = |i: usize| (i % 5) as f32;
        let mut rows: Vec<Row> = (0..3)
            .map(|r| std::array::from_fn(|v| Lanes(std::array::from_fn(|l| value(r + 16 * v + l)))))
            .collect();
        rows[1][1].0[3] = f32::NAN;
        let bias: Row = std::array::from_fn(|_| Lanes([0.5; LANES]));
        let states = [f32::NEG_INFINITY, 3.5, 9.0].map(|least| ListState { len: 0, least });
        for isa in Isa::available() {
            let mut found = [0; 3];
            isa.run(FindBest { products: &rows, bias: &bias, states: &states, found: &mut found });
            for r in 0..3 {
                for c in 0..WIDTH {
                    let logit = rows[r][c / LANES].0[c % LANES] + 0.5;
                    let wanted = logit >= states[r].least || logit.is_nan();
                    assert_eq!(found[r] >> c & 1 == 1, wanted, "{} {r} {c}", isa.name());
                }
            }
        }
    }
}
