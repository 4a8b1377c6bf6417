//! `[auth.backend]`: the application itself says who a caller is.
//!
//! Types, defaults and keys of this one section. What is done with an answer is the business of `auth`.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, Method};

use crate::config::forms::{time, time_or_zero, whole, word};
use crate::config::raw::{Raw, Refusal};
use crate::config::section::Section;

/// `[auth.backend]`: one request to the application for each caller, with the caller's own credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthBackend {
    /// Where to ask.
    pub url: AuthUrl,
    pub method: Method,
    /// From the start of one request to the last of its answer.
    pub timeout: Duration,
    /// Requests under way at once.
    pub max_concurrent: usize,
    /// Requests that may wait for their turn.
    pub max_waiting: usize,
    /// How long one may wait.
    pub max_wait: Duration,
    /// How long a positive answer counts for whoever asks the same; zero = no longer than it takes to give it.
    pub cache: Duration,
    /// Answers kept.
    pub max_cached: usize,
    /// Which of the caller's headers go along.
    pub headers: Vec<HeaderName>,
    pub grants: Grants,
    pub user_header: HeaderName,
    pub session_header: HeaderName,
    pub topics_header: HeaderName,
    pub ttl_header: HeaderName,
    /// The same in a JSON answer; dots lead into objects.
    pub user_field: String,
    pub session_field: String,
    pub topics_field: String,
    pub ttl_field: String,
}

/// Where the application is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthUrl {
    pub server: AuthServer,
    /// Path and, if there is one, query.
    pub target: PathAndQuery,
}

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuthServer {
    /// Whoever gets everything else: `public.backend`.
    PublicBackend,
    /// An IPv6 address stands here without its brackets.
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Unix(PathBuf),
}

/// Which topics a positive answer grants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grants {
    /// Those that it names.
    Answer,
    /// Those that were asked for, and those that it names.
    Asked,
}

impl AuthBackend {
    /// The defaults for an application that is asked at `url`.
    pub fn at(url: AuthUrl) -> Self {
        let header = HeaderName::from_static;
        Self {
            url,
            method: Method::GET,
            timeout: Duration::from_secs(2),
            max_concurrent: 64,
            max_waiting: 20_000,
            max_wait: Duration::from_secs(10),
            cache: Duration::from_secs(5),
            max_cached: 10_000,
            headers: ["cookie", "authorization", "x-auth-token", "accept-language", "user-agent"]
                .map(header)
                .to_vec(),
            grants: Grants::Answer,
            user_header: header("x-sidestream-user"),
            session_header: header("x-sidestream-session"),
            topics_header: header("x-sidestream-topics"),
            ttl_header: header("x-sidestream-ttl"),
            user_field: "user".to_owned(),
            session_field: "session".to_owned(),
            topics_field: "topics".to_owned(),
            ttl_field: "ttl".to_owned(),
        }
    }

    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        const MILLIS: fn(u64) -> Duration = Duration::from_millis;
        let stand_in = AuthUrl { server: AuthServer::PublicBackend, target: PathAndQuery::from_static("/") };
        let lack = "say where the application is asked who a caller is: url = \"/internal/sse-auth\"";
        let d = Self::at(s.required("url", stand_in, lack, url));
        let methods = [("GET", Method::GET), ("HEAD", Method::HEAD), ("POST", Method::POST)];
        Self {
            method: s.take("method", d.method, word(methods)),
            timeout: s.take("timeout", d.timeout, time(MILLIS(10)..=Duration::from_secs(60))),
            max_concurrent: s.take("max_concurrent", d.max_concurrent, whole(1..=10_000)),
            max_waiting: s.take("max_waiting", d.max_waiting, whole(0..=10_000_000)),
            max_wait: s.take("max_wait", d.max_wait, time(MILLIS(10)..=HOUR)),
            cache: s.take("cache", d.cache, time_or_zero(MILLIS(10)..=HOUR)),
            max_cached: s.take("max_cached", d.max_cached, whole(1..=10_000_000)),
            headers: s.list("headers", d.headers, passed_header),
            grants: s.take("grants", d.grants, word([("answer", Grants::Answer), ("asked", Grants::Asked)])),
            user_header: s.take("user_header", d.user_header, header),
            session_header: s.take("session_header", d.session_header, header),
            topics_header: s.take("topics_header", d.topics_header, header),
            ttl_header: s.take("ttl_header", d.ttl_header, header),
            user_field: s.take("user_field", d.user_field, field),
            session_field: s.take("session_field", d.session_field, field),
            topics_field: s.take("topics_field", d.topics_field, field),
            ttl_field: s.take("ttl_field", d.ttl_field, field),
            url: d.url,
        }
    }
}

/// A path on the public backend, or a whole URL.
fn url(raw: &Raw<'_>) -> Result<AuthUrl, Refusal> {
    const WANTED: &str = "a path on the backend such as \"/internal/sse-auth\", or http(s)://host/path or unix:/path/to.sock:/path";
    let text = raw.text(WANTED)?;
    let must = || Refusal::from(format!("must be {WANTED}"));
    if text.contains('#') {
        return Err("cannot have a `#`".into());
    }
    let target = |text: &str| text.parse::<PathAndQuery>().map_err(|_| must());
    if text.starts_with('/') {
        return Ok(AuthUrl { server: AuthServer::PublicBackend, target: target(text)? });
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(":/").ok_or_else(must)?;
        if !socket.starts_with('/') || socket.contains('\0') {
            return Err("must name its socket by an absolute path: unix:/path/to.sock:/path".into());
        }
        let server = AuthServer::Unix(PathBuf::from(socket));
        return Ok(AuthUrl { server, target: target(&format!("/{path}"))? });
    }
    let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(must()),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.contains('@') {
        return Err("cannot have a user or a password: the caller's own credentials go along".into());
    }
    let parsed = authority.parse::<Authority>().map_err(|_| must())?;
    let host = parsed.host();
    let port = match authority[host.len()..].strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or_else(must)?,
        None if tls => 443,
        None => 80,
    };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_owned();
    let target = match path {
        "" => PathAndQuery::from_static("/"),
        path if path.starts_with('?') => target(&format!("/{path}"))?,
        path => target(path)?,
    };
    Ok(AuthUrl { server: AuthServer::Tcp { host, port, tls }, target })
}

fn header(raw: &Raw<'_>) -> Result<HeaderName, Refusal> {
    let text = raw.text("the name of a header")?;
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| "must be the name of a header".into())
}

/// A header of the caller that may go along: none that is for one hop only, nor one that we write ourselves.
fn passed_header(raw: &Raw<'_>) -> Result<HeaderName, Refusal> {
    const OURS: [&str; 18] = [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "last-event-id",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-original-method",
        "x-original-uri",
        "x-sidestream-topics",
    ];
    let name = header(raw)?;
    let forwarded = name.as_str().starts_with("x-forwarded-");
    if forwarded || OURS.contains(&name.as_str()) {
        return Err(
            format!("cannot have `{name}`, which is set for each request or is for one hop only").into()
        );
    }
    Ok(name)
}

/// A field of a JSON object, with dots into objects within.
fn field(raw: &Raw<'_>) -> Result<String, Refusal> {
    const MAX: usize = 256;
    let text = raw.text("the name of a field")?;
    if text.len() > MAX || text.split('.').any(str::is_empty) || text.chars().any(char::is_control) {
        return Err("must be the name of a field, with dots into objects: \"user.id\"".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(AuthServer, String)> {
        let url = url(&Raw::Text(text.to_owned())).ok()?;
        Some((url.server, url.target.to_string()))
    }

    #[test]
    fn the_application_is_asked_by_a_path_or_a_whole_url() {
        let tcp = |host: &str, port, tls| AuthServer::Tcp { host: host.to_owned(), port, tls };
        for (text, server, target) in [
            ("/internal/sse-auth", AuthServer::PublicBackend, "/internal/sse-auth"),
            ("/me?sse=1", AuthServer::PublicBackend, "/me?sse=1"),
            ("http://app", tcp("app", 80, false), "/"),
            ("http://app:3000/me", tcp("app", 3000, false), "/me"),
            ("https://login.example/me?a=b", tcp("login.example", 443, true), "/me?a=b"),
            ("http://[::1]:81?x", tcp("::1", 81, false), "/?x"),
            ("unix:/run/app.sock:/me", AuthServer::Unix("/run/app.sock".into()), "/me"),
        ] {
            assert_eq!(parsed(text), Some((server, target.to_owned())), "{text}");
        }
        for text in [
            "",
            "me",
            "ftp://app/me",
            "http://u:p@app/me",
            "http://app:0/",
            "http://",
            "unix:/run/app.sock",
            "unix:x:/y",
            "/a#b",
            "/a b",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_for_one_hop_or_ours_to_say_does_not_go_along() {
        let header = |name: &str| passed_header(&Raw::Text(name.to_owned()));
        for name in ["Cookie", "x-tenant"] {
            assert!(header(name).is_ok(), "{name}");
        }
        for name in ["Connection", "host", "X-Forwarded-For", "Last-Event-ID", "x-original-uri", "a b", ""] {
            assert!(header(name).is_err(), "{name}");
        }
    }
}
