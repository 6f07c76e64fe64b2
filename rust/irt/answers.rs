//! The answers of an exam: categories of each task, and students with equal answers merged.

use crate::error::{Error, Result, filled};

/// The mark of a category of missing answers.
pub const MISSING: usize = usize::MAX;
/// The largest number of marks of a task plus the missing answer.
const CODES: usize = crate::nn::likelihood::MAX_TRIALS as usize + 2;

/// The categories of a task's answers that occur in the data.
pub struct Categories {
    /// Marks, ascending; [`MISSING`] last, if answers are missing.
    pub marks: Vec<usize>,
    /// The row of the first category in tables over the categories of all tasks.
    pub first_row: usize,
    /// The most frequent category: students with it cost nothing.
    pub reference: usize,
}

/// Patterns of answers with their numbers of students.
pub struct Answers {
    /// The categories of each task.
    pub tasks: Vec<Categories>,
    /// Categories of all tasks.
    pub rows: usize,
    /// Students of each pattern, or the sum of their weights.
    pub weights: Vec<f64>,
    /// The group of each pattern.
    pub groups: Vec<u32>,
    /// The first student with each pattern.
    pub first: Vec<u32>,
    /// For each pattern the end of its `entries`.
    ends: Vec<usize>,
    /// Rows of the categories of a pattern's answers that are not the tasks' references.
    entries: Vec<u32>,
    /// Shares of the pattern's students with each of its `entries`; empty if all are 1.
    shares: Vec<f64>,
}

impl Answers {
    /// Reads marks, [n, n_tasks], NaN where missing; `weights` and `groups` of the students are empty if all are the same.
    /// With `by_score` students with the same tasks and the same sum of marks are one pattern: tasks with one slope give
    /// them the same posterior, and their log-likelihoods are linear in their answers, so that only the shares matter.
    pub fn new(
        marks: &[f32],
        n_tasks: usize,
        weights: &[f32],
        groups: &[u32],
        by_score: bool,
    ) -> Result<Answers> {
        let n = marks.len() / n_tasks.max(1);
        let mut codes = filled(0u16, Some(marks.len()))?;
        let mut counts = filled(0u32, n_tasks.checked_mul(CODES))?;
        let rows = marks.chunks_exact(n_tasks).zip(codes.chunks_exact_mut(n_tasks));
        for (student, (row, codes)) in rows.enumerate() {
            let counted = u32::from(weights.get(student).is_none_or(|&weight| weight > 0.0));
            for (t, (&mark, code)) in row.iter().zip(codes).enumerate() {
                let value = if mark.is_nan() { CODES - 1 } else { mark as usize };
                if value >= CODES || !mark.is_nan() && mark.fract() != 0.0 || mark < 0.0 {
                    return Err(Error::Value(format!("task {t}: {mark} is no mark")));
                }
                *code = value as u16;
                counts[t * CODES + value] += counted;
            }
        }
        let (mut tasks, mut rows, mut row_of) = (Vec::new(), 0, counts.clone());
        for (t, counts) in counts.chunks_exact(CODES).enumerate() {
            let values: Vec<usize> = (0..CODES).filter(|&value| counts[value] > 0).collect();
            let mut reference = 0;
            for (category, &value) in values.iter().enumerate() {
                row_of[t * CODES + value] = (rows + category) as u32;
                if counts[value] > counts[values[reference]] {
                    reference = category;
                }
            }
            let marks: Vec<usize> = values
                .iter()
                .map(|&value| if value == CODES - 1 { MISSING } else { value })
                .collect();
            let count = marks.len();
            tasks.push(Categories { marks, first_row: rows, reference });
            rows += count;
        }
        let group_of = |student: u32| groups.get(student as usize).copied().unwrap_or(0);
        let weight_of = |student: u32| weights.get(student as usize).map_or(1.0, |&w| f64::from(w));
        let codes_of = |student: u32| &codes[student as usize * n_tasks..][..n_tasks];
        let missing = (CODES - 1) as u16;
        let seen = |code: &&u16| **code != missing;
        let scores: Vec<usize> = if by_score {
            codes
                .chunks_exact(n_tasks)
                .map(|c| c.iter().filter(seen).map(|&x| usize::from(x)).sum())
                .collect()
        } else {
            Vec::new()
        };
        // Students are equal if this is equal, which also orders them.
        let compare = |a: u32, b: u32| {
            let groups = group_of(a).cmp(&group_of(b));
            if by_score {
                let holes = |student: u32| codes_of(student).iter().map(|&code| code == missing);
                let scores = || scores[a as usize].cmp(&scores[b as usize]);
                groups.then_with(scores).then_with(|| holes(a).cmp(holes(b)))
            } else {
                groups.then_with(|| codes_of(a).cmp(codes_of(b)))
            }
        };
        let mut order: Vec<u32> =
            (0..n as u32).filter(|&student| weight_of(student) > 0.0).collect();
        order.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
        let mut found = Answers {
            tasks,
            rows,
            weights: Vec::new(),
            groups: Vec::new(),
            first: Vec::new(),
            ends: Vec::new(),
            entries: Vec::new(),
            shares: Vec::new(),
        };
        let mut sums = vec![0.0; if by_score { rows } else { 0 }];
        for equal in order.chunk_by(|&a, &b| compare(a, b).is_eq()) {
            found.weights.push(equal.iter().map(|&student| weight_of(student)).sum());
            found.groups.push(group_of(equal[0]));
            found.first.push(equal[0]);
            let row_of =
                |t: usize, student: u32| row_of[t * CODES + usize::from(codes_of(student)[t])];
            for t in 0..n_tasks {
                let (first, count) = (found.tasks[t].first_row, found.tasks[t].marks.len());
                let reference = first + found.tasks[t].reference;
                if !by_score {
                    let row = row_of(t, equal[0]);
                    if row as usize != reference {
                        found.entries.push(row);
                    }
                    continue;
                }
                for &student in equal {
                    sums[row_of(t, student) as usize] += weight_of(student);
                }
                let total = found.weights[found.weights.len() - 1];
                for row in first..first + count {
                    let sum = std::mem::take(&mut sums[row]);
                    if row != reference && sum > 0.0 {
                        found.entries.push(row as u32);
                        found.shares.push(sum / total);
                    }
                }
            }
            found.ends.push(found.entries.len());
        }
        Ok(found)
    }

    /// Different patterns.
    pub fn patterns(&self) -> usize {
        self.weights.len()
    }

    /// Students, or the sum of their weights.
    pub fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// The rows of a pattern's categories that are not references, and the shares of its students with them; no shares
    /// if all are 1.
    pub fn entries(&self, pattern: usize) -> (&[u32], &[f64]) {
        let start = if pattern == 0 { 0 } else { self.ends[pattern - 1] };
        let own = start..self.ends[pattern];
        (&self.entries[own.clone()], self.shares.get(own).unwrap_or(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_one_pattern() {
        let nan = f32::NAN;
        let marks = [1., 0., 1., 2., nan, 1., 1., 0., 1., 1., 2., nan, 1., 0., 1.];
        let found = Answers::new(&marks, 3, &[1., 2., 0.5, 4., 0.], &[], false).unwrap();
        assert_eq!(found.patterns(), 3);
        assert_eq!(found.total(), 7.5);
        let task = |t: usize| found.tasks[t].marks.clone();
        assert_eq!((task(0), task(1)), (vec![1, 2], vec![0, 2, MISSING]));
        assert_eq!(task(2), vec![1, MISSING]);
        let mut weights = found.weights.clone();
        weights.sort_by(f64::total_cmp);
        assert_eq!(weights, [1.5, 2.0, 4.0]);
    }

    #[test]
    fn students_with_the_same_score_are_one_pattern() {
        let nan = f32::NAN;
        let marks = [1., 0., 0., 1., 1., 1., 0., nan, 1.];
        let found = Answers::new(&marks, 3, &[1., 3., 1.], &[], true).unwrap();
        assert_eq!((found.patterns(), found.total()), (3, 5.0));
        let marks = [1., 0., 0., 1., 1., 1., 0., 1., 0.];
        let found = Answers::new(&marks, 3, &[1., 9., 3.], &[], true).unwrap();
        assert_eq!(found.weights, [4.0, 9.0]);
        // Two of the three students solve tasks 0 and 1, the references; one solves task 2.
        assert_eq!(found.entries(0).1, [0.75, 0.25]);
        assert_eq!(found.entries(1).1, [1.0]);
    }

    #[test]
    fn groups_are_not_merged() {
        let found = Answers::new(&[1., 1., 1.], 1, &[], &[0, 1, 0], false).unwrap();
        assert_eq!((found.weights.clone(), found.groups.clone()), (vec![2.0, 1.0], vec![0, 1]));
    }

    #[test]
    fn a_mark_is_a_whole_number() {
        for bad in [-1.0, 0.5, 1e6, f32::INFINITY] {
            assert!(Answers::new(&[0.0, bad], 2, &[], &[], false).is_err());
        }
    }
}
