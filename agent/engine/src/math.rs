//! Functions of numbers whose last bits are the same on every machine.
//!
//! Rust's methods of these names call the C library, and no two C libraries, nor one of them on two processors, agree on every last
//! bit: the same model would answer otherwise on another board. These are computed by `libm`, which is Rust alone. What the kernels
//! need many of at once, they compute themselves ([`Simd::exponential`](crate::cpu::simd::Simd::exponential)).

/// eˣ.
pub(crate) fn exp(x: f32) -> f32 {
    libm::expf(x)
}

/// eˣ.
pub(crate) fn exp_f64(x: f64) -> f64 {
    libm::exp(x)
}

/// ln x.
pub(crate) fn ln_f64(x: f64) -> f64 {
    libm::log(x)
}

/// xʸ.
pub(crate) fn power_f64(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

/// tanh x.
pub(crate) fn tanh(x: f32) -> f32 {
    libm::tanhf(x)
}

/// sin x and cos x, x in radians.
pub(crate) fn sin_cos(x: f32) -> (f32, f32) {
    libm::sincosf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the bits of every number.
    fn bits(numbers: impl Iterator<Item = f64>) -> u64 {
        let bytes = numbers.flat_map(|number| number.to_bits().to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Numbers of all sizes and both signs that these functions are asked for.
    fn sweep() -> impl Iterator<Item = f32> {
        (0..20_000).map(|step: i16| f32::from(step - 10_000) * 0.003_7)
    }

    #[test]
    fn they_are_near_the_c_library_s() {
        for x in sweep() {
            let wide = f64::from(x);
            assert!((f64::from(exp(x)) / wide.exp() - 1.0).abs() < 1e-6, "exp {x}");
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 1e-6, "tanh {x}");
            let (sine, cosine) = sin_cos(x);
            assert!((f64::from(sine) - wide.sin()).abs().max((f64::from(cosine) - wide.cos()).abs()) < 1e-6, "{x}");
            assert!((exp_f64(wide) / wide.exp() - 1.0).abs() < 1e-14, "exp {wide}");
            assert!((ln_f64(wide.abs() + 0.1) - (wide.abs() + 0.1).ln()).abs() < 1e-14, "ln of |{wide}| + 0.1");
            assert!(
                (power_f64(10_000.0, -wide.abs() / 37.0) / 10_000_f64.powf(-wide.abs() / 37.0) - 1.0).abs() < 1e-13
            );
        }
    }

    /// A newer `libm` may have other bits: then every answer may change, and this says so.
    #[test]
    fn their_bits_are_those_of_every_other_machine() {
        let single = |function: fn(f32) -> f32| bits(sweep().map(|x| function(x).into()));
        let double = |function: fn(f64) -> f64| bits(sweep().map(|x| function(f64::from(x).abs() + 0.1)));
        let found = [
            single(exp),
            single(tanh),
            single(|x| sin_cos(x).0),
            single(|x| sin_cos(x).1),
            double(|x| exp_f64(-x)),
            double(ln_f64),
            double(|x| power_f64(10_000.0, -x)),
        ];
        let known = [
            0x2877_215c_8f08_0371,
            0xa3d8_18e6_14c6_3098,
            0x2fad_2340_e563_26d8,
            0x71d6_d228_04f6_2bfe,
            0x35b9_caba_aba3_2fe0,
            0xb841_1a8a_0891_2843,
            0x759e_a5aa_4dd4_d215,
        ];
        assert_eq!(found, known);
    }
}
