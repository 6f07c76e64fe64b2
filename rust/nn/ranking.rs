//! The n best items of a row, from logits that arrive in any order. A better item has a larger logit or, of equal logits, a
//! lower index: a total order, so the result does not depend on the order of arrival.

use crate::matrix::{Panels, panels_of};
use crate::simd::{LANES, Lanes, Op, Row, Simd, WIDTH};
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
    least: f32,
    /// The largest difference between a logit and the number that stands for it in [`FindBest`].
    pub margin: f32,
}

impl ListState {
    /// The state of an empty list: no threshold until it has been full once.
    pub const EMPTY: ListState = ListState { len: 0, least: f32::NEG_INFINITY, margin: 0.0 };
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
            *self.state = ListState { len: self.n as u32, least: last.logit, ..*self.state };
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

/// Finds the logits of a tile, or numbers that stand for them, that are not below the threshold of their row, NaN among them.
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
            let least = s.splat(state.least - state.margin);
            let below = |v: usize, lanes: &Lanes| {
                s.nonzero(s.select(s.less(s.add(s.load(lanes), bias[v]), least), one, zero))
            };
            *found = !(below(0, &row[0]) | below(1, &row[1]) << 16);
        }
    }
}

/// Products that are computed at once, to hide the latency of their sums.
pub const TOGETHER: usize = 4;

/// Computes the products of a row h and the weights of up to sixteen items. Each is a sum over k in two vectors, k ascending
/// by panels, whose lanes are then added in a fixed tree: its bits depend on nothing else.
pub struct ItemProducts<'a> {
    /// h: a matrix [rows, k] in panels, and the row.
    pub input: (Panels<'a>, usize),
    /// The weights of all items: row `panel` of item i is at `panel * strides[0] + i * strides[1]`.
    pub weights: &'a [Row],
    /// The distances of two panels and of two items.
    pub strides: [usize; 2],
    /// The items.
    pub items: &'a [u32],
    /// The products.
    pub out: &'a mut Lanes,
}

impl Op for ItemProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (input, row) = self.input;
        let (k, [panel_stride, item_stride]) = (input.cols(), self.strides);
        for (items, out) in self.items.chunks(TOGETHER).zip(self.out.0.chunks_mut(TOGETHER)) {
            let places: [usize; TOGETHER] =
                std::array::from_fn(|i| items[i.min(items.len() - 1)] as usize * item_stride);
            let mut sums = [[s.zero(); 2]; TOGETHER];
            for panel in 0..panels_of(k) {
                let weights = &self.weights[panel * panel_stride..];
                let h = &input.panel(panel)[row];
                for v in 0..2 {
                    let used = s.first(k.saturating_sub(panel * WIDTH + v * LANES).min(LANES));
                    let h = s.select(used, s.load(&h[v]), s.zero());
                    for (sum, &place) in sums.iter_mut().zip(&places) {
                        let w = s.select(used, s.load(&weights[place][v]), s.zero());
                        sum[v] = s.fma(h, w, sum[v]);
                    }
                }
            }
            for (out, [a, b]) in out.iter_mut().zip(sums) {
                *out = s.sum(s.add(a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

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
    fn every_instruction_set_computes_the_products() {
        for k in [1usize, 15, 16, 31, 33, 64, 90] {
            let (panels, total) = (k.div_ceil(WIDTH), 7);
            // Padding is not read.
            let value = |i: usize, j: usize| {
                if j < k { ((i * 31 + j * 7) % 11) as f32 - 5.0 } else { f32::NAN }
            };
            let matrix = |rows: usize, of: usize| -> Vec<Row> {
                let row = |p: usize, r: usize| -> Row {
                    std::array::from_fn(|v| {
                        Lanes(std::array::from_fn(|l| value(of + r, p * WIDTH + v * LANES + l)))
                    })
                };
                (0..panels).flat_map(|p| (0..rows).map(move |r| row(p, r))).collect()
            };
            let (input, weights) = (matrix(2, 100), matrix(total, 0));
            let input = Panels::new(&input, 2, k);
            for count in [1, 4, 6, LANES] {
                let items: Vec<u32> = (0..count as u32).map(|i| i * 5 % total as u32).collect();
                for isa in Isa::available() {
                    let mut out = Lanes::default();
                    let input = (input, 1);
                    isa.run(ItemProducts {
                        input,
                        weights: &weights,
                        strides: [total, 1],
                        items: &items,
                        out: &mut out,
                    });
                    for (&item, out) in items.iter().zip(out.0) {
                        let exact: f32 =
                            (0..k).map(|j| value(101, j) * value(item as usize, j)).sum();
                        assert_eq!(out, exact, "{} {k} {count}", isa.name()); // integers: exact
                    }
                }
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
        let states =
            [f32::NEG_INFINITY, 3.75, 9.0].map(|least| ListState { len: 0, least, margin: 0.25 });
        for isa in Isa::available() {
            let mut found = [0; 3];
            isa.run(FindBest { products: &rows, bias: &bias, states: &states, found: &mut found });
            for r in 0..3 {
                for c in 0..WIDTH {
                    let logit = rows[r][c / LANES].0[c % LANES] + 0.5;
                    let wanted = logit >= states[r].least - 0.25 || logit.is_nan();
                    assert_eq!(found[r] >> c & 1 == 1, wanted, "{} {r} {c}", isa.name());
                }
            }
        }
    }
}
