//! What is noted of a connection: made of its request and its caller's claims, within bounds, and never a token.

use std::sync::Arc;

use crate::config;
use crate::config::TokenSource;
use crate::event::{ConnectionMeta, is_cursor_parameter};
use crate::subscribe::route::{Route, Values};
use crate::telemetry;

/// How much is noted of each connection, and what is not.
pub(super) struct MetaBounds {
    entries: usize,
    bytes: usize,
    /// Parameters of the query where a token may stand.
    tokens: Box<[Box<str>]>,
}

/// How long the name of a parameter may be that is noted.
const MAX_NAME: usize = 64;

/// What the names of parameters end with that hold what nobody else may read, in small letters.
const SECRETS: [&str; 12] = [
    "token",
    "jwt",
    "ticket",
    "secret",
    "password",
    "passwd",
    "apikey",
    "authorization",
    "auth",
    "signature",
    "signedstreamname",
    "credential",
];

impl MetaBounds {
    pub(super) fn new(limits: &config::Limits, auth: &config::Auth) -> Self {
        let sources = auth.jwt.iter().flat_map(|jwt| &jwt.from);
        let tokens = sources.filter_map(|source| match source {
            TokenSource::Query(name) => Some(name.as_str().into()),
            TokenSource::Header(_) | TokenSource::Cookie(_) => None,
        });
        Self { entries: limits.meta_entries, bytes: limits.meta_bytes, tokens: tokens.collect() }
    }

    /// What is noted of a connection by `route`; None when it is nothing. What goes beyond a bound is left out.
    pub(super) fn note(&self, route: &Route<'_>, values: Values<'_>) -> Option<Arc<ConnectionMeta>> {
        let asked = route.meta()?;
        let mut noted = Noted { bounds: self, meta: ConnectionMeta::default(), left: self.entries, bytes: 0 };
        for (name, template) in &asked.named {
            if let Some(text) = route.text_of(template, values) {
                noted.add(name, &text);
            }
        }
        if asked.query {
            for (name, text) in values.query.pairs() {
                let is_ours =
                    matches!(name, "history" | "since") || name == "client" || is_cursor_parameter(name);
                if !is_ours && !text.is_empty() && !route.names_parameter(name) && !self.may_be_secret(name) {
                    noted.add(name, text);
                }
            }
        }
        (!noted.meta.is_empty()).then(|| Arc::new(noted.meta))
    }

    /// Whether a parameter of this name is for the eyes of those alone who check it.
    fn may_be_secret(&self, name: &str) -> bool {
        let plain: String =
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        self.tokens.iter().any(|token| **token == *name) || SECRETS.iter().any(|end| plain.ends_with(end))
    }
}

/// What has been noted so far, and how much more may be.
struct Noted<'a> {
    bounds: &'a MetaBounds,
    meta: ConnectionMeta,
    left: usize,
    bytes: usize,
}

impl Noted<'_> {
    fn add(&mut self, name: &str, text: &str) {
        let bytes = name.len() + text.len();
        let fits = self.left > 0 && self.bytes + bytes <= self.bounds.bytes && name.len() <= MAX_NAME;
        if !fits || name.chars().chain(text.chars()).any(char::is_control) {
            metrics::counter!(telemetry::META_LEFT_OUT).increment(1);
            return;
        }
        self.left -= 1;
        self.bytes += bytes;
        self.meta.insert(name, text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::Template;
    use crate::subscribe::query::StreamQuery;
    use crate::subscribe::route::Routes;

    fn noted(meta: config::MetaTemplates, (entries, bytes): (usize, usize), query: &str) -> String {
        let stream = config::Stream {
            topics: vec![Template::parse("c:{query.c}").unwrap()],
            meta: Some(meta),
            ..config::Stream::default()
        };
        let routes = Routes::of(&[stream]);
        let route = routes.find("/events", Some(query)).unwrap();
        let limits = config::Limits { meta_entries: entries, meta_bytes: bytes, ..config::Limits::default() };
        let auth = config::Auth { jwt: Some(config::Jwt::default()), ..config::Auth::default() };
        let query = StreamQuery::new(Some(query));
        let claims = json!({ "plan": "pro", "roles": ["a", "b"] });
        let values = Values { query: &query, claims: claims.as_object().unwrap() };
        let meta = MetaBounds::new(&limits, &auth).note(&route, values);
        meta.map_or("nothing".to_owned(), |meta| serde_json::to_string(&*meta).unwrap())
    }

    fn named(entries: &[(&str, &str)]) -> config::MetaTemplates {
        let named = entries.iter().map(|(name, text)| ((*name).to_owned(), Template::parse(text).unwrap()));
        config::MetaTemplates { named: named.collect(), query: false }
    }

    const ENOUGH: (usize, usize) = (16, 1024);

    #[test]
    fn templates_make_texts_of_the_request_and_the_claims() {
        let meta = named(&[
            ("device", "{query.device}"),
            ("plan", "{claim.plan}"),
            ("roles", "{claim.roles}"),
            ("os", "{query.os:-unknown}"),
            ("gone", "{query.gone}-{claim.plan}"),
        ]);
        let all = r#"{"device":"phone","os":"unknown","plan":"pro","roles":"a,b"}"#;
        assert_eq!(noted(meta.clone(), ENOUGH, "c=1&device=phone"), all);
        assert_eq!(noted(named(&[("device", "{query.device}")]), ENOUGH, "c=1&device="), "nothing");
    }

    #[test]
    fn of_the_query_all_is_noted_but_what_is_ours_or_secret() {
        let all = || config::MetaTemplates { named: vec![], query: true };
        let query = "c=1&device=phone&token=t&accessToken=t&api_key=k&ticket=t&X-Auth=a&lastEventId=5-0\
            &history=3&app=x&app=y&empty=&signed-stream-name=s";
        assert_eq!(noted(all(), ENOUGH, query), r#"{"app":"y","device":"phone"}"#);
        assert_eq!(noted(all(), ENOUGH, "c=1&token=t"), "nothing");
    }

    #[test]
    fn what_is_too_much_is_left_out() {
        let all = || config::MetaTemplates { named: vec![], query: true };
        assert_eq!(noted(all(), (2, 1024), "c=1&x=1&y=2&z=3"), r#"{"x":"1","y":"2"}"#);
        assert_eq!(noted(all(), (9, 10), "c=1&x=123456789&y=2&z=3"), r#"{"x":"123456789"}"#);
        assert_eq!(noted(all(), (9, 4), "c=1&x=123456789&y=2&z=3"), r#"{"y":"2","z":"3"}"#);
        assert_eq!(noted(all(), ENOUGH, "c=1&x=a%00b&y=2"), r#"{"y":"2"}"#);
    }
}
