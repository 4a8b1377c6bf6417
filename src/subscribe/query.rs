//! The query of a request for a stream.

use std::borrow::Cow;

/// A request's query, decoded as the WHATWG URL standard says.
pub(super) struct StreamQuery<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> StreamQuery<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or("").as_bytes()).collect())
    }

    /// Every parameter with its value, as they came.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every value of `name` that is not empty.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| &**value)
            .collect()
    }

    /// The first value of `name` that is not empty.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| &**value)
    }

    /// The last value that is not empty of the parameters that `is_meant` names.
    pub(super) fn last_of(&self, is_meant: impl Fn(&str) -> bool) -> Option<&str> {
        let last = self.0.iter().rev().find(|(key, value)| is_meant(key) && !value.is_empty());
        last.map(|(_, value)| &**value)
    }

    /// Whether `name` is given with nothing behind it.
    pub(super) fn has_empty(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && value.is_empty())
    }
}
