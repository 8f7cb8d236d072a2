//! Asking the processor for a cache line before it is written.
//!
//! Stores leave a core in order, so one that misses the cache holds up all that follow it.
#![allow(unsafe_code, reason = "the intrinsic takes a raw pointer; this is the one place that does")]

/// Asks for the line of `value` without waiting for it. Does nothing on processors other than x86-64.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, and the address is that of a live reference besides.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(value).cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
