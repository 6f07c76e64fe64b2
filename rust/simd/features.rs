//! Instructions of the CPU for short operands, beyond the sets of [`super::Isa`].

/// Whether the CPU has each of these, by name: products of bfloat16 pairs (AVX-512 BF16), of int8 quadruples (AVX-512 VNNI),
/// and tiles of both (AMX), which no kernel uses.
pub fn features() -> [(&'static str, bool); 3] {
    #[cfg(target_arch = "x86_64")]
    let [bf16, vnni, amx] = [
        std::arch::is_x86_feature_detected!("avx512bf16"),
        std::arch::is_x86_feature_detected!("avx512vnni"),
        amx(),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let [bf16, vnni, amx] = [false; 3];
    [("avx512_bf16", bf16), ("avx512_vnni", vnni), ("amx", amx)]
}

/// Whether the CPU has AMX tiles: bit 24 of EDX in leaf 7. The standard library's detection of AMX is not stable.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, unused_unsafe)] // `__cpuid` is safe in later compilers
fn amx() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const LEAF: u32 = 7;
    // SAFETY: every x86-64 CPU has the instruction; leaf 0 gives the last leaf.
    unsafe { __cpuid(0).eax >= LEAF && __cpuid_count(LEAF, 0).edx >> 24 & 1 == 1 }
}
