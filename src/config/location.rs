//! Where values stand.

use std::ops::Range;

/// Where a value, or the lack of one, is to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Location {
    File(Range<usize>),
    Variable(String),
    /// An option of the command line, and the variable that it goes before.
    Argument(&'static str, String),
    Missing,
}
