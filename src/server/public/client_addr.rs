//! The client's address: the socket's peer, or what a trusted proxy says it is.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use ipnet::IpNet;

use crate::config::{PeerRange, WebOrigin};
use crate::server::net::listener::UNIX_PEER;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// So many elements of `Forwarded` are read.
const MAX_FORWARDERS: usize = 64;

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub(super) struct TrustedProxies {
    networks: Box<[IpNet]>,
    /// And all that come over Unix sockets.
    unix: bool,
}

impl TrustedProxies {
    pub(super) fn new(ranges: &[PeerRange]) -> Self {
        let networks = ranges.iter().filter_map(|range| match range {
            PeerRange::Network(network) => Some(*network),
            PeerRange::Unix => None,
        });
        Self { networks: networks.collect(), unix: ranges.contains(&PeerRange::Unix) }
    }

    /// Whether the other end of a connection is one of them.
    pub(super) fn contain(&self, peer: SocketAddr) -> bool {
        if peer == UNIX_PEER { self.unix } else { self.contains(peer.ip()) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the last one in `X-Forwarded-For` that is not a trusted proxy's, when the peer is one;
    /// the peer's own otherwise. What does not parse ends the search: nothing before it can be believed.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.contain(peer) {
            return client;
        }
        // From the right, and as bytes: what the client wrote stands to the left, and may be anything.
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for text in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            let address = str::from_utf8(text).ok().and_then(|text| parse(text.trim()));
            let Some(address) = address else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }

    /// Puts what a trusted proxy says by `Forwarded` (RFC 7239) into the fields that it has not set of `X-Forwarded-*`,
    /// which everything else, the backend too, reads.
    pub(super) fn read_forwarded(&self, peer: SocketAddr, headers: &mut HeaderMap) {
        if !self.contain(peer) || !headers.contains_key(FORWARDED) {
            return;
        }
        let lines: Vec<&[u8]> = headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes).collect();
        let whole = lines.join(&b","[..]);
        let elements: Vec<&[u8]> = split_unquoted(&whole, b',');
        // The last ones are those of our own proxies; what stands before them a stranger may have made long.
        let elements = &elements[elements.len().saturating_sub(MAX_FORWARDERS)..];
        let all = |name: &str| -> Vec<String> {
            elements.iter().map(|element| parameter(element, name).unwrap_or_default()).collect()
        };
        // An address that a proxy keeps to itself ends the search for the client's.
        let hidden = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
        let clients: Vec<String> = all("for").into_iter().map(hidden).collect();
        // The first proxy's word, as everywhere.
        let first = |name: &str| all(name).into_iter().find(|text| !text.is_empty());
        let fields = [
            (FORWARDED_FOR, Some(clients.join(", "))),
            (FORWARDED_PROTO, first("proto")),
            (FORWARDED_HOST, first("host")),
        ];
        for (name, text) in fields {
            let value = text.and_then(|text| HeaderValue::from_str(&text).ok());
            if let Some(value) = value.filter(|_| !headers.contains_key(&name)) {
                headers.insert(name, value);
            }
        }
    }

    /// The origin of the server as the client sees it, the way browsers write origins: what a trusted proxy says of
    /// it, or the connection's own. `https` says that our own listener spoke TLS.
    pub(super) fn origin_asked(&self, peer: SocketAddr, request: &Parts, https: bool) -> Option<String> {
        let headers = &request.headers;
        let said = |name: &str| {
            let line = headers.get(name).filter(|_| self.contain(peer))?.to_str().ok()?;
            // The first proxy's word stands first.
            line.split(',').next().map(str::trim).filter(|word| !word.is_empty())
        };
        let scheme = said("x-forwarded-proto").unwrap_or(if https { "https" } else { "http" });
        let named = || match request.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(HOST)?.to_str().ok(),
        };
        let origin = format!("{scheme}://{}", said("x-forwarded-host").or_else(named)?);
        origin.parse::<WebOrigin>().ok().map(|origin| origin.to_string())
    }
}

/// The parts of a list, where separators within quotes do not count.
fn split_unquoted(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte => return byte == separator && !quoted,
        }
        false
    });
    parts.collect()
}

/// The value of a parameter of one element of `Forwarded`, without its quotes.
fn parameter(element: &[u8], name: &str) -> Option<String> {
    split_unquoted(element, b';').into_iter().find_map(|pair| {
        let (key, value) = str::from_utf8(pair).ok()?.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        key.trim().eq_ignore_ascii_case(name).then(|| value.replace('\\', ""))
    })
}

/// An address with or without a port, as proxies write them.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> PeerRange {
        if text == "unix" { PeerRange::Unix } else { PeerRange::Network(text.parse().unwrap()) }
    }

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<PeerRange> = trusted.iter().map(|text| range(text)).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        TrustedProxies::new(&trusted).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxys_word_counts() {
        assert_eq!(client(&[], "192.0.2.1:5", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(client(&["192.0.2.0/24"], "192.0.2.1:5", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(&["192.0.2.0/24"], "192.0.2.1:5", &[]), "192.0.2.1");
        // What the client itself wrote stands to the left of what the proxies saw.
        assert_eq!(
            client(&["192.0.2.0/24"], "192.0.2.1:5", &["10.0.0.1, 203.0.113.9, 192.0.2.7"]),
            "203.0.113.9"
        );
        assert_eq!(client(&["192.0.2.0/24"], "192.0.2.1:5", &["10.0.0.1", "203.0.113.9:444"]), "203.0.113.9");
        assert_eq!(client(&["192.0.2.0/24"], "192.0.2.1:5", &["203.0.113.9, unknown"]), "192.0.2.1");
        assert_eq!(client(&["2001:db8::/32"], "[2001:db8::1]:5", &["[2001:db9::2]"]), "2001:db9::2");
        assert_eq!(client(&["127.0.0.0/8"], "[::ffff:127.0.0.1]:5", &["::ffff:203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn those_who_come_over_a_unix_socket_are_believed_where_that_is_said() {
        let unix = UNIX_PEER.to_string();
        for (trusted, client_is) in
            [(&["unix"][..], "203.0.113.9"), (&["127.0.0.0/8"], "127.0.0.1"), (&[], "127.0.0.1")]
        {
            assert_eq!(client(trusted, &unix, &["203.0.113.9"]), client_is, "{trusted:?}");
        }
        assert_eq!(client(&["unix"], "127.0.0.1:5", &["203.0.113.9"]), "127.0.0.1");
    }

    #[test]
    fn bytes_of_the_clients_own_do_not_hide_what_the_proxy_saw() {
        let mut headers = HeaderMap::new();
        let line = b"\xe9, \xff\xfe, 203.0.113.9";
        headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        let trusted = TrustedProxies::new(&[range("192.0.2.0/24")]);
        assert_eq!(trusted.client("192.0.2.1:5".parse().unwrap(), &headers).to_string(), "203.0.113.9");
        // Two lines are one list.
        headers.append(FORWARDED_FOR, HeaderValue::from_static("192.0.2.7"));
        assert_eq!(trusted.client("192.0.2.1:5".parse().unwrap(), &headers).to_string(), "203.0.113.9");
    }

    #[test]
    fn forwarded_of_a_trusted_proxy_is_read_as_x_forwarded() {
        let read = |peer: &str, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let trusted = TrustedProxies::new(&[range("192.0.2.0/24")]);
            trusted.read_forwarded(peer.parse().unwrap(), &mut headers);
            let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            let client = trusted.client(peer.parse().unwrap(), &headers).to_string();
            (client, field("x-forwarded-proto"), field("x-forwarded-host"))
        };
        let some = |text: &str| Some(text.to_owned());
        let one = ("forwarded", "for=203.0.113.9;proto=https;host=app.example");
        assert_eq!(
            read("192.0.2.1:5", &[one]),
            ("203.0.113.9".to_owned(), some("https"), some("app.example"))
        );
        assert_eq!(read("198.51.100.1:5", &[one]), ("198.51.100.1".to_owned(), None, None));
        for (line, client) in [
            ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("FOR = 203.0.113.9 ; by=10.0.0.1", "203.0.113.9"),
            ("for=evil, for=203.0.113.9, for=192.0.2.7", "203.0.113.9"),
            ("for=\"a,b\";host=\"x,y\", for=203.0.113.9", "203.0.113.9"),
            ("for=203.0.113.9, for=_hidden", "192.0.2.1"),
            ("for=203.0.113.9, proto=https", "192.0.2.1"),
            ("nonsense", "192.0.2.1"),
        ] {
            assert_eq!(read("192.0.2.1:5", &[("forwarded", line)]).0, client, "{line}");
        }
        // What the proxy says both ways, it says by the field that it has set.
        let both = [one, ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "http")];
        let (client, proto, host) = read("192.0.2.1:5", &both);
        assert_eq!((client.as_str(), proto, host), ("203.0.113.7", some("http"), some("app.example")));
    }

    #[test]
    fn the_origin_asked_is_the_connections_or_what_a_trusted_proxy_says() {
        let origin = |trusted: bool, https: bool, uri: &str, fields: &[(&str, &str)]| {
            let request = http::Request::get(uri);
            let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let networks: &[PeerRange] = if trusted { &[range("192.0.2.0/24")] } else { &[] };
            let peer = "192.0.2.1:5".parse().unwrap();
            TrustedProxies::new(networks).origin_asked(peer, &request.body(()).unwrap().into_parts().0, https)
        };
        let (host, forwarded) =
            (("host", "App.Example"), ("x-forwarded-host", "out.example:444, in.example"));
        let proto = ("x-forwarded-proto", "https");
        for (trusted, https, uri, fields, wanted) in [
            (false, false, "/e", &[host][..], Some("http://app.example")),
            (false, true, "/e", &[host], Some("https://app.example")),
            (false, true, "/e", &[("host", "app.example:443")], Some("https://app.example")),
            (false, false, "/e", &[host, forwarded, proto], Some("http://app.example")),
            (true, false, "/e", &[host, proto], Some("https://app.example")),
            (true, false, "/e", &[host, forwarded, proto], Some("https://out.example:444")),
            (false, false, "http://[::1]:81/e", &[host], Some("http://[::1]:81")),
            (false, false, "/e", &[], None),
            (false, false, "/e", &[("host", "a b")], None),
        ] {
            assert_eq!(origin(trusted, https, uri, fields).as_deref(), wanted, "{uri} {fields:?}");
        }
    }
}
