//! Which path is a stream, and the topics that a request for it names.

use std::borrow::Cow;

use crate::config;
use crate::event::{Name, Placeholder, Template};

use super::refusal::BadRequest;

/// The configured routes, in order.
pub(super) struct Routes(Box<[Settled]>);

struct Settled {
    segments: Box<[Segment]>,
    topics: Box<[Template]>,
    user: Option<Template>,
    session: Option<Template>,
}

enum Segment {
    Literal(Box<str>),
    Value(Box<str>),
}

/// A route that a request's path has matched.
pub struct Route<'a> {
    settled: &'a Settled,
    /// The path's values by name, percent-decoded.
    path: Vec<(&'a str, String)>,
}

/// Whom and what a request asks for.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) topics: Vec<Name>,
    pub(super) user: Option<Name>,
    pub(super) session: Option<Name>,
}

impl Routes {
    pub(super) fn new(streams: &[config::Stream]) -> Self {
        let settle = |stream: &config::Stream| Settled {
            segments: stream
                .path
                .split('/')
                .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) => Segment::Value(name.into()),
                    None => Segment::Literal(segment.into()),
                })
                .collect(),
            topics: stream.topics.clone().into(),
            user: stream.user.clone(),
            session: stream.session.clone(),
        };
        Self(streams.iter().map(settle).collect())
    }

    /// The first route that matches `path` as it stands in the request.
    pub(super) fn find(&self, path: &str) -> Option<Route<'_>> {
        self.0.iter().find_map(|settled| Some(Route { settled, path: settled.matches(path)? }))
    }
}

impl Settled {
    fn matches(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let mut values = Vec::new();
        let mut given = path.split('/');
        for segment in &self.segments {
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

impl Route<'_> {
    /// What the request's query asks for, at most `max_topics` topics. A query parameter that a template names may
    /// be given several times: each value makes a topic.
    pub(super) fn asked(&self, query: &Query<'_>, max_topics: usize) -> Result<Asked, BadRequest> {
        let mut topics: Vec<Name> = Vec::new();
        for template in &self.settled.topics {
            self.each(template, query, &mut |name| {
                if !topics.contains(&name) {
                    if max_topics != 0 && topics.len() >= max_topics {
                        return Err(BadRequest::TooManyTopics { max: max_topics });
                    }
                    topics.push(name);
                }
                Ok(())
            })?;
        }
        let user = self.settled.user.as_ref().map(|template| self.one(template, query)).transpose()?;
        let session = self.settled.session.as_ref().map(|template| self.one(template, query)).transpose()?;
        Ok(Asked { topics, user, session })
    }

    /// The name that `template` makes. A query parameter that it names may be given once.
    fn one(&self, template: &Template, query: &Query<'_>) -> Result<Name, BadRequest> {
        let mut names = Vec::new();
        self.each(template, query, &mut |name| {
            names.push(name);
            Ok(())
        })?;
        match <[Name; 1]>::try_from(names) {
            Ok([name]) => Ok(name),
            Err(_) => Err(BadRequest::Repeated("a query parameter that names the user or the session")),
        }
    }

    /// Calls `take` for every name that `template` makes: one for each combination of the query's values.
    fn each(
        &self,
        template: &Template,
        query: &Query<'_>,
        take: &mut dyn FnMut(Name) -> Result<(), BadRequest>,
    ) -> Result<(), BadRequest> {
        let mut names: Vec<&str> = template
            .placeholders()
            .filter(|placeholder| &*placeholder.source == "query")
            .map(|placeholder| &*placeholder.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let values: Vec<Vec<&str>> = names.iter().map(|name| query.all(name)).collect();
        if let Some(at) = values.iter().position(Vec::is_empty) {
            return Err(BadRequest::MissingQuery(names[at].to_owned()));
        }
        // An odometer over the values: which of each parameter's values is taken.
        let mut taken = vec![0; names.len()];
        loop {
            let value = |placeholder: &Placeholder| -> Option<&str> {
                if &*placeholder.source == "query" {
                    let at = names.iter().position(|name| **name == *placeholder.name)?;
                    return Some(values[at][taken[at]]);
                }
                self.path
                    .iter()
                    .find(|(name, _)| **name == *placeholder.name)
                    .map(|(_, value)| value.as_str())
            };
            let text = template
                .render(value)
                .map_err(|missing| BadRequest::MissingQuery(missing.placeholder.name.into_string()))?;
            let name = Name::parse(&text)
                .map_err(|why| BadRequest::BadName { name: template.as_str().to_owned(), why })?;
            take(name)?;
            let Some(at) = (0..taken.len()).find(|&at| taken[at] + 1 < values[at].len()) else {
                return Ok(());
            };
            taken[at] += 1;
            taken[..at].fill(0);
        }
    }
}

/// A request's query, decoded as the WHATWG URL standard says.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(form_urlencoded::parse(query.unwrap_or("").as_bytes()).collect())
    }

    /// Every value of `name` that is not empty.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| &**value)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(path: &str, topics: &[&str], user: Option<&str>) -> Routes {
        let template = |text: &str| Template::parse(text).unwrap();
        Routes::new(&[config::Stream {
            path: path.to_owned(),
            topics: topics.iter().copied().map(template).collect(),
            user: user.map(template),
            ..config::Stream::default()
        }])
    }

    fn asked(routes: &Routes, path: &str, query: &str) -> Result<Vec<String>, BadRequest> {
        let asked = routes.find(path).unwrap().asked(&Query::new(Some(query)), 4)?;
        Ok(asked.topics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_path_matches_segment_by_segment() {
        let routes = routes("/rooms/{room}/events", &["room:{path.room}"], None);
        assert_eq!(asked(&routes, "/rooms/a%20b%2Fc/events", "").unwrap(), ["room:a b/c"]);
        for other in [
            "/rooms//events",
            "/rooms/a/events/",
            "/rooms/a",
            "/rooms/a/b/events",
            "//rooms/a/events",
            "/rooms/%ff/events",
        ] {
            assert!(routes.find(other).is_none(), "{other}");
        }
    }

    #[test]
    fn every_value_of_a_parameter_makes_a_topic_once() {
        let routes = routes("/events", &["all", "c:{query.c}"], None);
        assert_eq!(asked(&routes, "/events", "c=1&c=2&c=1&x=9").unwrap(), ["all", "c:1", "c:2"]);
        assert_eq!(asked(&routes, "/events", "c=%E2%98%82+x").unwrap(), ["all", "c:☂ x"]);
        let pairs = self::routes("/events", &["{query.a}/{query.b}"], None);
        assert_eq!(asked(&pairs, "/events", "a=1&b=2&a=3&b=4").unwrap(), ["1/2", "3/2", "1/4", "3/4"]);
    }

    #[test]
    fn what_a_request_lacks_or_has_too_much_of_is_named() {
        let routes = routes("/events", &["c:{query.c}"], Some("{query.u}"));
        let missing = |name: &str| Err(BadRequest::MissingQuery(name.to_owned()));
        assert_eq!(asked(&routes, "/events", "u=1"), missing("c"));
        assert_eq!(asked(&routes, "/events", "c=&u=1"), missing("c"));
        assert_eq!(asked(&routes, "/events", "c=1"), missing("u"));
        assert!(matches!(asked(&routes, "/events", "c=1&u=1&u=2"), Err(BadRequest::Repeated(_))));
        assert_eq!(
            asked(&routes, "/events", "u=1&c=1&c=2&c=3&c=4&c=5"),
            Err(BadRequest::TooManyTopics { max: 4 })
        );
        assert!(matches!(asked(&routes, "/events", "u=1&c=%00"), Err(BadRequest::BadName { .. })));
        let long = format!("u=1&c={}", "x".repeat(300));
        assert!(matches!(asked(&routes, "/events", &long), Err(BadRequest::BadName { .. })));
    }
}
