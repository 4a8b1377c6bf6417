//! The public address that is examined: scheme, host, and the stream's path and query.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::cli::error::Error;
use crate::cli::url::{Url, UrlPlace};

/// An `http://` or `https://` address, fit to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PublicAddress {
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// As it stands in a `Host` header.
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

impl PublicAddress {
    /// `path` is taken where `text` has none; `topics` come into the query. An address without any query gets a topic
    /// that nobody else has. Without a scheme it is http, as a browser that is told nothing else would have it.
    pub(super) fn parse(text: &str, path: &str, topics: &[String]) -> Result<Self, Error> {
        let mut address = Self::of(&text.parse()?)?;
        let (own_path, query) = address.target.split_once('?').unwrap_or((&address.target, ""));
        let path = if own_path == "/" { path } else { own_path };
        let mut parts: Vec<String> =
            query.split('&').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if parts.is_empty() && topics.is_empty() {
            parts.push(format!("topic=doctor-{:08x}", getrandom::u32().unwrap_or(0)));
        }
        parts.extend(
            topics.iter().map(|topic| format!("topic={}", utf8_percent_encode(topic, NON_ALPHANUMERIC))),
        );
        let between = if path.contains('?') { '&' } else { '?' };
        address.target = format!("{path}{between}{}", parts.join("&"));
        Ok(address)
    }

    /// An address with nothing put into it.
    fn of(url: &Url) -> Result<Self, Error> {
        let UrlPlace::Tcp { host, port, tls } = url.place() else {
            return Err(Error::BadUrl(
                "is a socket, which no browser speaks to: give the address that pages use",
            ));
        };
        Ok(Self {
            is_https: *tls,
            host: host.clone(),
            port: *port,
            authority: url.authority().to_owned(),
            target: url.target().to_owned(),
        })
    }

    /// Where an answer at this address leads to.
    pub(super) fn follow(&self, location: &str) -> Option<Self> {
        let whole = |text: &str| Self::of(&text.parse().ok()?).ok();
        if location.contains("://") {
            return whole(location);
        }
        let scheme = if self.is_https { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return whole(&format!("{scheme}://{rest}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        let folder = if location.starts_with('/') { "" } else { folder };
        whole(&format!("{scheme}://{}{folder}{location}", self.authority))
    }

    /// The same with `pair` in its query as well.
    pub(super) fn with_query(&self, name: &str, value: &str) -> Self {
        let between = if self.target.contains('?') { '&' } else { '?' };
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        Self { target: format!("{}{between}{name}={value}", self.target), ..self.clone() }
    }

    /// The path, which a proxy's configuration names.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// For people: without the query's values, which may hold a token.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        let shown = self.target.split_once('?').map_or(String::new(), |(_, query)| {
            let parts: Vec<String> = query.split('&').map(shown_part).collect();
            format!("?{}", parts.join("&"))
        });
        format!("{scheme}://{}{}{shown}", self.authority, self.path())
    }
}

/// Names that say what their value is: everything else in a query may be a secret.
fn shown_part(part: &str) -> String {
    match part.split_once('=') {
        Some((name, _)) if name.eq_ignore_ascii_case("topic") => part.to_owned(),
        Some((name, _)) => format!("{name}=…"),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, topics: &[&str]) -> PublicAddress {
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        PublicAddress::parse(text, "/events", &topics).unwrap()
    }

    #[test]
    fn a_bare_address_gets_the_path_and_a_topic_of_its_own() {
        let address = parsed("https://app.example", &[]);
        assert!(address.is_https && address.port == 443);
        assert!(address.target.starts_with("/events?topic=doctor-"), "{}", address.target);
        for (text, topics, target) in [
            ("http://a:81/", &["x y"][..], "/events?topic=x%20y"),
            ("http://a/e?conversationId=4 2", &[], "/e?conversationId=4%202"),
            ("http://a/e?b=1&c", &["x"], "/e?b=1&c&topic=x"),
            ("a/e?b=1#c", &[], "/e?b=1"),
        ] {
            assert_eq!(parsed(text, topics).target, target);
        }
    }

    #[test]
    fn a_redirect_leads_where_a_browser_would_go() {
        let from = parsed("http://a:81/x/events?topic=b", &[]);
        for (location, is_https, authority, target) in [
            ("https://a/x/events?topic=b", true, "a", "/x/events?topic=b"),
            ("/events/?topic=b", false, "a:81", "/events/?topic=b"),
            ("events/?topic=b", false, "a:81", "/x/events/?topic=b"),
            ("//b/y", false, "b", "/y"),
        ] {
            let to = from.follow(location).unwrap();
            assert_eq!((to.is_https, &*to.authority, &*to.target), (is_https, authority, target));
        }
        assert!(from.follow("ftp://a/").is_none());
    }

    #[test]
    fn what_is_shown_holds_no_token() {
        let address = parsed("https://a/e?topic=x&token=secret&flag", &[]);
        assert_eq!(address.shown(), "https://a/e?topic=x&token=…&flag");
    }

    #[test]
    fn what_is_no_public_address_is_refused() {
        for text in ["", "ftp://a/", "https://u:p@a/", "unix:/run/a.sock"] {
            let parsed = PublicAddress::parse(text, "/events", &[]);
            assert!(matches!(parsed, Err(Error::BadUrl(_))), "{text}: {parsed:?}");
        }
    }
}
