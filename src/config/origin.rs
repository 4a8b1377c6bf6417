//! The origins of web pages, and the names of hosts: as browsers write them, so that a comparison of texts will do.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::config::values::BadValue;

/// The origin of web pages: `https://app.example`, with the port where it is not the scheme's own. Or `null`, which
/// pages without an origin say, or `*`, which is every page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebOrigin(String);

impl WebOrigin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WebOrigin {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if matches!(text, "*" | "null") {
            return Ok(Self(text.to_owned()));
        }
        let bad = BadValue("must be an origin such as \"https://app.example\" or \"http://localhost:5173\"");
        let Some((scheme, rest)) = text.split_once("://") else { return Err(bad) };
        if rest.contains(['/', '?', '#']) {
            return Err(BadValue(
                "must be an origin alone: scheme, host and port, without a path or a last `/`",
            ));
        }
        if rest.contains('@') {
            return Err(BadValue("must be an origin alone, without a user or a password"));
        }
        if rest.contains('*') {
            return Err(BadValue(
                "cannot have `*` for a part of an origin: name each origin, or all with \"*\" alone",
            ));
        }
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        if !is_scheme {
            return Err(bad);
        }
        let (host, port) = split_port(rest).ok_or(bad.clone())?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(bad);
        }
        // Browsers leave a scheme's own port out.
        let own = matches!((&*scheme, port), ("http", Some(80)) | ("https", Some(443)));
        let port = port.filter(|_| !own).map_or(String::new(), |port| format!(":{port}"));
        Ok(Self(format!("{scheme}://{host}{port}")))
    }
}

/// Origins of web pages: one, or all that have some text where the pattern has its `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginPattern(String);

impl OriginPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether a browser that writes this means one of them. A `*` stands for a part of a name without dots.
    pub fn matches(&self, origin: &[u8]) -> bool {
        let Some((before, after)) = self.0.split_once('*').filter(|_| !self.is_any()) else {
            return self.is_any() || origin == self.0.as_bytes();
        };
        let between = origin
            .strip_prefix(before.as_bytes())
            .and_then(|rest| rest.strip_suffix(after.as_bytes()))
            .unwrap_or_default();
        let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        !between.is_empty() && between.iter().all(is_part)
    }
}

impl FromStr for OriginPattern {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let Some((before, after)) = text.split_once('*').filter(|_| text != "*") else {
            return text.parse().map(|WebOrigin(origin)| Self(origin));
        };
        let host = before.split_once("://").map_or(before, |(_, host)| host);
        // Of `https://*.example` anybody can have a name.
        if host.contains('.') || after.contains('*') || after.matches('.').count() < 2 {
            return Err(BadValue(
                "may have one `*`, in the first part of a name that has two more: \"https://*.app.example\"",
            ));
        }
        // No host has this word.
        const STANDS: &str = "x--any--x";
        let WebOrigin(origin) = format!("{before}{STANDS}{after}").parse()?;
        Ok(Self(origin.replacen(STANDS, "*", 1)))
    }
}

/// A host as a request names it, without its port and in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostName(String);

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let host = text.to_ascii_lowercase();
        if host.len() <= 253 && !host.starts_with('[') && is_host(&host) {
            Ok(Self(host))
        } else {
            Err(BadValue(
                "must be the name of a host such as \"sidestream.internal\", without scheme and port",
            ))
        }
    }
}

/// Host and port of `host[:port]`.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (host, rest) = text.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|&port| port != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// A name in ASCII, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_one_part_of_a_name() {
        let of = |text: &str| text.parse::<OriginPattern>();
        let preview = of("HTTPS://pr-*.app.example:443").unwrap();
        assert_eq!(preview.as_str(), "https://pr-*.app.example");
        for (origin, is_one) in [
            ("https://pr-7.app.example", true),
            ("https://pr-7-b.app.example", true),
            ("https://pr-.app.example", false),
            ("https://pr-7.x.app.example", false),
            ("https://pr-7.app.example:8443", false),
            ("http://pr-7.app.example", false),
            ("https://pr-7.app.example.evil.example", false),
            ("https://evil.example/pr-7.app.example", false),
            ("https://pr-7.app.exampl", false),
        ] {
            assert_eq!(preview.matches(origin.as_bytes()), is_one, "{origin}");
        }
        assert!(of("https://app.example").unwrap().matches(b"https://app.example"));
        assert!(!of("https://app.example").unwrap().matches(b"https://app.example:444"));
        assert!(of("*").unwrap().matches(b"https://anything"));
        assert!(of("http://*.localhost.test:5173").unwrap().matches(b"http://a.localhost.test:5173"));
        for text in [
            "https://*",
            "https://*.example",
            "https://a.*.example.org",
            "https://*.*.example.org",
            "*.app.example.org",
            "https://*.a.b/",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (text, kept) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example:443", "https://app.example"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("null", "null"),
            ("*", "*"),
        ] {
            assert_eq!(text.parse::<WebOrigin>().unwrap().as_str(), kept);
        }
        for text in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://app.example/path",
            "https://*.app.example",
            "https://user@app.example",
            "https://app.example:0",
            "https://app.example:x",
            "https://app example",
            "https://[::1",
            "https://[app]",
            "ht tp://a",
            "://a",
            "https://bücher.example",
        ] {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_name_has_neither_scheme_nor_port() {
        assert_eq!("Sidestream.Internal".parse::<HostName>().unwrap().as_str(), "sidestream.internal");
        for text in ["", "a:8081", "http://a", "a/b", "*", "[::1]", "a b"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
