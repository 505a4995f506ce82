//! Memory that is asked for before it is needed, where the machine can: rows that lie anywhere take longer to come than to be added up.

#[cfg(target_arch = "x86_64")]
use faer::traits::pulp::x86::V3;

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

    /// The line that holds `values[at]`, if there is such a value.
    #[inline(always)]
    pub fn line<T>(self, values: &[T], at: usize) {
        #[cfg(target_arch = "x86_64")]
        if let (Some(simd), Some(value)) = (self.simd, values.get(at)) {
            simd.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (values, at);
    }
}
