//! The EM iteration, accelerated: E step, M step, and the choice of the nodes.

use super::accelerate::Acceleration;
use super::answers::Answers;
use super::expectation::{Expected, expect};
use super::items::{Counts, Items};
use super::nodes::{Group, Nodes};
use crate::error::{Result, filled};
use crate::simd::Isa;

/// A decrease of the objective, relative to its size, that is rounding.
const ROUNDING: f64 = 1e-11;
/// Slopes that the first nodes are made for.
const STEEP: f64 = 1.5;

/// The result of a fit.
pub struct Outcome {
    /// The items at the maximum.
    pub items: Items,
    /// Mean and standard deviation of the ability in each group.
    pub groups: Vec<Group>,
    /// For each iteration, before its M step: log-likelihood, its part given the abilities, and log prior.
    pub history: Vec<[f64; 3]>,
    /// The largest change of a parameter (ln a, d, ...) by the last M step.
    pub change: f64,
    /// Nodes of the quadrature.
    pub nodes: usize,
}

/// Nodes for these items: closer than the narrowest posterior's standard deviation and than the poles of the logistic
/// function allow, so that the error of log p(Y_s) is about 1e-8.
fn nodes_for(items: &Items, groups: &[Group], least_slope: f64) -> Nodes {
    let (precision, steepest) = items.precision();
    let narrowest = groups.iter().map(|group| group.1).fold(1.0, f64::min);
    let precision = 1.0 / (narrowest * narrowest) + precision;
    Nodes::new((0.9 / precision.sqrt()).min(1.0 / steepest.max(least_slope)), groups)
}

fn e_step(
    isa: Isa,
    answers: &Answers,
    items: &Items,
    groups: &[Group],
    nodes: &Nodes,
    threads: usize,
) -> Result<Option<Expected>> {
    let mut log_p = filled(0.0, answers.rows.checked_mul(nodes.points.len()))?;
    items.log_p(&answers.tasks, &nodes.points, &mut log_p);
    expect(isa, answers, &log_p, &nodes.log_weights(groups), nodes.points.len(), threads)
}

fn counts<'a>(answers: &'a Answers, expected: &'a Expected, nodes: &'a Nodes) -> Vec<Counts<'a>> {
    let n = nodes.points.len();
    let of = |task: &'a super::answers::Categories| Counts {
        task,
        rows: &expected.counts[task.first_row * n..(task.first_row + task.marks.len()) * n],
        points: &nodes.points,
    };
    answers.tasks.iter().map(of).collect()
}

/// Maximises the log-likelihood plus the log prior, until an M step changes no parameter by more than `tol` or for
/// `most` iterations. None if it was interrupted.
pub fn fit(
    isa: Isa,
    answers: &Answers,
    mut items: Items,
    mut groups: Vec<Group>,
    (tol, most): (f64, usize),
    threads: usize,
) -> Result<Option<Outcome>> {
    let mut nodes = nodes_for(&items, &groups, STEEP);
    let (mut acceleration, mut history) = (Acceleration::default(), Vec::new());
    let (mut fallback, mut best, mut change): (Option<Vec<f64>>, _, _) =
        (None, f64::NEG_INFINITY, f64::INFINITY);
    while history.len() < most {
        let Some(expected) = e_step(isa, answers, &items, &groups, &nodes, threads)? else {
            return Ok(None);
        };
        let log_prior = items.log_prior();
        let objective = expected.log_likelihood + log_prior;
        history.push([expected.log_likelihood, expected.given_ability, log_prior]);
        if (objective.is_nan() || objective < best - ROUNDING * best.abs())
            && let Some(plain) = fallback.take()
        {
            acceleration.clear();
            set(&mut items, &mut groups, &plain);
            continue;
        }
        best = objective;
        let before = all(&items, &groups);
        items.maximize(&counts(answers, &expected, &nodes));
        maximize_groups(&mut groups, &expected.groups, &nodes);
        let after = all(&items, &groups);
        change = before.iter().zip(&after).fold(0.0f64, |most, (x, y)| most.max((x - y).abs()));
        let wanted = nodes_for(&items, &groups, 0.0);
        if !nodes.covers(&wanted) {
            // Other nodes have another objective.
            (nodes, best, fallback) = (nodes_for(&items, &groups, STEEP), f64::NEG_INFINITY, None);
            acceleration.clear();
            continue;
        }
        if change < tol {
            break;
        }
        fallback = acceleration.next(&before, &after).map(|next| {
            set(&mut items, &mut groups, &next);
            after
        });
    }
    Ok(Some(Outcome { items, groups, history, change, nodes: nodes.points.len() }))
}

/// The log-likelihood, and the gradient of it plus the log prior by the items' parameters. None if it was interrupted.
pub fn gradient(
    isa: Isa,
    answers: &Answers,
    items: &Items,
    groups: &[Group],
    threads: usize,
) -> Result<Option<(f64, Vec<f64>)>> {
    let nodes = nodes_for(items, groups, STEEP);
    let Some(expected) = e_step(isa, answers, items, groups, &nodes, threads)? else {
        return Ok(None);
    };
    Ok(Some((expected.log_likelihood, items.gradient(&counts(answers, &expected, &nodes)))))
}

/// Mean and standard deviation of each group but the first, from the expected students at the nodes.
fn maximize_groups(groups: &mut [Group], expected: &[f64], nodes: &Nodes) {
    let points = &nodes.points;
    for (group, students) in groups.iter_mut().zip(expected.chunks(points.len())).skip(1) {
        let total: f64 = students.iter().sum();
        let mean = students.iter().zip(points).map(|(n, point)| n * point).sum::<f64>() / total;
        let square =
            students.iter().zip(points).map(|(n, point)| n * (point - mean).powi(2)).sum::<f64>()
                / total;
        *group = (mean, square.sqrt().max(0.05));
    }
}

/// All parameters, unbounded.
fn all(items: &Items, groups: &[Group]) -> Vec<f64> {
    let mut found = items.unbounded();
    found.extend(groups.iter().skip(1).flat_map(|&(mean, sd)| [mean, sd.ln()]));
    found
}

fn set(items: &mut Items, groups: &mut [Group], values: &[f64]) {
    let (own, theirs) = values.split_at(items.parameters.len());
    items.set_unbounded(own);
    for (group, pair) in groups.iter_mut().skip(1).zip(theirs.chunks(2)) {
        *group = (pair[0].clamp(-10.0, 10.0), pair[1].exp().clamp(0.05, 20.0));
    }
}
