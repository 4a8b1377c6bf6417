//! Servers that are reached through an HTTP proxy (`CONNECT`), and those that are not.
//!
//! What a user or a password is, nothing here shows. This file must not know what the connection is for.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::uri::Authority;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::net::dial;

/// The port of a proxy that says none, as curl has it.
const PORT: u16 = 1080;
/// How long the head of a proxy's answer may be.
const MAX_HEAD: usize = 16 << 10;

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    host: String,
    port: u16,
    /// User and password as the header has them.
    credentials: Option<String>,
}

/// Why a text is no HTTP proxy: the rest of a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProxy {
    #[error("must be http://[user:password@]host:port")]
    Malformed,
    #[error("must be an HTTP proxy: SOCKS and proxies that are reached over TLS are not supported")]
    Kind,
}

/// Who is reached without a proxy: a list as curl reads `NO_PROXY`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NoProxy(Vec<Excepted>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Excepted {
    All,
    /// A host, and all hosts below it; in lower case.
    Domain(String),
    Network(IpNet),
}

/// How other servers are reached.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outbound {
    pub proxy: Option<HttpProxy>,
    pub no_proxy: NoProxy,
}

impl FromStr for HttpProxy {
    type Err = BadProxy;

    /// As in `HTTPS_PROXY`: without a scheme it is http.
    fn from_str(text: &str) -> Result<Self, BadProxy> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(BadProxy::Kind),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A password may hold an `@` that nobody has encoded.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let authority: Authority = place.parse().map_err(|_| BadProxy::Malformed)?;
        let host = authority.host();
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(BadProxy::Malformed)?,
            None => PORT,
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(BadProxy::Malformed);
        }
        let credentials = user.map(|user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            let plain = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
            BASE64.encode([plain(user), plain(password)].join(&b':'))
        });
        Ok(Self { host: host.to_owned(), port, credentials })
    }
}

impl NoProxy {
    /// Of entries as `NO_PROXY` has them between its commas.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let entries = entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty());
        Self(entries.map(Excepted::of).collect())
    }

    /// Whether `host` is reached without a proxy. This machine always is.
    fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        here || self.0.iter().any(|excepted| match (excepted, address) {
            (Excepted::All, _) => true,
            (Excepted::Network(network), Some(address)) => network.contains(&address),
            (Excepted::Domain(domain), None) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|above| above.is_empty() || above.ends_with('.')),
            (Excepted::Network(_), None) | (Excepted::Domain(_), Some(_)) => false,
        })
    }
}

impl Excepted {
    fn of(entry: &str) -> Self {
        let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
        let network = bare.parse::<IpNet>().or_else(|_| bare.parse::<IpAddr>().map(IpNet::from));
        match network {
            _ if entry == "*" => Self::All,
            Ok(network) => Self::Network(network),
            Err(_) => {
                let domain = entry.strip_prefix('.').unwrap_or(entry);
                Self::Domain(domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase())
            }
        }
    }
}

impl Outbound {
    /// The proxy on the way to `host`, if one leads there. What is not https goes without.
    pub fn to(&self, https: bool, host: &str) -> Option<&HttpProxy> {
        self.proxy.as_ref().filter(|_| https && !self.no_proxy.covers(host))
    }

    /// Connects to `host`, over the proxy where one leads there. The caller bounds the time and says by how much.
    pub async fn connect(
        &self,
        https: bool,
        host: &str,
        port: u16,
        limit: Duration,
    ) -> io::Result<TcpStream> {
        match self.to(https, host) {
            Some(proxy) => proxy.connect(host, port, limit).await,
            None => dial::tcp(host, port, limit).await,
        }
    }
}

impl HttpProxy {
    /// A connection through the proxy to `host`.
    pub async fn connect(&self, host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
        let failed = |why: &dyn fmt::Display| io::Error::other(format!("the proxy {self} {why}"));
        let dialled = dial::tcp(&self.host, self.port, limit).await;
        let mut socket = dialled.map_err(|error| failed(&format_args!("cannot be reached: {error}")))?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(credentials) = &self.credentials {
            request += &format!("Proxy-Authorization: Basic {credentials}\r\n");
        }
        socket.write_all((request + "\r\n").as_bytes()).await?;
        let mut head = Vec::new();
        loop {
            if socket.read_buf(&mut head).await? == 0 {
                return Err(failed(&"broke off before it answered"));
            }
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut fields);
            match answer.parse(&head) {
                Ok(httparse::Status::Complete(end)) => {
                    let status = answer.code.unwrap_or_default();
                    return match status {
                        // The server speaks only when it has been spoken to.
                        200..=299 if end == head.len() => Ok(socket),
                        200..=299 => Err(failed(&"sent more than the head of its answer")),
                        407 => Err(failed(&"asks for another user or password (407)")),
                        _ => Err(failed(&format_args!("refused the way to {host}:{port} ({status})"))),
                    };
                }
                Ok(httparse::Status::Partial) if head.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) | Err(_) => return Err(failed(&"did not answer in HTTP")),
            }
        }
    }
}

impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// Without its user and password.
impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpProxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_as_curl_reads_it_and_shows_no_password() {
        for (text, shown, credentials) in [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("proxy.example:3128/", "proxy.example:3128", None),
            ("HTTP://10.0.0.1", "10.0.0.1:1080", None),
            ("http://[::1]:8080", "[::1]:8080", None),
            ("http://ann:s3cret@proxy:1", "proxy:1", Some("ann:s3cret")),
            ("http://ann:p%40s%3as@proxy:1", "proxy:1", Some("ann:p@s:s")),
            ("http://ann:p@s@proxy:1", "proxy:1", Some("ann:p@s")),
            ("http://ann@proxy:1", "proxy:1", Some("ann:")),
        ] {
            let proxy: HttpProxy = text.parse().unwrap();
            assert_eq!(proxy.to_string(), shown, "{text}");
            assert_eq!(proxy.credentials, credentials.map(|plain| BASE64.encode(plain)), "{text}");
            assert!(!format!("{proxy:?}").contains("s3cret"));
        }
        for (text, why) in [
            ("socks5://proxy:1", BadProxy::Kind),
            ("https://proxy:1", BadProxy::Kind),
            ("", BadProxy::Malformed),
            ("http://", BadProxy::Malformed),
            ("http://proxy:0", BadProxy::Malformed),
            ("http://proxy:1/path", BadProxy::Malformed),
            ("http://a b:1", BadProxy::Malformed),
        ] {
            assert_eq!(text.parse::<HttpProxy>(), Err(why), "{text}");
        }
    }

    #[test]
    fn who_is_excepted_is_reached_without_a_proxy() {
        let proxy = "http://proxy:1".parse().ok();
        let direct = |entries: &str, host: &str| {
            let no_proxy = NoProxy::of(entries.split(','));
            Outbound { proxy: Option::clone(&proxy), no_proxy }.to(true, host).is_none()
        };
        for (entries, host) in [
            ("local.example", "local.example"),
            ("local.example", "www.Local.Example."),
            (".local.example", "local.example"),
            (" a , local.example. ", "x.local.example"),
            ("*", "any.example"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::7"),
            ("10.0.0.0/8", "::ffff:10.1.2.3"),
            ("", "localhost"),
            ("", "127.0.0.1"),
            ("", "::1"),
        ] {
            assert!(direct(entries, host), "{entries}: {host}");
        }
        for (entries, host) in [
            ("", "any.example"),
            ("local.example", "notlocal.example"),
            ("local.example", "local.example.org"),
            ("*.local.example", "www.local.example"),
            ("10.0.0.0/8", "11.1.2.3"),
            ("1", "127.0.1.1.example"),
        ] {
            assert!(!direct(entries, host), "{entries}: {host}");
        }
        assert!(Outbound { proxy, no_proxy: NoProxy::default() }.to(false, "any.example").is_none(), "http");
    }
}
