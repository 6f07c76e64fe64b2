//! Items: probabilities of marks given the ability, and the M step, which maximises the expected log-likelihood of the
//! answers plus the log prior, item by item, by Newton's method or Fisher scoring.

use super::answers::{Categories, MISSING};
use super::exp::exp;
use serde::Deserialize;

/// Newton steps of an M step, and the size of a step that ends it.
const STEPS: usize = 8;
const SMALL: f64 = 1e-9;
/// Halvings of a step that does not increase the objective.
const HALVINGS: usize = 12;
/// Bounds of parameters, for items without a finite estimate.
const LARGEST: f64 = 30.0;
const LEAST_SLOPE: f64 = 1e-4;

/// The model of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Marks are binomial with logit a alpha + d: parameters (a, d).
    Logistic,
    /// The same without d: parameters (a, 0) with a >= 0.
    ThroughOrigin,
    /// Logistic items with one slope for all.
    CommonSlope,
    /// P(1) = c + (1 - c) sigmoid(a alpha + d): parameters (a, d, logit c) (Birnbaum, 1968).
    Guessing,
    /// P(mark >= k) = sigmoid(a alpha + d_k): parameters (a, d_1 > d_2 > ...) (Samejima, 1969).
    Graded,
}

/// The prior of the parameters; none is flat.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Prior {
    /// Mean and standard deviation of ln |a|.
    pub log_slope: Option<(f64, f64)>,
    /// Standard deviation of d.
    pub intercept: Option<f64>,
    /// Mean of logit c of each task, and its standard deviation.
    pub guessing: Option<(Vec<f64>, f64)>,
}

/// The items of an exam.
#[derive(Clone)]
pub struct Items {
    /// The model of all items.
    pub kind: Kind,
    /// The most marks of each item.
    pub most: Vec<usize>,
    /// Where the parameters of each item begin; one entry more than items.
    pub offsets: Vec<usize>,
    /// The parameters of all items.
    pub parameters: Vec<f64>,
    /// Their prior.
    pub prior: Prior,
}

/// Expected students in the categories of an item at the nodes, [categories, nodes].
pub struct Counts<'a> {
    /// The categories.
    pub task: &'a Categories,
    /// The rows of the tables, of the item's categories only.
    pub rows: &'a [f64],
    /// The nodes.
    pub points: &'a [f64],
}

impl Counts<'_> {
    fn observed(&self) -> impl Iterator<Item = (usize, &[f64])> {
        let rows = self.rows.chunks_exact(self.points.len());
        self.task.marks.iter().copied().zip(rows).filter(|&(mark, _)| mark != MISSING)
    }

    /// Marks got and marks possible at each node.
    fn marks(&self, most: usize) -> (Vec<f64>, Vec<f64>) {
        let (mut got, mut possible) = (vec![0.0; self.points.len()], vec![0.0; self.points.len()]);
        for (mark, row) in self.observed() {
            for (q, &count) in row.iter().enumerate() {
                got[q] += mark as f64 * count;
                possible[q] += most as f64 * count;
            }
        }
        (got, possible)
    }
}

fn sigmoid(y: f64) -> f64 {
    1.0 / (1.0 + exp(-y))
}

fn softplus(y: f64) -> f64 {
    y.max(0.0) + exp(-y.abs()).ln_1p()
}

impl Items {
    /// The parameters of an item.
    pub fn of(&self, item: usize) -> &[f64] {
        &self.parameters[self.offsets[item]..self.offsets[item + 1]]
    }

    /// An upper bound on the information of all items on the ability, and the largest slope.
    pub fn precision(&self) -> (f64, f64) {
        let (mut precision, mut steepest) = (0.0, 0.0f64);
        for (item, &most) in self.most.iter().enumerate() {
            let a = self.of(item)[0].abs();
            // A graded item has at most the information of the logistic density, 1 / 3.
            precision +=
                a * a * if self.kind == Kind::Graded { 1.0 / 3.0 } else { most as f64 / 4.0 };
            steepest = steepest.max(a);
        }
        (precision, steepest)
    }

    /// ln p of the categories of all items at the nodes, [rows, nodes], without binomial coefficients.
    pub fn log_p(&self, tasks: &[Categories], points: &[f64], out: &mut [f64]) {
        let n = points.len();
        for (item, task) in tasks.iter().enumerate() {
            let rows = &mut out[task.first_row * n..(task.first_row + task.marks.len()) * n];
            let own = self.of(item);
            match self.kind {
                Kind::Logistic | Kind::ThroughOrigin | Kind::CommonSlope => {
                    for (q, &point) in points.iter().enumerate() {
                        let y = own[0] * point + own[1];
                        let penalty = self.most[item] as f64 * softplus(y);
                        for (row, &mark) in task.marks.iter().enumerate() {
                            let missing = mark == MISSING;
                            rows[row * n + q] =
                                if missing { 0.0 } else { mark as f64 * y - penalty };
                        }
                    }
                }
                Kind::Guessing | Kind::Graded => {
                    let (mut p, mut slopes) = self.probabilities_buffers(item);
                    for (q, &point) in points.iter().enumerate() {
                        self.probabilities(item, own, point, &mut p, &mut slopes);
                        for (row, &mark) in task.marks.iter().enumerate() {
                            rows[row * n + q] = if mark == MISSING { 0.0 } else { p[mark].ln() };
                        }
                    }
                }
            }
        }
    }

    fn probabilities_buffers(&self, item: usize) -> (Vec<f64>, Vec<f64>) {
        let marks = self.most[item] + 1;
        (vec![0.0; marks], vec![0.0; marks * self.of(item).len()])
    }

    /// Probabilities of the marks 0, 1, ... of a guessing or graded item, and their derivatives by its parameters,
    /// [marks, parameters].
    fn probabilities(
        &self,
        item: usize,
        own: &[f64],
        point: f64,
        p: &mut [f64],
        slopes: &mut [f64],
    ) {
        const TINY: f64 = 1e-300;
        let width = own.len();
        slopes.fill(0.0);
        if self.kind == Kind::Guessing {
            let (s, c) = (sigmoid(own[0] * point + own[1]), sigmoid(own[2]));
            let density = (1.0 - c) * s * sigmoid(-(own[0] * point + own[1]));
            let by_c = sigmoid(-(own[0] * point + own[1])) * c * (1.0 - c);
            p[1] = c + (1.0 - c) * s;
            p[0] = ((1.0 - c) * sigmoid(-(own[0] * point + own[1]))).max(TINY);
            for (j, slope) in [density * point, density, by_c].into_iter().enumerate() {
                slopes[width + j] = slope;
                slopes[j] = -slope;
            }
            return;
        }
        for mark in 0..=self.most[item] {
            let (mut above, mut below) = (1.0, 0.0); // P(at least mark), P(at least mark + 1)
            let y = |k: usize| own[0] * point + own[k];
            if mark > 0 {
                above = sigmoid(y(mark));
                let density = above * sigmoid(-y(mark));
                slopes[mark * width] += density * point;
                slopes[mark * width + mark] += density;
            }
            if mark < self.most[item] {
                below = sigmoid(y(mark + 1));
                let density = below * sigmoid(-y(mark + 1));
                slopes[mark * width] -= density * point;
                slopes[mark * width + mark + 1] -= density;
            }
            // For large logits the difference of the complements is the exact one.
            p[mark] = if mark > 0 && mark < self.most[item] && y(mark + 1) > 0.0 {
                sigmoid(-y(mark + 1)) - sigmoid(-y(mark))
            } else if mark == 0 {
                sigmoid(-y(1))
            } else {
                above - below
            }
            .max(TINY);
        }
    }

    /// Minus the log prior of an item, its gradient and its curvature by the parameters; the slope's by ln |a|.
    fn penalty(
        &self,
        item: usize,
        own: &[f64],
        gradient: &mut [f64],
        curvature: &mut [f64],
    ) -> f64 {
        let mut total = 0.0;
        gradient.fill(0.0);
        curvature.fill(0.0);
        // One slope has one prior.
        if let Some((mean, sd)) = self.prior.log_slope
            && (self.kind != Kind::CommonSlope || item == 0)
        {
            let z = (own[0].abs().ln() - mean) / sd;
            (gradient[0], curvature[0]) = (z / sd, 1.0 / (sd * sd));
            total += 0.5 * z * z;
        }
        let last = if self.kind == Kind::Guessing { 2 } else { own.len() };
        if let Some(sd) = self.prior.intercept
            && self.kind != Kind::ThroughOrigin
        {
            for j in 1..last {
                (gradient[j], curvature[j]) = (own[j] / (sd * sd), 1.0 / (sd * sd));
                total += 0.5 * (own[j] / sd).powi(2);
            }
        }
        if let Some((means, sd)) = &self.prior.guessing
            && self.kind == Kind::Guessing
        {
            let z = (own[2] - means[item]) / sd;
            (gradient[2], curvature[2]) = (z / sd, 1.0 / (sd * sd));
            total += 0.5 * z * z;
        }
        total
    }

    /// The log prior of all parameters, without constants.
    pub fn log_prior(&self) -> f64 {
        let widest = self.most.iter().max().copied().unwrap_or(1) + 2;
        let (mut gradient, mut curvature) = (vec![0.0; widest], vec![0.0; widest]);
        (0..self.most.len())
            .map(|item| {
                let own = self.of(item);
                -self.penalty(item, own, &mut gradient[..own.len()], &mut curvature[..own.len()])
            })
            .sum()
    }

    /// Whether the slope is estimated by its logarithm, which keeps its sign.
    fn log_slopes(&self) -> bool {
        self.prior.log_slope.is_some()
    }

    /// The expected log-likelihood of an item's answers at parameters `own`; minus infinity outside their domain.
    fn expected(&self, item: usize, own: &[f64], counts: &Marks) -> f64 {
        let points = counts.raw.points;
        match self.kind {
            Kind::Logistic | Kind::ThroughOrigin | Kind::CommonSlope => {
                let mut sum = 0.0;
                for (q, &point) in points.iter().enumerate() {
                    let y = own[0] * point + own[1];
                    sum += counts.got[q] * y - counts.possible[q] * softplus(y);
                }
                sum
            }
            Kind::Guessing | Kind::Graded => {
                if self.kind == Kind::Graded && !own[1..].is_sorted_by(|a, b| a > b) {
                    return f64::NEG_INFINITY;
                }
                let (mut p, mut slopes) = self.probabilities_buffers(item);
                let mut sum = 0.0;
                for (q, &point) in points.iter().enumerate() {
                    self.probabilities(item, own, point, &mut p, &mut slopes);
                    for (mark, row) in counts.raw.observed() {
                        sum += row[q] * p[mark].ln();
                    }
                }
                sum
            }
        }
    }

    /// Gradient of the expected log-likelihood by the parameters, and the information, [k, k].
    fn score(
        &self,
        item: usize,
        own: &[f64],
        counts: &Marks,
        gradient: &mut [f64],
        information: &mut [f64],
    ) {
        gradient.fill(0.0);
        information.fill(0.0);
        let width = own.len();
        if !matches!(self.kind, Kind::Guessing | Kind::Graded) {
            let [mut by_a, mut by_d, mut aa, mut ad, mut dd] = [0.0; 5];
            for (q, &point) in counts.raw.points.iter().enumerate() {
                let p = sigmoid(own[0] * point + own[1]);
                let residual = counts.got[q] - counts.possible[q] * p;
                let variance = counts.possible[q] * p * (1.0 - p);
                by_a += residual * point;
                by_d += residual;
                aa += variance * point * point;
                ad += variance * point;
                dd += variance;
            }
            gradient.copy_from_slice(&[by_a, by_d]);
            information.copy_from_slice(&[aa, ad, ad, dd]);
            return;
        }
        let (mut p, mut slopes) = self.probabilities_buffers(item);
        for (q, &point) in counts.raw.points.iter().enumerate() {
            self.probabilities(item, own, point, &mut p, &mut slopes);
            let mut students = 0.0;
            for (mark, row) in counts.raw.observed() {
                students += row[q];
                for j in 0..width {
                    gradient[j] += row[q] * slopes[mark * width + j] / p[mark];
                }
            }
            for (mark, p) in p.iter().enumerate() {
                let by = &slopes[mark * width..][..width];
                for i in 0..width {
                    for j in 0..width {
                        information[i * width + j] += students * by[i] * by[j] / p;
                    }
                }
            }
        }
    }

    /// The gradient of the log-likelihood plus the log prior by the parameters at which the counts were computed.
    pub fn gradient(&self, counts: &[Counts]) -> Vec<f64> {
        let mut found = vec![0.0; self.parameters.len()];
        for (item, counts) in counts.iter().enumerate() {
            let own = self.of(item);
            let (mut penalty, mut curvature) = (vec![0.0; own.len()], vec![0.0; own.len()]);
            let mut information = vec![0.0; own.len() * own.len()];
            let out = &mut found[self.offsets[item]..self.offsets[item + 1]];
            self.score(item, own, &Marks::new(counts, self.most[item]), out, &mut information);
            self.penalty(item, own, &mut penalty, &mut curvature);
            penalty[0] = if penalty[0] == 0.0 { 0.0 } else { penalty[0] / own[0] };
            out.iter_mut().zip(&penalty).for_each(|(out, penalty)| *out -= penalty);
        }
        found
    }

    /// The M step: changes the parameters of all items.
    pub fn maximize(&mut self, counts: &[Counts]) {
        let marks: Vec<Marks> =
            counts.iter().zip(&self.most).map(|(counts, &most)| Marks::new(counts, most)).collect();
        if self.kind == Kind::CommonSlope {
            return self.maximize_together(&marks);
        }
        for item in 0..self.most.len() {
            let own = self.maximize_item(item, &marks[item]);
            self.parameters[self.offsets[item]..self.offsets[item + 1]].copy_from_slice(&own);
        }
    }

    fn maximize_item(&self, item: usize, counts: &Marks) -> Vec<f64> {
        let mut own = self.of(item).to_vec();
        let (width, logs) = (own.len(), self.log_slopes());
        let free = if self.kind == Kind::ThroughOrigin { 1 } else { width };
        let (mut gradient, mut penalty, mut curvature) =
            (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
        let mut information = vec![0.0; width * width];
        let mut objective = self.expected(item, &own, counts)
            - self.penalty(item, &own, &mut penalty, &mut curvature);
        for _ in 0..STEPS {
            self.score(item, &own, counts, &mut gradient, &mut information);
            self.penalty(item, &own, &mut penalty, &mut curvature);
            if logs {
                // By ln |a|: the chain rule, with its second term where it makes the curvature larger.
                let second = -own[0] * gradient[0];
                gradient[0] *= own[0];
                for j in 1..width {
                    information[j] *= own[0];
                    information[j * width] *= own[0];
                }
                information[0] = information[0] * own[0] * own[0] + second.max(0.0);
            }
            for j in 0..width {
                gradient[j] -= penalty[j];
                information[j * width + j] += curvature[j];
            }
            let step = solve(&information, &gradient, width, free);
            let largest = step.iter().fold(0.0f64, |largest, step| largest.max(step.abs()));
            if largest < SMALL {
                break;
            }
            let (mut scale, mut accepted) = ((2.0 / largest).min(1.0), false);
            for _ in 0..HALVINGS {
                let trial = self.moved(&own, &step, scale);
                let found = self.expected(item, &trial, counts)
                    - self.penalty(item, &trial, &mut penalty, &mut curvature);
                if found >= objective {
                    accepted = trial != own;
                    (own, objective) = (trial, found);
                    break;
                }
                scale *= 0.5;
            }
            if !accepted {
                break;
            }
        }
        own
    }

    /// Parameters of an item after a step, within their bounds.
    fn moved(&self, own: &[f64], step: &[f64], scale: f64) -> Vec<f64> {
        let mut moved: Vec<f64> = own.iter().zip(step).map(|(x, step)| x + scale * step).collect();
        if self.log_slopes() {
            moved[0] = own[0] * (scale * step[0]).exp();
            moved[0] = moved[0].signum() * moved[0].abs().max(LEAST_SLOPE);
        }
        if self.kind == Kind::ThroughOrigin {
            moved[0] = moved[0].max(0.0);
        }
        moved.iter_mut().for_each(|x| *x = x.clamp(-LARGEST, LARGEST));
        moved
    }

    /// The M step of items with one slope: Newton's method, whose matrix is an arrow.
    fn maximize_together(&mut self, counts: &[Marks]) {
        let (n, logs) = (self.most.len(), self.log_slopes());
        let total = |items: &Items| {
            let expected: f64 =
                (0..n).map(|item| items.expected(item, items.of(item), &counts[item])).sum();
            expected + items.log_prior()
        };
        let mut objective = total(self);
        for _ in 0..STEPS {
            let a = self.parameters[0];
            let (mut by_a, mut aa, mut by_d, mut ad, mut dd) =
                (0.0, 0.0, vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            for item in 0..n {
                let [mut gradient, mut penalty, mut curvature] = [[0.0; 2]; 3];
                let mut information = [0.0; 4];
                self.score(item, self.of(item), &counts[item], &mut gradient, &mut information);
                self.penalty(item, self.of(item), &mut penalty, &mut curvature);
                if logs {
                    gradient[0] *= a;
                    information[0] *= a * a;
                    information[1] *= a;
                }
                by_a += gradient[0] - penalty[0];
                aa += information[0] + curvature[0];
                by_d[item] = gradient[1] - penalty[1];
                ad[item] = information[1];
                dd[item] = information[3] + curvature[1];
            }
            for item in 0..n {
                if dd[item] > 0.0 {
                    by_a -= ad[item] * by_d[item] / dd[item];
                    aa -= ad[item] * ad[item] / dd[item];
                }
            }
            let step_a = if aa > 0.0 { by_a / aa } else { 0.0 };
            let step: Vec<f64> =
                (0..n)
                    .map(|item| {
                        if dd[item] > 0.0 {
                            (by_d[item] - ad[item] * step_a) / dd[item]
                        } else {
                            0.0
                        }
                    })
                    .collect();
            let largest = step.iter().fold(step_a.abs(), |largest, step| largest.max(step.abs()));
            if largest < SMALL {
                break;
            }
            let (mut scale, mut accepted) = ((2.0 / largest).min(1.0), false);
            for _ in 0..HALVINGS {
                let mut trial = self.clone();
                for item in 0..n {
                    let moved = self.moved(self.of(item), &[step_a, step[item]], scale);
                    trial.parameters[2 * item..2 * item + 2].copy_from_slice(&moved);
                }
                let found = total(&trial);
                if found >= objective {
                    (accepted, objective) = (trial.parameters != self.parameters, found);
                    self.parameters = trial.parameters;
                    break;
                }
                scale *= 0.5;
            }
            if !accepted {
                break;
            }
        }
    }

    /// Parameters that may take any value: ln |a| with a prior of it, the thresholds' first and the logs of their gaps.
    pub fn unbounded(&self) -> Vec<f64> {
        let mut found = self.parameters.clone();
        for item in 0..self.most.len() {
            let own = &mut found[self.offsets[item]..self.offsets[item + 1]];
            if self.log_slopes() {
                own[0] = own[0].abs().ln();
            }
            if self.kind == Kind::Graded {
                for k in (2..own.len()).rev() {
                    own[k] = (own[k - 1] - own[k]).ln();
                }
            }
        }
        found
    }

    /// Sets the parameters from [`Items::unbounded`]; slopes keep their signs.
    pub fn set_unbounded(&mut self, values: &[f64]) {
        for item in 0..self.most.len() {
            let (first, last) = (self.offsets[item], self.offsets[item + 1]);
            let mut new = values[first..last].to_vec();
            if self.log_slopes() {
                new[0] = self.parameters[first].signum() * new[0].exp().max(LEAST_SLOPE);
            }
            if self.kind == Kind::ThroughOrigin {
                new[0] = new[0].max(0.0);
            }
            if self.kind == Kind::Graded {
                for k in 2..new.len() {
                    new[k] = new[k - 1] - new[k].exp().max(1e-9);
                }
            }
            new.iter_mut().for_each(|x| *x = x.clamp(-2.0 * LARGEST, 2.0 * LARGEST));
            self.parameters[first..last].copy_from_slice(&new);
        }
    }
}

/// Counts with marks got and possible at each node.
struct Marks<'a> {
    raw: &'a Counts<'a>,
    got: Vec<f64>,
    possible: Vec<f64>,
}

impl<'a> Marks<'a> {
    fn new(raw: &'a Counts<'a>, most: usize) -> Marks<'a> {
        let (got, possible) = raw.marks(most);
        Marks { raw, got, possible }
    }
}

/// The solution of the first `free` equations of a symmetric system by Cholesky's method; zeros for the others, and where
/// there is no information.
pub fn solve(matrix: &[f64], right: &[f64], width: usize, free: usize) -> Vec<f64> {
    let mut l = vec![0.0; free * free];
    let mut x = vec![0.0; width];
    let mut dead = vec![false; free];
    for i in 0..free {
        for j in 0..=i {
            let mut sum = matrix[i * width + j];
            for k in 0..j {
                sum -= l[i * free + k] * l[j * free + k];
            }
            if i == j {
                dead[i] = sum <= 1e-12 * matrix[i * width + i].max(1e-300);
                l[i * free + i] = if dead[i] { 1.0 } else { sum.sqrt() };
            } else {
                l[i * free + j] = if dead[j] { 0.0 } else { sum / l[j * free + j] };
            }
        }
    }
    for i in 0..free {
        let mut sum = right[i];
        for k in 0..i {
            sum -= l[i * free + k] * x[k];
        }
        x[i] = if dead[i] { 0.0 } else { sum / l[i * free + i] };
    }
    for i in (0..free).rev() {
        let mut sum = x[i];
        for k in i + 1..free {
            sum -= l[k * free + i] * x[k];
        }
        x[i] = if dead[i] { 0.0 } else { sum / l[i * free + i] };
    }
    x
}

#[cfg(test)]
mod tests {
    use super::solve;

    #[test]
    fn a_system_is_solved_and_a_dead_equation_left_out() {
        let x = solve(&[4., 2., 2., 3.], &[2., 5.], 2, 2);
        assert!((x[0] + 0.5).abs() < 1e-14 && (x[1] - 2.0).abs() < 1e-14);
        let x = solve(&[0., 0., 0., 2.], &[0., 4.], 2, 2);
        assert!(x[0] == 0.0 && (x[1] - 2.0).abs() < 1e-14);
        let x = solve(&[2., 9., 9., 0.], &[4., 7.], 2, 1);
        assert!((x[0] - 2.0).abs() < 1e-14 && x[1] == 0.0);
    }
}
