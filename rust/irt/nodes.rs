//! Quadrature over the ability: the trapezoidal rule, whose error decreases exponentially with the number of nodes because
//! the integrand is analytic and has Gaussian tails (Trefethen & Weideman, SIAM Review 56, 2014).

/// Nodes in a block of registers; their number is a multiple of it.
pub const CHUNK: usize = 16;
/// Standard deviations of a group's ability that the nodes span on each side: 2e-9 of its probability lies outside.
const SPAN: f64 = 6.0;
/// The most nodes.
const MOST: usize = 512;

/// Mean and standard deviation of the ability in each group of students; (0, 1) in the first.
pub type Group = (f64, f64);

/// Equally spaced abilities.
#[derive(Clone, PartialEq)]
pub struct Nodes {
    /// The abilities, ascending.
    pub points: Vec<f64>,
}

impl Nodes {
    /// Nodes at most `spacing` apart, unless those were too many, that span the abilities of all groups.
    pub fn new(spacing: f64, groups: &[Group]) -> Nodes {
        let low = groups.iter().map(|(mean, sd)| mean - SPAN * sd).fold(f64::INFINITY, f64::min);
        let high = groups.iter().map(|(mean, sd)| mean + SPAN * sd).fold(-f64::INFINITY, f64::max);
        let count =
            (((high - low) / spacing).ceil() as usize + 1).min(MOST).next_multiple_of(CHUNK);
        let step = (high - low) / (count - 1) as f64;
        Nodes { points: (0..count).map(|i| low + step * i as f64).collect() }
    }

    /// Whether these nodes serve where [`Nodes::new`] would make `other`.
    pub fn covers(&self, other: &Nodes) -> bool {
        let (mine, theirs) = (&self.points, &other.points);
        let (first, last) = (theirs[0], theirs[theirs.len() - 1]);
        mine[1] - mine[0] <= 1.1 * (theirs[1] - theirs[0])
            && mine[0] <= first + 0.05 * (last - first)
            && mine[mine.len() - 1] >= last - 0.05 * (last - first)
    }

    /// Log weights of the nodes for each group, [groups, nodes]: ln of the density times the distance of the nodes.
    pub fn log_weights(&self, groups: &[Group]) -> Vec<f64> {
        let constant = (self.points[1] - self.points[0]).ln() - 0.5 * std::f64::consts::TAU.ln();
        let weight = |point: f64, (mean, sd): Group| {
            let z = (point - mean) / sd;
            constant - sd.ln() - 0.5 * z * z
        };
        groups
            .iter()
            .flat_map(|&group| self.points.iter().map(move |&p| weight(p, group)))
            .collect()
    }
}
