//! Exams with an ability of one dimension: marginal maximum likelihood by the EM algorithm of Bock & Aitkin (Psychometrika
//! 46, 1981), for logistic items with marks, items with guessing, and graded items, in one or several groups of students.
//!
//! All numbers are f64. Sums over students are added in blocks whose number depends on the data alone, so results do not
//! depend on the threads; loops have no fused multiply-adds, so they do not depend on the instruction set either.

mod accelerate;
mod answers;
mod em;
mod exp;
mod expectation;
mod items;
mod nodes;

pub use answers::{Answers, Categories, MISSING};
pub use em::{Outcome, fit, gradient};
pub use items::{Items, Kind, Prior};
