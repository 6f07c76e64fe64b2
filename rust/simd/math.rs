//! Elementary functions over sixteen lanes, one implementation for all instruction sets.
//!
//! Accurate to one or two units in the last place on the stated domain. NaN gives NaN, except for `ln`. Polynomials are
//! from the Cephes library (S. L. Moshier); the error function is from Numerical Recipes (Press et al., `erfcc`).

use crate::simd::Arithmetic;

/// A function of `I` vectors with `O` results; see [`Arithmetic::apply`] for when it is inlined.
pub trait Formula<const I: usize, const O: usize> {
    /// Evaluates the function.
    fn eval<S: Arithmetic>(s: S, x: [S::F; I]) -> [S::F; O];
}

/// Defines a [`Formula`] and a function that evaluates it: inlined, but by a call in the portable set. After `call`, by
/// a call in every set.
macro_rules! formula {
    ($(#[$doc:meta])* fn $name:ident($s:ident, $($x:ident),+) -> [$O:literal] $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<S: Arithmetic>(s: S, $($x: S::F),+) -> [S::F; $O] {
            struct This;
            impl Formula<{ [$(stringify!($x)),+].len() }, $O> for This {
                #[inline(always)]
                fn eval<S: Arithmetic>($s: S, [$($x),+]: [S::F; [$(stringify!($x)),+].len()]) -> [S::F; $O] $body
            }
            s.apply::<_, _, This>([$($x),+])
        }
    };
    ($(#[$doc:meta])* fn $name:ident($s:ident, $($x:ident),+) -> F $body:block) => {
        formula! {apply $(#[$doc])* fn $name($s, $($x),+) -> F $body}
    };
    ($how:ident $(#[$doc:meta])* fn $name:ident($s:ident, $($x:ident),+) -> F $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name<S: Arithmetic>(s: S, $($x: S::F),+) -> S::F {
            struct This;
            impl Formula<{ [$(stringify!($x)),+].len() }, 1> for This {
                #[inline(always)]
                fn eval<S: Arithmetic>($s: S, [$($x),+]: [S::F; [$(stringify!($x)),+].len()]) -> [S::F; 1] {
                    [$body]
                }
            }
            let [y] = s.$how::<_, _, This>([$($x),+]);
            y
        }
    };
}

/// Horner's rule, highest power first.
#[inline(always)]
pub fn polynomial<S: Arithmetic, const N: usize>(s: S, x: S::F, coefficients: [f32; N]) -> S::F {
    let mut sum = s.splat(coefficients[0]);
    for &c in &coefficients[1..] {
        sum = s.fma(sum, x, s.splat(c));
    }
    sum
}

formula! {
    /// e^x for x in [-87, 88]; x is clamped to this range, so the result is positive, normal and finite.
    fn exp(s, x) -> F {
        let x = s.min(s.splat(88.0), s.max(s.splat(-87.0), x));
        let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
        let r = s.fma(n, s.splat(-0.693_359_4), x);
        let r = s.fma(n, s.splat(2.121_944_4e-4), r);
        let p = polynomial(
            s,
            r,
            [1.987_569_2e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1., 1.],
        );
        s.mul(p, s.pow2(n))
    }
}

formula! {
    /// ln x for positive, normal, finite x.
    fn ln(s, x) -> F {
        let bits = s.to_bits(x);
        let exponent = s.to_float(s.shr_u::<23>(bits));
        let mantissa = s.float_of(
            s.add_u(s.and_u(bits, s.splat_u(0x007f_ffff)), s.splat_u(0x3f00_0000)), // in [0.5, 1)
        );
        let small = s.less(mantissa, s.splat(std::f32::consts::FRAC_1_SQRT_2));
        let e = s.sub(exponent, s.select(small, s.splat(127.0), s.splat(126.0)));
        let m = s.sub(s.select(small, s.add(mantissa, mantissa), mantissa), s.splat(1.0));
        let square = s.mul(m, m);
        let p = polynomial(
            s,
            m,
            [
                7.037_683_6e-2,
                -1.151_461e-1,
                1.167_699_9e-1,
                -1.242_014_1e-1,
                1.424_932_3e-1,
                -1.666_805_8e-1,
                2.000_071_5e-1,
                -2.499_999_4e-1,
                3.333_333e-1,
            ],
        );
        let y = s.mul(s.mul(p, m), square);
        let y = s.fma(e, s.splat(-2.121_944_4e-4), y);
        let y = s.fma(square, s.splat(-0.5), y);
        s.fma(e, s.splat(0.693_359_4), s.add(m, y))
    }
}

formula! {
    /// ln(1 + y) for y in [0, 1]: the series of 2 atanh(y / (2 + y)).
    fn ln_1p(s, y) -> F {
        let t = s.div(y, s.add(s.splat(2.0), y));
        let p =
            polynomial(s, s.mul(t, t), [1. / 13., 1. / 11., 1. / 9., 1. / 7., 1. / 5., 1. / 3., 1.]);
        s.mul(s.add(t, t), p)
    }
}

formula! {
    /// ln(1 + y) for y > -1, with full relative accuracy near zero: corrects the rounding error of 1 + y (after
    /// Goldberg, "What every computer scientist should know about floating-point arithmetic", 1991, theorem 4).
    fn ln_1p_of(s, y) -> F {
        let one = s.splat(1.0);
        // Above 2^24 the correction is zero: 1 is then less than half a unit in the last place of the logarithm.
        let rounded = s.add(one, y);
        s.add(ln(s, rounded), s.div(s.sub(y, s.sub(rounded, one)), rounded))
    }
}

/// Below this x, factorials are a rational function; above, Stirling's series.
const STIRLING: f32 = 8.0;

formula! {call
    /// The remainder of Stirling's formula, ln x! - (x ln x - x), for x >= 0, given ln x (any finite number for x = 0).
    ///
    /// For x < 8, ln x! = x (x - 1) P(x) / Q(x), so that ln 0! and ln 1! are exactly zero: a least-squares fit with
    /// error at most 5e-8. For x >= 8, ln(2 pi x) / 2 + 1 / (12 x) - 1 / (360 x³) + 1 / (1260 x⁵).
    fn stirling_remainder(s, x, ln_x) -> F {
        let small = s.min(s.splat(STIRLING), x);
        let p = polynomial(
            s,
            small,
            [4.445_043_3e-5, 1.293_250_4e-2, 1.974_412_3e-1, 6.731_538e-1, 5.772_156e-1],
        );
        let q = polynomial(s, small, [3.764_684e-3, 1.114_592_2e-1, 7.488_441e-1, 1.591_092_1, 1.0]);
        let zeros = s.mul(small, s.sub(small, s.splat(1.0)));
        let ln_factorial = s.mul(zeros, s.div(p, q));
        let near = s.add(s.sub(ln_factorial, s.mul(small, ln_x)), small);

        let inverse = s.div(s.splat(1.0), s.max(s.splat(STIRLING), x));
        let series = polynomial(s, s.mul(inverse, inverse), [1. / 1260., -1. / 360., 1. / 12.]);
        const LN_2PI: f32 = 1.837_877_1;
        let half_ln = s.mul(s.splat(0.5), s.add(ln_x, s.splat(LN_2PI)));
        s.select(s.less(x, s.splat(STIRLING)), near, s.fma(series, inverse, half_ln))
    }
}

formula! {call
    /// ψ(x) - ln x for x > 0, where ψ is the derivative of ln Γ. For x >= 4 the asymptotic series
    /// -1 / (2 x) - 1 / (12 x²) + 1 / (120 x⁴) - 1 / (252 x⁶) + 1 / (240 x⁸); for x < 4,
    /// ψ(x) = ψ(x + 4) - sum_(i < 4) 1 / (x + i).
    fn digamma_remainder(s, x) -> F {
        const SHIFT: f32 = 4.0;
        let shifted = s.less(x, s.splat(SHIFT));
        let small = s.min(s.splat(SHIFT), x);
        // sum_(i < 4) 1 / (x + i) as one fraction, over / under.
        let (mut over, mut under) = (s.splat(1.0), small);
        for i in 1..4 {
            let next = s.add(small, s.splat(i as f32));
            over = s.fma(over, next, under);
            under = s.mul(under, next);
        }
        let large = s.select(shifted, s.add(x, s.splat(SHIFT)), x);
        let inverse = s.div(s.splat(1.0), large);
        let square = s.mul(inverse, inverse);
        let series = polynomial(s, square, [1. / 240., -1. / 252., 1. / 120., -1. / 12.]);
        let series = s.fma(series, square, s.mul(s.splat(-0.5), inverse));
        let growth = ln_1p_of(s, s.div(s.splat(SHIFT), small)); // ln((x + 4) / x)
        let near = s.add(series, s.sub(growth, s.div(over, under)));
        s.select(shifted, near, series)
    }
}

formula! {
    /// [1 / (1 + e^-x), ln(1 + e^x)]: the logistic function and softplus share one exponential.
    fn sigmoid_softplus(s, x) -> [2] {
        let e = exp(s, s.neg(s.abs(x)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        let negative = s.less(x, s.zero());
        let sigmoid = s.select(negative, s.mul(e, inverse), inverse);
        [sigmoid, s.add(s.max(s.zero(), x), ln_1p(s, e))]
    }
}

formula! {
    /// 1 / (1 + e^-x).
    fn sigmoid(s, x) -> F {
        let e = exp(s, s.neg(s.abs(x)));
        let inverse = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
        s.select(s.less(x, s.zero()), s.mul(e, inverse), inverse)
    }
}

formula! {
    /// The hyperbolic tangent.
    fn tanh(s, x) -> F {
        let a = s.abs(x);
        let e = exp(s, s.add(a, a));
        let far = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
        let far = s.select(s.less(x, s.zero()), s.neg(far), far);
        let square = s.mul(x, x);
        let p = polynomial(
            s,
            square,
            [-5.704_988_7e-3, 2.063_908_6e-2, -5.373_971e-2, 1.333_144_2e-1, -3.333_327_8e-1],
        );
        let near = s.fma(s.mul(p, square), x, x);
        s.select(s.less(a, s.splat(0.625)), near, far)
    }
}

formula! {
    /// [Φ(x), φ(x)]: the distribution function and the density of N(0, 1).
    fn normal_cdf_pdf(s, x) -> [2] {
        const INV_SQRT_2PI: f32 = 0.398_942_3;
        let z = s.mul(s.abs(x), s.splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = s.div(s.splat(1.0), s.fma(z, s.splat(0.5), s.splat(1.0)));
        let p = polynomial(
            s,
            t,
            [
                0.170_872_77,
                -0.822_152_23,
                1.488_515_9,
                -1.135_204,
                0.278_868_07,
                -0.186_288_06,
                0.096_784_18,
                0.374_091_96,
                1.000_023_7,
                -1.265_512_2,
            ],
        );
        let gauss = exp(s, s.neg(s.mul(z, z)));
        // erfc(z) = t e^(-z² + p(t)); P(X > |x|) = erfc(z) / 2.
        let tail = s.mul(s.mul(s.splat(0.5), t), s.mul(gauss, exp(s, p)));
        let cdf = s.select(s.less(x, s.zero()), tail, s.sub(s.splat(1.0), tail));
        [cdf, s.mul(s.splat(INV_SQRT_2PI), gauss)]
    }
}

formula! {
    /// [cos 2 pi u, sin 2 pi u] for u in [0, 1).
    fn cos_sin_turns(s, u) -> [2] {
        let quarters = s.mul(u, s.splat(4.0));
        let nearest = s.round(quarters);
        let x = s.mul(s.sub(quarters, nearest), s.splat(std::f32::consts::FRAC_PI_2));
        let square = s.mul(x, x);
        let p = polynomial(s, square, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
        let sin = s.fma(s.mul(p, square), x, x);
        let p = polynomial(s, square, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
        let cos = s.fma(s.mul(p, square), square, s.fma(square, s.splat(-0.5), s.splat(1.0)));
        // Quarter turns: (c, s), (-s, c), (-c, -s), (s, -c).
        let q = s.to_int(nearest);
        let odd = s.less(s.zero(), s.to_float(s.and_u(q, s.splat_u(1))));
        let (c, d) = (s.select(odd, sin, cos), s.select(odd, cos, sin));
        let flip_c = s.shl_u::<30>(s.and_u(s.add_u(q, s.splat_u(1)), s.splat_u(2)));
        let flip_d = s.shl_u::<30>(s.and_u(q, s.splat_u(2)));
        [s.float_of(s.xor_u(s.to_bits(c), flip_c)), s.float_of(s.xor_u(s.to_bits(d), flip_d))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Lanes, Op, Simd};

    struct Map<F>(F, Lanes);
    trait Function {
        fn apply<S: Arithmetic>(&self, s: S, x: S::F) -> S::F;
    }
    impl<F: Function> Op for Map<F> {
        type Output = Lanes;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Lanes {
            let mut out = Lanes::default();
            s.store(self.0.apply(s, s.load(&self.1)), &mut out);
            out
        }
    }

    macro_rules! accuracy {
        ($test:ident, $range:expr, $tolerance:expr, |$s:ident, $x:ident| $ours:expr, $exact:expr) => {
            #[test]
            fn $test() {
                struct Ours;
                impl Function for Ours {
                    #[inline(always)]
                    fn apply<S: Arithmetic>(&self, $s: S, $x: S::F) -> S::F {
                        $ours
                    }
                }
                let (low, high): (f64, f64) = $range;
                let exact: fn(f64) -> f64 = $exact;
                for isa in Isa::available() {
                    for block in 0..2000 {
                        let x = Lanes(std::array::from_fn(|i| {
                            (low + (high - low) * (block * 16 + i) as f64 / 32_000.0) as f32
                        }));
                        let y = isa.run(Map(Ours, x));
                        for (&x, &y) in x.0.iter().zip(&y.0) {
                            let want = exact(f64::from(x));
                            let error = (f64::from(y) - want).abs() / want.abs().max(1e-30);
                            assert!(error < $tolerance, "{} at {x}: {y}, not {want}", isa.name());
                        }
                    }
                }
            }
        };
    }

    accuracy!(exp_is_accurate, (-86.9, 87.9), 2e-7, |s, x| exp(s, x), f64::exp);
    accuracy!(ln_is_accurate, (1e-9, 3.0), 3e-7, |s, x| ln(s, x), f64::ln);
    accuracy!(ln_1p_is_accurate, (1e-6, 1.0), 3e-7, |s, x| ln_1p(s, x), f64::ln_1p);
    accuracy!(tanh_is_accurate, (-12.0, 12.0), 4e-7, |s, x| tanh(s, x), f64::tanh);
    accuracy!(sigmoid_is_accurate, (-80.0, 80.0), 4e-7, |s, x| sigmoid(s, x), |x| {
        1.0 / (1.0 + (-x).exp())
    });
    accuracy!(softplus_is_accurate, (-80.0, 80.0), 4e-7, |s, x| sigmoid_softplus(s, x)[1], |x| {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    });
    accuracy!(ln_1p_of_is_accurate, (-0.9, 40.0), 3e-7, |s, x| ln_1p_of(s, x), f64::ln_1p);
    accuracy!(small_ln_1p_of_is_accurate, (-1e-3, 1e-3), 3e-7, |s, x| ln_1p_of(s, x), f64::ln_1p);
    // Near the zeros only the absolute error is small, so the comparison adds 2.
    accuracy!(
        cos_is_accurate,
        (0.0, 0.9999),
        2e-7,
        |s, u| s.add(cos_sin_turns(s, u)[0], s.splat(2.0)),
        |u| (u * std::f64::consts::TAU).cos() + 2.0
    );
    accuracy!(
        sin_is_accurate,
        (0.0, 0.9999),
        2e-7,
        |s, u| s.add(cos_sin_turns(s, u)[1], s.splat(2.0)),
        |u| (u * std::f64::consts::TAU).sin() + 2.0
    );

    #[test]
    fn factorials_and_digamma_are_exact_at_integers() {
        struct Remainders(Lanes);
        impl Op for Remainders {
            type Output = [Lanes; 2];
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> [Lanes; 2] {
                let x = s.load(&self.0);
                let mut out = [Lanes::default(); 2];
                s.store(stirling_remainder(s, x, ln(s, x)), &mut out[0]);
                s.store(digamma_remainder(s, x), &mut out[1]);
                out
            }
        }
        for isa in Isa::available() {
            let (mut ln_factorial, mut harmonic) = (0.0, 0.0); // ln x!, and the sum of 1 / i for i < x
            for x in 0..3000 {
                let [stirling, digamma] =
                    isa.run(Remainders(Lanes([x as f32; 16]))).map(|lanes| lanes.0[3]);
                if x < 2 {
                    assert_eq!(stirling, x as f32, "ln {x}! is zero"); // the remainder subtracts x ln x - x
                }
                if x == 0 {
                    continue;
                }
                let y = f64::from(x);
                ln_factorial += y.ln();
                let want = ln_factorial - (y * y.ln() - y);
                assert!((f64::from(stirling) - want).abs() < 6e-7 * want, "{x}: {stirling} {want}");
                const EULER: f64 = 0.577_215_664_901_532_9;
                let want = harmonic - EULER - y.ln();
                assert!(
                    (f64::from(digamma) - want).abs() < 6e-7 * want.abs(),
                    "{x}: {digamma} {want}"
                );
                harmonic += 1.0 / y;
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        struct All;
        impl Function for All {
            #[inline(always)]
            fn apply<S: Arithmetic>(&self, s: S, x: S::F) -> S::F {
                s.add(s.add(exp(s, x), tanh(s, x)), s.mul(sigmoid(s, x), normal_cdf_pdf(s, x)[0]))
            }
        }
        for isa in Isa::available() {
            let y = isa.run(Map(All, Lanes([f32::NAN; 16])));
            assert!(y.0.iter().all(|y| y.is_nan()), "{}", isa.name());
        }
    }
}
