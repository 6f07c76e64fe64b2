//! The E step: the posterior of the ability of each pattern of answers, and the expected numbers of students at each
//! node in each category of each task (the "artificial data" of Bock & Aitkin, equations 14 and 15).

use super::answers::Answers;
use super::exp::exp;
use super::nodes::CHUNK;
use crate::error::{Result, filled};
use crate::simd::{Isa, Op, Simd};
use crate::threads::{run_cancellable, split};
use std::sync::{Mutex, PoisonError};

/// The most blocks of patterns, the least patterns of a block, and the numbers in the tables of all blocks.
const BLOCKS: usize = 32;
const PATTERNS: usize = 64;
const NUMBERS: usize = 1 << 23;

/// Sums over the students.
pub struct Expected {
    /// Expected students in each category of each task at each node, [rows, nodes].
    pub counts: Vec<f64>,
    /// Expected students of each group at each node, [groups, nodes].
    pub groups: Vec<f64>,
    /// Sum of log p(Y_s), nats, without binomial coefficients.
    pub log_likelihood: f64,
    /// Sum of E[ln p(Y_s | alpha) | Y_s].
    pub given_ability: f64,
}

/// The E step. `log_p` holds ln p of the categories, [rows, nodes]; `log_weights` those of the nodes, [groups, nodes].
/// None if it was interrupted.
pub fn expect(
    isa: Isa,
    answers: &Answers,
    log_p: &[f64],
    log_weights: &[f64],
    n_nodes: usize,
    threads: usize,
) -> Result<Option<Expected>> {
    let n_groups = log_weights.len() / n_nodes;
    let mut base = vec![0.0; n_nodes];
    let mut relative = filled(0.0, Some(log_p.len()))?;
    for task in &answers.tasks {
        let own = task.first_row * n_nodes..(task.first_row + task.marks.len()) * n_nodes;
        let reference = &log_p[(task.first_row + task.reference) * n_nodes..][..n_nodes];
        base.iter_mut().zip(reference).for_each(|(sum, log_p)| *sum += log_p);
        for (to, from) in relative[own.clone()].chunks_mut(n_nodes).zip(log_p[own].chunks(n_nodes))
        {
            for ((to, from), reference) in to.iter_mut().zip(from).zip(reference) {
                *to = from - reference;
            }
        }
    }
    let mut start = log_weights.to_vec();
    for group in start.chunks_mut(n_nodes) {
        group.iter_mut().zip(&base).for_each(|(start, base)| *start += base);
    }
    let n_blocks =
        answers.patterns().div_ceil(PATTERNS).min(NUMBERS / log_p.len().max(1)).clamp(1, BLOCKS);
    let mut blocks = Vec::new();
    for _ in 0..n_blocks {
        let counts = filled(0.0, Some(log_p.len()))?;
        let groups = filled(0.0, Some(log_weights.len()))?;
        blocks.push(Mutex::new(Expected {
            counts,
            groups,
            log_likelihood: 0.0,
            given_ability: 0.0,
        }));
    }
    let finished = run_cancellable(threads, |worker| {
        worker.phase(n_blocks, |index| {
            let mut sums = blocks[index].lock().unwrap_or_else(PoisonError::into_inner);
            let (first, last) = {
                let range = split(answers.patterns(), n_blocks, index);
                (range.start, range.end)
            };
            isa.run(Block {
                answers,
                first,
                last,
                start: &start,
                relative: &relative,
                n_nodes,
                sums: &mut sums,
            });
        });
    });
    if !finished {
        return Ok(None);
    }
    let mut blocks =
        blocks.into_iter().map(|b| b.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut total = blocks.next().expect("there is a block");
    for block in blocks {
        total.counts.iter_mut().zip(&block.counts).for_each(|(sum, part)| *sum += part);
        total.groups.iter_mut().zip(&block.groups).for_each(|(sum, part)| *sum += part);
        total.log_likelihood += block.log_likelihood;
        total.given_ability += block.given_ability;
    }
    // Students in the reference categories are the rest.
    let mut all = vec![0.0; n_nodes];
    for g in 0..n_groups {
        for q in 0..n_nodes {
            all[q] += total.groups[g * n_nodes + q];
            total.given_ability -= total.groups[g * n_nodes + q] * log_weights[g * n_nodes + q];
        }
    }
    for task in &answers.tasks {
        for q in 0..n_nodes {
            let row = |category: usize| (task.first_row + category) * n_nodes + q;
            let others: f64 = (0..task.marks.len())
                .filter(|&category| category != task.reference)
                .map(|category| total.counts[row(category)])
                .sum();
            total.counts[row(task.reference)] = (all[q] - others).max(0.0);
        }
    }
    Ok(Some(total))
}

/// The E step of patterns `first..last`.
struct Block<'a> {
    answers: &'a Answers,
    first: usize,
    last: usize,
    /// ln of the weights and of p of the reference answers, [groups, nodes].
    start: &'a [f64],
    /// ln p of each category minus that of the task's reference, [rows, nodes].
    relative: &'a [f64],
    n_nodes: usize,
    sums: &'a mut Expected,
}

impl Op for Block<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Block { answers, first, last, start, relative, n_nodes, sums } = self;
        let (mut log_joint, mut posterior) = (vec![0.0; n_nodes], vec![0.0; n_nodes]);
        for pattern in first..last {
            let ((entries, shares), weight) = (answers.entries(pattern), answers.weights[pattern]);
            let group = answers.groups[pattern] as usize * n_nodes;
            for (chunk, out) in log_joint.chunks_exact_mut(CHUNK).enumerate() {
                let mut sum = [0.0; CHUNK];
                sum.copy_from_slice(&start[group + chunk * CHUNK..][..CHUNK]);
                if shares.is_empty() {
                    for &entry in entries {
                        let row = &relative[entry as usize * n_nodes + chunk * CHUNK..][..CHUNK];
                        for i in 0..CHUNK {
                            sum[i] += row[i];
                        }
                    }
                }
                for (&entry, share) in entries.iter().zip(shares) {
                    let row = &relative[entry as usize * n_nodes + chunk * CHUNK..][..CHUNK];
                    for i in 0..CHUNK {
                        sum[i] += share * row[i];
                    }
                }
                out.copy_from_slice(&sum);
            }
            let mut lanes = [f64::NEG_INFINITY; CHUNK];
            for chunk in log_joint.chunks_exact(CHUNK) {
                for i in 0..CHUNK {
                    lanes[i] = if chunk[i] > lanes[i] { chunk[i] } else { lanes[i] };
                }
            }
            let largest = lanes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mut totals, mut products) = ([0.0; CHUNK], [0.0; CHUNK]);
            for (chunk, out) in log_joint.chunks_exact(CHUNK).zip(posterior.chunks_exact_mut(CHUNK))
            {
                for i in 0..CHUNK {
                    let p = exp(chunk[i] - largest);
                    out[i] = p;
                    totals[i] += p;
                    products[i] += p * chunk[i];
                }
            }
            let (total, product) = (tree(totals), tree(products));
            sums.log_likelihood += weight * (largest + total.ln());
            sums.given_ability += weight * product / total;
            let scale = weight / total;
            let counts = &mut sums.groups[group..group + n_nodes];
            for (posterior, count) in posterior.iter_mut().zip(counts) {
                *posterior *= scale;
                *count += *posterior;
            }
            for (index, &entry) in entries.iter().enumerate() {
                let share = shares.get(index).copied().unwrap_or(1.0);
                let row = &mut sums.counts[entry as usize * n_nodes..][..n_nodes];
                for (to, from) in row.chunks_exact_mut(CHUNK).zip(posterior.chunks_exact(CHUNK)) {
                    for i in 0..CHUNK {
                        to[i] += share * from[i];
                    }
                }
            }
        }
    }
}

/// The sum of the lanes in a fixed order.
#[inline(always)]
fn tree(mut lanes: [f64; CHUNK]) -> f64 {
    let mut half = CHUNK / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}
