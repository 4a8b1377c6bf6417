//! Where a listener is: an address and a port, or the path of a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::values::Backend;

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::1]:8080`
    Tcp(SocketAddr),
    /// `unix:/run/sidestream/public.sock`
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address and port, unless it is a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether other machines can reach it.
    pub(super) fn is_beyond_this_machine(&self) -> bool {
        self.tcp().is_some_and(|address| !address.ip().is_loopback())
    }

    /// Whether both cannot be had at once.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let same_family = one.is_ipv4() == other.is_ipv4();
                let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
                let overlap = one.ip() == other.ip() || (same_family && everywhere);
                overlap && one.port() == other.port() && one.port() != 0
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }

    /// Whether a connection to `backend` comes back to this listener, as far as the name alone says.
    pub(super) fn is_reached_as(&self, backend: &Backend) -> bool {
        match (self, backend) {
            (Self::Tcp(listener), Backend::Tcp { host, port, .. }) => {
                *port == listener.port() && reaches(host, listener.ip())
            }
            (Self::Unix(listener), Backend::Unix(path)) => listener == path,
            (Self::Tcp(_), Backend::Unix(_)) | (Self::Unix(_), Backend::Tcp { .. }) => false,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Addresses as one line names them.
pub fn listed(addresses: &[ListenAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whose connections something is said of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerRange {
    /// Those over Unix sockets.
    Unix,
    Network(IpNet),
}

/// Whether a connection to `host` reaches a listener at `address` on this machine, as far as the name alone says.
fn reaches(host: &str, address: IpAddr) -> bool {
    let to = host.parse::<IpAddr>().ok();
    let to_loopback = host == "localhost" || to.is_some_and(|to| to.is_loopback());
    let everywhere = address.is_unspecified() && to_loopback;
    everywhere || to == Some(address) || (host == "localhost" && address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_overlap_where_the_kernel_would_give_one_of_them_only() {
        let address = |text: &str| match text.strip_prefix("unix:") {
            Some(path) => ListenAddress::Unix(path.into()),
            None => ListenAddress::Tcp(text.parse().unwrap()),
        };
        for (one, other, overlap) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::]:80", "0.0.0.0:80", false),
            ("[::]:80", "[::1]:80", true),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "127.0.0.1:80", false),
        ] {
            assert_eq!(address(one).overlaps(&address(other)), overlap, "{one} {other}");
            assert_eq!(address(other).overlaps(&address(one)), overlap, "{other} {one}");
        }
    }
}
