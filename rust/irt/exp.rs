//! e^x in double precision, in a form that the compiler turns into vector code.

const LN_2_HI: f64 = 0.693_147_180_369_123_8;
const LN_2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5 * 2^52: a sum with it has no fraction, and the low bits are the integer.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// 1 / k! for k = 12, 11, ..., 0: the remainder is below 2e-16 for |r| <= ln 2 / 2.
const COEFFICIENTS: [f64; 13] = [
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// e^x for x in [-700, 700], to which x is clamped.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    let x = if x < -700.0 { -700.0 } else { x };
    let x = if x > 700.0 { 700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN_2_HI) - n * LN_2_LO;
    let mut sum = COEFFICIENTS[0];
    for c in &COEFFICIENTS[1..] {
        sum = sum * r + c;
    }
    sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_exact_to_a_few_units_in_the_last_place() {
        for i in -7000..=7000 {
            let x = f64::from(i) * 0.099_7;
            let (found, want) = (exp(x), x.exp());
            assert!((found / want - 1.0).abs() < 1e-15, "{x}: {found} {want}");
        }
        assert!(exp(-1e6) > 0.0 && exp(-1e6) < 1e-300);
    }
}
