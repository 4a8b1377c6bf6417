//! Where something is fetched from: `http://host[:port]/path` or `https://…`, without a user, a password or a fragment.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::config::values::BadValue;

/// An address on the web.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpUrl {
    pub https: bool,
    /// An IPv6 address stands here without its brackets.
    pub host: String,
    pub port: u16,
    /// The path, and the query where there is one.
    pub target: String,
}

impl FromStr for HttpUrl {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = BadValue("must be a URL such as https://login.example/.well-known/jwks.json");
        let uri: Uri = text.parse().map_err(|_| bad.clone())?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad),
        };
        let authority = uri.authority().ok_or(bad.clone())?;
        if authority.as_str().contains('@') {
            return Err(BadValue("cannot have a user or a password"));
        }
        if text.contains('#') {
            return Err(BadValue("cannot have a fragment (#…)"));
        }
        let host = authority.host();
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0),
            None => Some(if https { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match port {
            Some(port) if !host.is_empty() => {
                let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
                Ok(Self { https, host: host.to_owned(), port, target })
            }
            _ => Err(bad),
        }
    }
}

impl HttpUrl {
    /// What a `Host` header says: without the port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Without its query, which may hold a key.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.https { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_target() {
        for (text, shown, target) in [
            ("https://a.example", "https://a.example/", "/"),
            ("https://a.example:443/k?x=s3cret", "https://a.example/k", "/k?x=s3cret"),
            ("http://a.example:8080/k", "http://a.example:8080/k", "/k"),
            ("http://[::1]:81/", "http://[::1]:81/", "/"),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.target.as_str()), (shown, target), "{text}");
        }
        for text in
            ["", "a.example", "/k", "ftp://a/k", "https://", "https://u:p@a/k", "http://a:0/", "http://a/#x"]
        {
            assert!(text.parse::<HttpUrl>().is_err(), "{text}");
        }
    }
}
