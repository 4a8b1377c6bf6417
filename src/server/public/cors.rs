//! Which pages of other origins may open the streams and read them (CORS, as the WHATWG Fetch standard has it).
//!
//! Speaks of the streams' own paths only: what the backend answers elsewhere is its own affair. Without configured
//! origins nothing is said, and no page of another origin may use what the browser sends along by itself.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, COOKIE, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};

use crate::config;
use crate::server::respond;
use crate::server::respond::FullResponse;

/// What a page may ask with, beside what needs no preflight.
const METHODS: &str = "GET, POST";
const HEADERS: &str = "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-Auth-Token";
/// What a page may read of an answer, beside what it may always.
const EXPOSED: &str = "Retry-After, WWW-Authenticate";

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const REQUEST_PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The pages that may read the streams.
pub(super) struct Cors {
    origins: Box<[config::OriginPattern]>,
    /// What pages may send; None is whatever they ask for.
    headers: Option<HeaderValue>,
    any: bool,
    credentials: bool,
    max_age: HeaderValue,
}

impl Cors {
    pub(super) fn new(settings: &config::Cors) -> Self {
        Self {
            origins: settings.origins.clone().into(),
            any: settings.origins.iter().any(config::OriginPattern::is_any),
            headers: named(&settings.headers),
            credentials: settings.credentials,
            max_age: HeaderValue::from(settings.max_age.as_secs()),
        }
    }

    /// Whether a route that verifies its callers may answer the request, whose own origin is `own`. Not when it is a
    /// page's of another site that is not on the list, nor when it brings cookies that it may not: the browser would
    /// keep the answer from the page, but the stream would take a seat of the user's.
    pub(super) fn admits(&self, request: &HeaderMap, own: Option<&str>) -> bool {
        let mut origins = request.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            // A page's `<img>` or `<iframe>` names no origin, but newer browsers say where it stands.
            (None, _) => {
                let mut sites = request.get_all(SITE).iter();
                sites.all(|site| matches!(site.as_bytes(), b"none" | b"same-origin"))
            }
            (Some(origin), None) => {
                // A page cannot set the field of the browser, and the proxy in between may have changed the host.
                site_is_own(request)
                    || own.is_some_and(|own| origin.as_bytes() == own.as_bytes())
                    || (self.lists(origin) && (self.credentials || !request.contains_key(COOKIE)))
            }
            (Some(_), Some(_)) => false,
        }
    }

    /// Says on the answer to a request for a stream which page may read it, whatever the answer is.
    pub(super) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        for name in
            [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS]
        {
            answer.remove(name);
        }
        if self.allow(request, answer) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
        if !self.any {
            // Without an origin, too: a cache must not give that answer to a page.
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
    }

    /// The answer to a browser that asks whether a page may send a GET or POST to a stream's path. None when it does
    /// not ask that: then the request is the backend's.
    pub(super) fn preflight(&self, request: &HeaderMap) -> Option<FullResponse> {
        let method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if self.origins.is_empty() || !matches!(method.as_bytes(), b"GET" | b"POST") {
            return None;
        }
        // A page that is not allowed finds nothing that would allow it.
        let mut response = respond::preflight();
        let answer = response.headers_mut();
        if self.allow(request, answer) {
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
            let headers = self.headers.clone().unwrap_or_else(|| allowed_headers(request));
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
            answer.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
            if request.get(REQUEST_PRIVATE).is_some_and(|asked| asked == "true") {
                answer.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
            }
        }
        let vary = "origin, access-control-request-method, access-control-request-headers";
        answer.insert(VARY, HeaderValue::from_static(vary));
        Some(response)
    }

    fn allow(&self, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
        let mut origins = request.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        if !self.lists(origin) {
            return false;
        }
        // Echoed as a copy of its own: what hyper gave pins the whole head that it came in.
        let echo = if self.any {
            HeaderValue::from_static("*")
        } else {
            HeaderValue::from_bytes(origin.as_bytes()).expect("it was a value")
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, echo);
        if self.credentials {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.any || self.origins.iter().any(|listed| listed.matches(origin.as_bytes()))
    }
}

/// Whether the browser says that the page is of the very origin that it asks.
fn site_is_own(request: &HeaderMap) -> bool {
    let mut sites = request.get_all(SITE).iter();
    sites.next().is_some_and(|site| site == "same-origin") && sites.next().is_none()
}

/// The list that the operator has made.
fn named(headers: &[HeaderName]) -> Option<HeaderValue> {
    let names: Vec<_> = headers.iter().map(HeaderName::as_str).collect();
    if names.is_empty() { None } else { HeaderValue::from_str(&names.join(", ")).ok() }
}

/// Whatever a listed page asks for: libraries and tracing add fields of their own, and each of them means nothing here.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let is_list = |asked: &&HeaderValue| {
        let names = asked.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.into_iter().all(|name| HeaderName::from_bytes(name).is_ok())
    };
    match request.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(is_list) {
        // A copy, as above.
        Some(asked) => HeaderValue::from_bytes(asked.as_bytes()).expect("it was a value"),
        None => HeaderValue::from_static(HEADERS),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let max_age = Duration::from_secs(7);
        Cors::new(&config::Cors { origins, credentials, headers: Vec::new(), max_age })
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn marked(cors: &Cors, request: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut answer = map(&[("access-control-allow-origin", "https://of-the-backend")]);
        cors.mark(&map(request), &mut answer);
        let mut lines: Vec<_> =
            answer.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_listed_origin_is_echoed_and_no_other() {
        let listed = cors(&["https://a.example", "http://b.example:81"], true);
        let echoed = [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://a.example",
            "access-control-expose-headers: Retry-After, WWW-Authenticate",
            "vary: origin",
        ];
        assert_eq!(marked(&listed, &[("origin", "https://a.example")]), echoed);
        for other in [
            "http://a.example",
            "https://a.example:443",
            "https://a.example.evil.example",
            "https://x.a.example",
            "https://a.example/",
            "HTTPS://A.EXAMPLE",
            "http://b.example",
            "null",
            "*",
            "",
        ] {
            assert_eq!(marked(&listed, &[("origin", other)]), ["vary: origin"], "{other}");
        }
        assert_eq!(marked(&listed, &[]), ["vary: origin"]);
        let twice = [("origin", "https://a.example"), ("origin", "https://evil.example")];
        assert_eq!(marked(&listed, &twice), ["vary: origin"]);
        assert_eq!(
            marked(&cors(&["null"], false), &[("origin", "null")])[0],
            "access-control-allow-origin: null"
        );
    }

    #[test]
    fn every_origin_is_told_so_without_credentials() {
        let lines = marked(&cors(&["*"], false), &[("origin", "https://a.example")]);
        assert_eq!(lines[0], "access-control-allow-origin: *");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn without_a_list_nothing_is_said() {
        let none = cors(&[], false);
        let own = ["access-control-allow-origin: https://of-the-backend"];
        assert_eq!(marked(&none, &[("origin", "https://a.example")]), own);
        let asks = [("origin", "https://a.example"), ("access-control-request-method", "GET")];
        assert!(none.preflight(&map(&asks)).is_none());
    }

    #[test]
    fn a_preflight_is_answered_for_what_a_stream_takes() {
        let listed = cors(&["https://a.example"], true);
        let ask = |fields: &[(&'static str, &'static str)]| listed.preflight(&map(fields));
        let asks = ("access-control-request-method", "GET");
        let yes = ask(&[("origin", "https://a.example"), asks]).unwrap();
        assert_eq!(yes.status(), 204);
        let field = |name: &str| yes.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(field("access-control-allow-origin"), "https://a.example");
        assert_eq!(field("access-control-allow-credentials"), "true");
        assert_eq!(field("access-control-max-age"), "7");
        assert!(field("access-control-allow-headers").contains("Last-Event-ID"));
        assert!(!yes.headers().contains_key(ALLOW_PRIVATE));
        let asked = |names: &'static str| {
            let names = ("access-control-request-headers", names);
            let answer = ask(&[("origin", "https://a.example"), asks, names]).unwrap();
            answer.headers()["access-control-allow-headers"].to_str().unwrap().to_owned()
        };
        assert_eq!(asked("x-requested-with,traceparent, baggage"), "x-requested-with,traceparent, baggage");
        assert_eq!(asked("a b"), HEADERS);
        let private =
            [("origin", "https://a.example"), asks, ("access-control-request-private-network", "true")];
        assert_eq!(ask(&private).unwrap().headers()[ALLOW_PRIVATE], "true");
        let no = ask(&[("origin", "https://evil.example"), asks, private[2]]).unwrap();
        assert_eq!(no.headers().keys().collect::<Vec<_>>(), [VARY]);
        // What the backend may do with the path is the backend's to say.
        assert!(ask(&[("origin", "https://a.example")]).is_none());
        assert!(
            ask(&[("origin", "https://a.example"), ("access-control-request-method", "DELETE")]).is_none()
        );
    }

    #[test]
    fn a_page_of_another_site_is_not_let_near_the_users_own_streams() {
        let own = Some("https://app.example");
        let admits = |cors: &Cors, fields: &[(&'static str, &'static str)]| cors.admits(&map(fields), own);
        let cookie = ("cookie", "session=1");
        for cors in [&cors(&[], false), &cors(&["https://a.example"], true)] {
            assert!(admits(cors, &[cookie]));
            assert!(admits(cors, &[cookie, ("origin", "https://app.example")]));
            assert!(admits(cors, &[cookie, ("sec-fetch-site", "same-origin")]));
            assert!(admits(cors, &[cookie, ("sec-fetch-site", "none")]));
            // Behind a proxy that changes the host, the origin is not the one that was asked here.
            let renamed = [cookie, ("origin", "http://localhost:5173"), ("sec-fetch-site", "same-origin")];
            assert!(admits(cors, &renamed));
            assert!(!admits(
                cors,
                &[cookie, ("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")]
            ));
            assert!(!admits(cors, &[cookie, ("sec-fetch-site", "cross-site")]));
            assert!(!admits(cors, &[cookie, ("sec-fetch-site", "same-site")]));
            for other in ["http://app.example", "https://evil.example", "null", ""] {
                assert!(!admits(cors, &[cookie, ("origin", other)]), "{other}");
                assert!(!admits(cors, &[("origin", other)]), "{other}");
            }
            let both = [("origin", "https://app.example"), ("origin", "https://evil.example")];
            assert!(!admits(cors, &both));
        }
        let a = ("origin", "https://a.example");
        assert!(admits(&cors(&["https://a.example"], true), &[a, cookie]));
        assert!(admits(&cors(&["https://a.example"], false), &[a]));
        assert!(!admits(&cors(&["https://a.example"], false), &[a, cookie]));
        assert!(admits(&cors(&["*"], false), &[a]));
        assert!(!admits(&cors(&["*"], false), &[a, cookie]));
    }
}
