//! `[auth.backend]`: the application itself says who a caller is.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, Method};

use crate::config::parsers::{header_name, time, time_or_zero, whole, word};
use crate::config::raw::{RawValue, Rejection};
use crate::config::schema::grant_end::{GRANT_ENDS, GrantEnd};
use crate::config::schema::table::section;
use crate::config::schema::units::{HOUR, MILLIS, MINUTE};

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
    /// The application that gets everything else: `public.backend`.
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

section! {
    /// For auth = "backend": the application is asked once for each caller, with the caller's own cookies and query.
    pub struct AuthBackend without default {
        /// Where: a path on `public.backend`, or a whole http://, https:// or unix:/path/to.sock:/path URL.
        url: AuthUrl = required(
            "/internal/sse-auth",
            "say where the application is asked who a caller is: url = \"/internal/sse-auth\"",
            AuthUrl { server: AuthServer::PublicBackend, target: PathAndQuery::from_static("/") },
            url
        );
        /// "GET", "HEAD" or "POST"; never with a body.
        method: Method = value(
            "GET",
            word([("GET", Method::GET), ("HEAD", Method::HEAD), ("POST", Method::POST)])
        );
        /// How long one request may take, its answer included. After that nobody is let in.
        timeout: Duration = value("2s", time(MILLIS(10)..=MINUTE));
        /// Requests under way at once, however many callers come.
        max_concurrent: usize = value(64, whole(1..=10_000));
        /// Requests that wait for their turn; callers beyond it have to come back later.
        max_waiting: usize = value(20000, whole(0..=10_000_000));
        /// How long one may wait.
        max_wait: Duration = value("10s", time(MILLIS(10)..=HOUR));
        /// How long a yes counts for callers that ask the same with the same credentials; 0 = not at all.
        cache: Duration = value("5s", time_or_zero(MILLIS(10)..=HOUR));
        /// How many of them are kept.
        max_cached: usize = value(10000, whole(1..=10_000_000));
        /// Which of the caller's headers go along.
        headers: Vec<HeaderName> = list(
            ["cookie", "authorization", "x-auth-token", "accept-language", "user-agent"],
            passed_header
        );
        /// Which topics a yes grants: "answer" = those that it names, "asked" = also those that the caller asked for.
        grants: Grants = value("answer", word([("answer", Grants::Answer), ("asked", Grants::Asked)]));
        /// Where a yes says who the caller is and what it grants, by headers: the user.
        user_header: HeaderName = value("x-sidestream-user", header_name);
        /// The caller's session.
        session_header: HeaderName = value("x-sidestream-session", header_name);
        /// Topics and patterns such as "conversation:*": a JSON list, or with commas between them.
        topics_header: HeaderName = value("x-sidestream-topics", header_name);
        /// For how many seconds.
        ttl_header: HeaderName = value("x-sidestream-ttl", header_name);
        /// The same by fields of a JSON body, with dots into objects ("user.id"): the user.
        user_field: String = value("user", field);
        /// The caller's session.
        session_field: String = value("session", field);
        /// A list of topics and patterns.
        topics_field: String = value("topics", field);
        /// For how many seconds; "expires_in" is understood as well.
        ttl_field: String = value("ttl", field);
        /// How long a yes is looked at, for each `[[stream]]` that does not say it: "exp" = a stream ends with it,
        /// "open" = at the opening only (docs/auth.md).
        until: GrantEnd = value("exp", word(GRANT_ENDS));
    }
}

impl AuthBackend {
    /// The defaults for an application that is asked at `url`.
    pub fn at(url: AuthUrl) -> Self {
        Self { url, ..Self::defaults() }
    }
}

/// A path on the public backend, or a whole URL.
fn url(raw: &RawValue<'_>) -> Result<AuthUrl, Rejection> {
    const WANTED: &str = "a path on the backend such as \"/internal/sse-auth\", or http(s)://host/path or unix:/path/to.sock:/path";
    let text = raw.text(WANTED)?;
    let must = || Rejection::from(format!("must be {WANTED}"));
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

/// A header of the caller that may go along: none that is for one hop only, nor one that we write ourselves.
fn passed_header(raw: &RawValue<'_>) -> Result<HeaderName, Rejection> {
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
    let name = header_name(raw)?;
    let forwarded = name.as_str().starts_with("x-forwarded-");
    if forwarded || OURS.contains(&name.as_str()) {
        return Err(
            format!("cannot have `{name}`, which is set for each request or is for one hop only").into()
        );
    }
    Ok(name)
}

/// A field of a JSON object, with dots into objects within.
fn field(raw: &RawValue<'_>) -> Result<String, Rejection> {
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
        let url = url(&RawValue::Text(text.to_owned())).ok()?;
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
        let header = |name: &str| passed_header(&RawValue::Text(name.to_owned()));
        for name in ["Cookie", "x-tenant"] {
            assert!(header(name).is_ok(), "{name}");
        }
        for name in ["Connection", "host", "X-Forwarded-For", "Last-Event-ID", "x-original-uri", "a b", ""] {
            assert!(header(name).is_err(), "{name}");
        }
    }
}
