//! Writing numbers into byte buffers without allocation, and conversions between integer widths.
//!
//! What it deliberately does not do: formatting through `std::fmt`, which would cost more than all
//! the rest of a message's header.
//!
//! Invariant: nothing here fails; conversions saturate.

/// A length as a 64-bit number.
pub(crate) fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A 64-bit number as a length.
pub(crate) fn narrow(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A length as a 32-bit number.
pub(crate) fn short(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Appends `n` in decimal.
pub(crate) fn num(out: &mut Vec<u8>, n: u64) {
    pad(out, n, 1);
}

/// Appends `n` in decimal with at least `width` digits (at most 20).
pub(crate) fn pad(out: &mut Vec<u8>, n: u64, width: usize) {
    radix(out, n, width, 10, b"0123456789");
}

/// Appends `n` in lower-case hexadecimal with at least `width` digits (at most 20).
pub(crate) fn hex(out: &mut Vec<u8>, n: u64, width: usize) {
    radix(out, n, width, 16, b"0123456789abcdef");
}

/// Appends `n` in upper-case hexadecimal with at least `width` digits (at most 20).
pub(crate) fn hex_upper(out: &mut Vec<u8>, n: u64, width: usize) {
    radix(out, n, width, 16, b"0123456789ABCDEF");
}

fn radix(out: &mut Vec<u8>, mut n: u64, width: usize, base: u64, digits: &[u8]) {
    let mut buffer = [b'0'; 20];
    let mut used = 0;
    for slot in buffer.iter_mut().rev() {
        if n == 0 && used >= width.max(1) {
            break;
        }
        *slot = digits.get(narrow(n % base)).copied().unwrap_or(b'?');
        n /= base;
        used += 1;
    }
    out.extend_from_slice(buffer.get(buffer.len() - used..).unwrap_or_default());
}

/// Overwrites the bytes of `buffer` from `at` on; does nothing where they would not fit.
pub(crate) fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = buffer.get_mut(at..at.saturating_add(bytes.len())) {
        slot.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_by_format() {
        for n in [0, 7, 10, 99, 12_345, u64::MAX] {
            let mut out = Vec::new();
            num(&mut out, n);
            assert_eq!(out, n.to_string().into_bytes());
            out.clear();
            hex(&mut out, n, 12);
            assert_eq!(out, format!("{n:012x}").into_bytes());
            out.clear();
            hex_upper(&mut out, n, 1);
            assert_eq!(out, format!("{n:X}").into_bytes());
            out.clear();
            pad(&mut out, n, 4);
            assert_eq!(out, format!("{n:04}").into_bytes());
        }
    }

    #[test]
    fn put_keeps_within_the_buffer() {
        let mut buffer = [0_u8; 4];
        put(&mut buffer, 1, &[1, 2]);
        put(&mut buffer, 3, &[9, 9]);
        assert_eq!(buffer, [0, 1, 2, 0]);
    }
}
