//! Small random numbers for spreading things in time; nothing here is a secret.

/// xorshift64* (Vigna 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        Self(getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number in `0..below`; 0 when `below` is 0.
    pub(super) fn below(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        ((u64::from(high) * u64::from(below)) >> 32) as u32
    }
}
