//! Who is at the other end: the socket's peer, or whom a trusted proxy names.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The proxies whose word counts.
#[derive(Clone, Debug)]
pub(super) struct Trusted(Box<[IpNet]>);

impl Trusted {
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
        Trusted::new(&trusted).client(peer.parse().unwrap(), &headers).to_string()
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
}
