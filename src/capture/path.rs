//! Paths with named segments, and what of a request's path the names stand for.

/// A path as it is configured: `/rooms/{room}/chat`.
#[derive(Debug)]
pub(super) struct PathTemplate(Box<str>);

/// A path's values by the names of their segments, decoded.
pub(super) type PathValues = Vec<(Box<str>, String)>;

impl PathTemplate {
    pub(super) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The values of `path`, as it stands in a request; None when it is another one.
    pub(super) fn values_of(&self, path: &str) -> Option<PathValues> {
        if self.0.bytes().filter(|&b| b == b'/').count() != path.bytes().filter(|&b| b == b'/').count() {
            return None;
        }
        let mut values = PathValues::new();
        for (own, given) in self.0.split('/').zip(path.split('/')) {
            let name = own.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(_) if given.is_empty() => return None,
                Some(name) => {
                    let value = percent_encoding::percent_decode_str(given).decode_utf8().ok()?;
                    values.push((name.into(), value.into_owned()));
                }
                None if own != given => return None,
                None => {}
            }
        }
        Some(values)
    }
}

/// The last value of `name`.
pub(super) fn value<'v>(values: &'v PathValues, name: &str) -> Option<&'v str> {
    values.iter().rev().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_matches_segment_by_segment() {
        let template = PathTemplate::new("/rooms/{room}/chat");
        let found = template.values_of("/rooms/a%20b/chat").unwrap();
        assert_eq!(value(&found, "room"), Some("a b"));
        assert_eq!(value(&found, "id"), None);
        for other in
            ["/rooms//chat", "/rooms/a", "/rooms/a/chat/", "/rooms/a/b", "rooms/a/chat", "/rooms/%ff/chat"]
        {
            assert!(template.values_of(other).is_none(), "{other}");
        }
    }
}
