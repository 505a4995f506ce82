//! Memory that is asked for before it is needed, where the machine can: rows that lie anywhere take longer to come than to be added up.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use faer::traits::pulp::x86::V3;

/// Bytes that come from memory together.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks for memory.
#[derive(Clone, Copy)]
pub struct Prefetch {
    #[cfg(target_arch = "x86_64")]
    simd: Option<V3>,
}

impl Prefetch {
    pub fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            simd: V3::try_new(),
        }
    }

    /// The lines that hold these values, as far as there are such.
    #[inline(always)]
    pub fn lines<T>(self, values: &[T], of: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = self.simd {
            for value in values.get(of.start..of.end.min(values.len())).into_iter().flatten().step_by(LINE / size_of::<T>()) {
                simd.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (values, of);
    }
}
