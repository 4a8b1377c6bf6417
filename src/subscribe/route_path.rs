//! The path of a route, held against those of requests.

/// A path with names for some of its segments.
pub(super) struct RoutePath(Box<[Segment]>);

enum Segment {
    Literal(Box<str>),
    Value(Box<str>),
}

impl RoutePath {
    /// As it is configured.
    pub(super) fn new(text: &str) -> Self {
        let segment = |text: &str| match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => Segment::Value(name.into()),
            None => Segment::Literal(text.into()),
        };
        Self(text.split('/').map(segment).collect())
    }

    /// The named segments of `path`, percent-decoded; None where it is another path.
    pub(super) fn values(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let mut values = Vec::new();
        let mut given = path.split('/');
        for segment in &self.0 {
            let text = given.next()?;
            match segment {
                Segment::Literal(literal) if **literal == *text => {}
                Segment::Value(name) if !text.is_empty() => {
                    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
                    values.push((&**name, text.into_owned()));
                }
                _ => return None,
            }
        }
        given.next().is_none().then_some(values)
    }
}
