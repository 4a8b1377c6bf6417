//! Addresses as people type them: `http://`, `https://` or `unix:` and the path of a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::cli::error::Error;
use crate::config::ListenAddress;

/// An address, fit to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Url {
    place: UrlPlace,
    /// As it stands in a `Host` header.
    authority: String,
    /// Path and query.
    target: String,
}

/// Where to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum UrlPlace {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// What people type into a shell and a request's line cannot hold.
const UNSENDABLE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|')
    .add(b'\\')
    .add(b'^');

impl FromStr for Url {
    type Err = Error;

    /// `http://host[:port][/path][?query]`, where the scheme may be left out; the same with `https://`; or
    /// `unix:/path/of/the/socket[:/path]`. What is behind a `#` is dropped.
    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.split('#').next().unwrap_or_default().trim();
        if let Some(place) = text.strip_prefix("unix:") {
            return Self::at_socket(place);
        }
        let (tls, text) = match text.split_once("://") {
            None => (false, format!("http://{text}")),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => (false, text.to_owned()),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => (true, text.to_owned()),
            Some(_) => return Err(Error::BadUrl("has to begin with http://, https:// or unix:")),
        };
        let text = utf8_percent_encode(&text, UNSENDABLE).to_string();
        let uri =
            Uri::from_str(&text).map_err(|_| Error::BadUrl("is not of the form http://host:port/path"))?;
        let authority = uri.authority().ok_or(Error::BadUrl("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(Error::BadUrl("must not hold a user or a password"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(Error::BadUrl("names no host"));
        }
        let port = match authority.as_str()[host.len()..].trim_start_matches(':') {
            "" => [80, 443][usize::from(tls)],
            port => match port.parse() {
                Ok(0) | Err(_) => {
                    return Err(Error::BadUrl("has a port that is not a number from 1 to 65535"));
                }
                Ok(port) => port,
            },
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            place: UrlPlace::Tcp { host, port, tls },
            authority: authority.to_string(),
            target: if target.starts_with('/') { target.to_owned() } else { format!("/{target}") },
        })
    }
}

impl Url {
    /// A socket of this machine, and behind a second colon the path.
    fn at_socket(place: &str) -> Result<Self, Error> {
        let (path, target) = match place.split_once(":/") {
            Some((path, rest)) => (path, format!("/{rest}")),
            None => (place, "/".to_owned()),
        };
        // A URL's two slashes may stand before the path.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !Path::new(path).is_absolute() {
            return Err(Error::BadUrl("is not of the form unix:/path/of/the/socket"));
        }
        let target = utf8_percent_encode(&target, UNSENDABLE).to_string();
        Uri::from_str(&target).map_err(|_| Error::BadUrl("is not of the form unix:/path/of/the/socket"))?;
        Ok(Self::at(Path::new(path), target))
    }

    fn at(socket: &Path, target: String) -> Self {
        Self { place: UrlPlace::Unix(socket.into()), authority: "localhost".to_owned(), target }
    }

    /// A listener of this machine, over TLS or not. One on all addresses is reached by loopback; a Unix socket never
    /// speaks TLS.
    pub(super) fn of(listener: &ListenAddress, tls: bool) -> Self {
        let address = match listener {
            ListenAddress::Tcp(address) => reachable(*address),
            ListenAddress::Unix(path) => return Self::at(path, "/".to_owned()),
        };
        let place = UrlPlace::Tcp { host: address.ip().to_string(), port: address.port(), tls };
        Self { place, authority: address.to_string(), target: "/".to_owned() }
    }

    /// The address of `path` on the same host, below this address's own path.
    pub(super) fn below(&self, path: &str) -> Self {
        let own = self.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { target: format!("{own}{path}"), ..self.clone() }
    }

    pub(super) fn place(&self) -> &UrlPlace {
        &self.place
    }

    pub(super) fn is_https(&self) -> bool {
        matches!(self.place, UrlPlace::Tcp { tls: true, .. })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Host and port, or the socket, for people.
    pub(super) fn peer(&self) -> String {
        match &self.place {
            UrlPlace::Tcp { .. } => self.authority.clone(),
            UrlPlace::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// An address of this machine for one that stands for all of them.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (text, tls, host, port, authority, target) in [
            ("http://127.0.0.1:8081", false, "127.0.0.1", 8081, "127.0.0.1:8081", "/"),
            ("HTTP://a/events?topic=x&topic=y", false, "a", 80, "a", "/events?topic=x&topic=y"),
            ("https://a/events", true, "a", 443, "a", "/events"),
            ("HTTPS://a:8443", true, "a", 8443, "a:8443", "/"),
            (
                "localhost:8080/events?topic=a:b",
                false,
                "localhost",
                8080,
                "localhost:8080",
                "/events?topic=a:b",
            ),
            ("http://[::1]:80/?a=b#c", false, "::1", 80, "[::1]:80", "/?a=b"),
            ("http://a:1?topic=x", false, "a", 1, "a:1", "/?topic=x"),
            (
                "http://a/e?topic=grün ☂&x={y}%20",
                false,
                "a",
                80,
                "a",
                "/e?topic=gr%C3%BCn%20%E2%98%82&x=%7By%7D%20",
            ),
        ] {
            let place = UrlPlace::Tcp { host: host.into(), port, tls };
            let wanted = Url { place, authority: authority.into(), target: target.into() };
            assert_eq!(url(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_socket_is_named_by_its_path() {
        for (text, path, target) in [
            ("unix:/run/sidestream.sock", "/run/sidestream.sock", "/"),
            ("unix:///run/b.sock", "/run/b.sock", "/"),
            ("unix:/run/a.sock:/events?topic=x", "/run/a.sock", "/events?topic=x"),
        ] {
            let place = UrlPlace::Unix(path.into());
            let wanted = Url { place, authority: "localhost".into(), target: target.into() };
            assert_eq!(url(text), wanted, "{text}");
            assert_eq!(url(text).peer(), format!("unix:{path}"));
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for text in [
            "",
            "http://",
            "https://",
            "ftp://a/",
            "/events",
            "http:///events",
            "http://a:0/",
            "http://a:65536/",
            "http://a:b/",
            "http://a:1:2/",
            "http://u:p@a/",
            "http://[::1/",
            "http://a b/",
            "unix:",
            "unix:run/a.sock",
            "unix://run",
        ] {
            let parsed = text.parse::<Url>();
            assert!(matches!(parsed, Err(Error::BadUrl(_))), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_path_below_keeps_the_address_own_path() {
        for (base, wanted) in
            [("http://a:1", "/publish"), ("http://a:1/", "/publish"), ("http://a:1/x/?y", "/x/publish")]
        {
            assert_eq!(url(base).below("/publish").target, wanted);
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        for (listener, peer) in
            [("0.0.0.0:81", "127.0.0.1:81"), ("[::]:81", "[::1]:81"), ("10.0.0.7:81", "10.0.0.7:81")]
        {
            assert_eq!(Url::of(&ListenAddress::Tcp(listener.parse().unwrap()), false).peer(), peer);
        }
        assert_eq!(Url::of(&ListenAddress::Unix("/run/i.sock".into()), true).peer(), "unix:/run/i.sock");
    }
}
