//! Random numbers: xoshiro256++, seeded by splitmix64 from (seed, stream).
//!
//! Each message has its own stream, so that its bytes depend on the seed and its index alone, not
//! on the thread that makes it nor on what was made before. Not for cryptography.
//!
//! Invariant: the same (seed, stream) gives the same numbers on every platform (integers only).

use crate::bytes::{narrow, wide};

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

/// One step of splitmix64: well mixed bits of `x`.
pub(crate) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream `stream` of `seed`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let a = mix(mix(seed) ^ stream);
        let b = mix(a);
        let c = mix(b);
        Self { a, b, c, d: mix(c) | 1 }
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        let out = self.a.wrapping_add(self.d).rotate_left(23).wrapping_add(self.a);
        let t = self.b << 17;
        self.c ^= self.a;
        self.d ^= self.b;
        self.b ^= self.c;
        self.a ^= self.d;
        self.c ^= t;
        self.d = self.d.rotate_left(45);
        out
    }

    /// A number below `n`; 0 for `n` = 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(n);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A place in a list of `n`.
    pub(crate) fn place(&mut self, n: usize) -> usize {
        narrow(self.below(wide(n)))
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `per_mille` of 1,000 cases.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of the list, as bytes; nothing of an empty list.
    pub(crate) fn pick<'a, T: AsRef<[u8]>>(&mut self, list: &'a [T]) -> &'a [u8] {
        list.get(self.place(list.len())).map(AsRef::as_ref).unwrap_or_default()
    }

    /// A byte that isn't zero.
    pub(crate) fn nonzero_byte(&mut self) -> u8 {
        u8::try_from(self.between(1, 255)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            (0..8).map(|_| rng.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn numbers_keep_their_bounds_and_reach_them() {
        let mut rng = Rng::new(5, 5);
        let seen: Vec<u64> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(seen.iter().min(), Some(&3));
        assert_eq!(seen.iter().max(), Some(&6));
        assert_eq!(rng.below(0), 0);
    }
}
