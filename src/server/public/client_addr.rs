//! The client's address: the socket's peer, or what a trusted proxy says it is.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;
use ipnet::IpNet;

use crate::config::WebOrigin;

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub(super) struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the last one in `X-Forwarded-For` that is not a trusted proxy's, when the peer is one;
    /// the peer's own otherwise. What does not parse ends the search: nothing before it can be believed.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if !self.contains(client) {
            return client;
        }
        let named = headers.get_all("x-forwarded-for");
        let named: Vec<&str> =
            named.iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(',')).collect();
        for text in named.iter().rev() {
            let Some(address) = parse(text.trim()) else { break };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }

    /// The origin of the server as the client sees it, the way browsers write origins: what a trusted proxy says of
    /// it, or the connection's own. `https` says that our own listener spoke TLS.
    pub(super) fn origin_asked(&self, peer: SocketAddr, request: &Parts, https: bool) -> Option<String> {
        let headers = &request.headers;
        let said = |name: &str| {
            let line = headers.get(name).filter(|_| self.contains(peer.ip()))?.to_str().ok()?;
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

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
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
    fn the_origin_asked_is_the_connections_or_what_a_trusted_proxy_says() {
        let origin = |trusted: bool, https: bool, uri: &str, fields: &[(&str, &str)]| {
            let request = http::Request::get(uri);
            let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let networks: &[IpNet] = if trusted { &["192.0.2.0/24".parse().unwrap()] } else { &[] };
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
