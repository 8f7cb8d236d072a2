//! What the processor and the system can be told of memory: the only unsafe code.
//!
//! Stores leave a core in order, so one that misses the cache holds up all that follow it; and a load whose address hangs on
//! another load cannot begin early by itself.
#![allow(unsafe_code, reason = "both calls take a raw pointer; this is the one place that does")]

use bytemuck::Pod;

#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;
/// Of the smallest page. Advice must begin at one.
const PAGE_BYTES: usize = 4096;

/// Asks for the line where `value` begins, without waiting for it. Does nothing on processors other than x86-64.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_lines::<T, 0, 1>(value);
}

/// Asks for the lines of `value` from one to before another, without waiting for them. Does nothing on processors other than x86-64.
#[inline]
pub fn prefetch_lines<T, const FROM: usize, const TO: usize>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in FROM..TO {
        let address = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line * LINE_BYTES);
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Has the system give the memory of zeroed `records` now, in huge pages if it has them: fewer addresses to translate, and no page fault
/// later. Zeroed memory is not there until it is written to.
pub fn touch<T: Pod>(records: &mut [T]) {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(records);
    let skip = bytes.as_ptr().align_offset(PAGE_BYTES).min(bytes.len());
    let pages = &mut bytes[skip..];
    // SAFETY: the range is that of a live slice from a page's beginning, and this advice does not change what it holds. Where the system
    // refuses it, pages stay small.
    let _ = unsafe {
        rustix::mm::madvise(pages.as_mut_ptr().cast(), pages.len(), rustix::mm::Advice::LinuxHugepage)
    };
    // The write must not be optimised away.
    records.iter_mut().for_each(|record| *record = std::hint::black_box(T::zeroed()));
}

/// Writes a record past the caches, for one that will not be read soon: a line written whole need not be fetched first.
///
/// These stores are not ordered with later ones. Only the thread that wrote may read the record, unless a fence comes between.
#[inline]
pub fn stream<T: Pod>(to: &mut T, record: &T) {
    #[cfg(target_arch = "x86_64")]
    if const { size_of::<T>().is_multiple_of(16) && align_of::<T>() >= 16 } {
        use std::arch::x86_64::{__m128i, _mm_load_si128, _mm_stream_si128};
        let (to, from) =
            (std::ptr::from_mut(to).cast::<__m128i>(), std::ptr::from_ref(record).cast::<__m128i>());
        for part in 0..size_of::<T>() / 16 {
            // SAFETY: both are live, aligned to 16 bytes and that many parts long, and every bit pattern of a `Pod` is valid.
            unsafe { _mm_stream_si128(to.add(part), _mm_load_si128(from.add(part))) };
        }
        return;
    }
    *to = *record;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_record_is_the_record() {
        let mut records = bytemuck::zeroed_slice_box::<u128>(1 << 12);
        touch(&mut records);
        assert!(records.iter().all(|&record| record == 0));
        for (place, record) in records.iter_mut().enumerate() {
            stream(record, &(place as u128 + 1));
        }
        assert!(records.iter().enumerate().all(|(place, &record)| record == place as u128 + 1));
    }

    #[test]
    fn a_record_that_cannot_be_streamed_is_copied() {
        let mut records = [0u32; 3];
        stream(&mut records[1], &7);
        assert_eq!(records, [0, 7, 0]);
    }
}
