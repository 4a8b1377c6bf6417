//! By what streams hold keys.

use std::ops::BitOr;

use crate::event::Key;

/// By what a stream holds a key: its own request, or what was given to its user, session or client. A set of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeldBy(u8);

impl HeldBy {
    pub const NOTHING: Self = Self(0);
    pub const REQUEST: Self = Self(1);
    pub(super) const USER: Self = Self(2);
    pub(super) const SESSION: Self = Self(4);
    pub(super) const CLIENT: Self = Self(8);
    /// Whatever is not the request's.
    pub const GIVEN: Self = Self(2 | 4 | 8);
    /// How many bits one takes.
    pub const BITS: u32 = 4;

    /// None for what topics cannot be given to.
    pub(super) fn of(key: &Key) -> Option<Self> {
        match key {
            Key::User(_) => Some(Self::USER),
            Key::Session(_) => Some(Self::SESSION),
            Key::Client(_) => Some(Self::CLIENT),
            _ => None,
        }
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    pub fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// The one whose [`bits`](Self::bits) these are; higher ones are not looked at.
    pub fn from_bits(bits: u32) -> Self {
        Self((bits & ((1 << Self::BITS) - 1)) as u8)
    }
}

impl BitOr for HeldBy {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
