//! What counts as one client address.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the network of an IPv6 address: one customer has all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// `prefix` is the length of IPv6 networks, at most 128. A mapped address is the IPv4 address that it stands for.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let network = |text: &str, prefix| ClientNetwork::of(text.parse().unwrap(), prefix);
        assert_eq!(network("2001:db8::1", 64), network("2001:db8::ffff:0:0:2", 64));
        assert_ne!(network("2001:db8:0:1::1", 64), network("2001:db8::1", 64));
        assert_eq!(network("2001:db8:0:1::1", 48), network("2001:db8::1", 48));
        assert_ne!(network("2001:db8::2", 128), network("2001:db8::1", 128));
        assert_eq!(network("::ffff:192.0.2.1", 64), network("192.0.2.1", 64));
        assert_ne!(network("192.0.2.2", 64), network("192.0.2.1", 64));
        assert_eq!(network("2001:db8::1", 0), network("fe80::1", 0));
    }
}
