//! A key as its section's table has it.

/// What a row says of a key, apart from its type and its parser.
#[derive(Clone, Copy)]
pub(in crate::config) struct KeySpec {
    pub(in crate::config) name: &'static str,
    /// A value as it stands in a file: the default, or an example where there is none.
    pub(in crate::config) sample: &'static str,
    pub(in crate::config) about: &'static str,
}
