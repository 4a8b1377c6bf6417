//! Doors.

mod internal;

pub use internal::Internal;
