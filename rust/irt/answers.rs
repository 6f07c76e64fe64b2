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
}

impl Answers {
    /// Reads marks, [n, n_tasks], NaN where missing; `weights` and `groups` of the students are empty if all are the same.
    pub fn new(marks: &[f32], n_tasks: usize, weights: &[f32], groups: &[u32]) -> Result<Answers> {
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
        let codes_of = |student: u32| &codes[student as usize * n_tasks..][..n_tasks];
        let mut order: Vec<u32> = (0..n as u32)
            .filter(|&s| weights.get(s as usize).is_none_or(|&weight| weight > 0.0))
            .collect();
        order.sort_unstable_by(|&a, &b| {
            group_of(a).cmp(&group_of(b)).then_with(|| codes_of(a).cmp(codes_of(b))).then(a.cmp(&b))
        });
        let mut found = Answers {
            tasks,
            rows,
            weights: Vec::new(),
            groups: Vec::new(),
            first: Vec::new(),
            ends: Vec::new(),
            entries: Vec::new(),
        };
        let mut last: Option<u32> = None;
        for student in order {
            let weight = weights.get(student as usize).map_or(1.0, |&weight| f64::from(weight));
            if last.is_some_and(|last| {
                group_of(last) == group_of(student) && codes_of(last) == codes_of(student)
            }) {
                *found.weights.last_mut().expect("there is a pattern") += weight;
                continue;
            }
            last = Some(student);
            found.weights.push(weight);
            found.groups.push(group_of(student));
            found.first.push(student);
            for (t, &code) in codes_of(student).iter().enumerate() {
                let (task, row) = (&found.tasks[t], row_of[t * CODES + usize::from(code)]);
                if row as usize != task.first_row + task.reference {
                    found.entries.push(row);
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

    /// The rows of a pattern's categories that are not references.
    pub fn entries(&self, pattern: usize) -> &[u32] {
        let start = if pattern == 0 { 0 } else { self.ends[pattern - 1] };
        &self.entries[start..self.ends[pattern]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_are_one_pattern() {
        let nan = f32::NAN;
        let marks = [1., 0., 1., 2., nan, 1., 1., 0., 1., 1., 2., nan, 1., 0., 1.];
        let found = Answers::new(&marks, 3, &[1., 2., 0.5, 4., 0.], &[]).unwrap();
        assert_eq!(found.patterns(), 3);
        assert_eq!(found.total(), 7.5);
        let task = |t: usize| found.tasks[t].marks.clone();
        assert_eq!((task(0), task(1)), (vec![1, 2], vec![0, 2, MISSING]));
        assert_eq!(task(2), vec![1, MISSING]);
        let mut weights = found.weights.clone();
        weights.sort_by(f64::total_cmp);
        assert_eq!(weights, [1.5, 2.0, 4.0]);
        assert!(found.entries(0).is_empty());
    }

    #[test]
    fn groups_are_not_merged() {
        let found = Answers::new(&[1., 1., 1.], 1, &[], &[0, 1, 0]).unwrap();
        assert_eq!((found.weights.clone(), found.groups.clone()), (vec![2.0, 1.0], vec![0, 1]));
    }

    #[test]
    fn a_mark_is_a_whole_number() {
        for bad in [-1.0, 0.5, 1e6, f32::INFINITY] {
            assert!(Answers::new(&[0.0, bad], 2, &[], &[]).is_err());
        }
    }
}
