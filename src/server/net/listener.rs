//! Sockets that listen, over TCP or at a Unix path: bound early, so that an address that is taken stops the start.
//!
//! A connection over a Unix socket is served as one over TCP is; its peer is [`UNIX_PEER`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use crate::config::ListenAddress;
use crate::server::net::socket_file;
use crate::server::net::socket_file::SocketFile;
use crate::systemd::PassedSocket;

/// Connections that the kernel may hold ready for us.
const BACKLOG: u32 = 4096;

/// How long handshakes that have begun may take to end before a listener that leaves its port to another one closes.
const SETTLE: Duration = Duration::from_millis(500);

/// Who is at the other end of a Unix socket: a process of this machine, whose address nobody has. No TCP connection has
/// port 0.
pub(in crate::server) const UNIX_PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// How addresses are taken.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Others may listen at the same address, if they say so, too.
    pub reuse_port: bool,
    /// The rights of a Unix socket's file.
    pub mode: u32,
}

/// A socket that listens.
pub struct BoundListener {
    socket: ListeningSocket,
    address: ListenAddress,
    /// It leaves its port to another one that listens there.
    shares_port: bool,
}

enum ListeningSocket {
    Tcp(TcpListener),
    /// The file goes first: as long as there is the socket, no other file has its number.
    Unix(Option<SocketFile>, UnixListener),
}

/// Takes all of `addresses`. The error names the one that cannot be had.
pub fn bind_all(addresses: &[ListenAddress], options: BindOptions) -> io::Result<Vec<BoundListener>> {
    let ipv4 = |port| {
        addresses
            .iter()
            .filter_map(ListenAddress::tcp)
            .any(|other| other.is_ipv4() && other.port() == port && port != 0)
    };
    let bound = addresses.iter().map(|address| {
        let socket = match address {
            ListenAddress::Tcp(address) => {
                // Where IPv4 has the port, too, the address for everything is for IPv6 alone.
                let only_v6 = address.is_ipv6() && ipv4(address.port());
                bind_tcp(*address, options.reuse_port, only_v6).map(ListeningSocket::Tcp)
            }
            ListenAddress::Unix(path) => bind_unix(path, options),
        };
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
        BoundListener::of(socket.map_err(named)?, options.reuse_port)
    });
    bound.collect()
}

/// Takes an address and port.
pub fn bind(address: SocketAddr) -> io::Result<BoundListener> {
    let options = BindOptions { reuse_port: false, mode: 0 };
    let mut bound = bind_all(&[ListenAddress::Tcp(address)], options)?;
    bound.pop().ok_or_else(|| io::Error::other("nothing is bound"))
}

/// Sockets that the service manager has bound.
pub fn adopt(passed: Vec<PassedSocket>) -> io::Result<Vec<BoundListener>> {
    let adopted = passed.into_iter().map(|passed| {
        let socket = match passed {
            PassedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                ListeningSocket::Tcp(TcpListener::from_std(listener)?)
            }
            PassedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                // Its file is the service manager's.
                ListeningSocket::Unix(None, UnixListener::from_std(listener)?)
            }
        };
        BoundListener::of(socket, false)
    });
    adopted.collect()
}

impl BoundListener {
    fn of(socket: ListeningSocket, shared: bool) -> io::Result<Self> {
        let address = match &socket {
            ListeningSocket::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            ListeningSocket::Unix(Some(file), _) => ListenAddress::Unix(file.path().to_owned()),
            ListeningSocket::Unix(None, listener) => {
                let address = listener.local_addr()?;
                ListenAddress::Unix(address.as_pathname().map(Path::to_owned).unwrap_or_default())
            }
        };
        let shares_port = shared && matches!(socket, ListeningSocket::Tcp(_));
        Ok(Self { socket, address, shares_port })
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next connection, and where it comes from. Cancel safe.
    pub(in crate::server) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.accept().await,
            ListeningSocket::Unix(_, listener) => {
                let (socket, _) = listener.accept().await?;
                // One type of socket for all: an option that only TCP has the kernel refuses, as each caller expects.
                let socket = std::net::TcpStream::from(OwnedFd::from(socket.into_std()?));
                Ok((TcpStream::from_std(socket)?, UNIX_PEER))
            }
        }
    }

    /// Sees that new connections go elsewhere, if that can be; then gives how long those that have begun may take to be
    /// ready to be accepted. What the kernel has ready when a socket closes it resets.
    pub(in crate::server) fn leave(&mut self) -> Option<Duration> {
        match &mut self.socket {
            ListeningSocket::Tcp(listener) if self.shares_port => {
                turn_away_new(listener).is_ok().then_some(SETTLE)
            }
            // There is no handshake: what is not ready cannot connect any more.
            ListeningSocket::Unix(file, _) => file.take().map(|_| Duration::ZERO),
            ListeningSocket::Tcp(_) => None,
        }
    }
}

fn bind_tcp(address: SocketAddr, reuse_port: bool, only_v6: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    if only_v6 {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path, BindOptions { reuse_port, mode }: BindOptions) -> io::Result<ListeningSocket> {
    let backlog = i32::try_from(BACKLOG).unwrap_or(i32::MAX);
    let (file, listener) = socket_file::listen(path, mode, backlog, reuse_port)?;
    listener.set_nonblocking(true)?;
    Ok(ListeningSocket::Unix(Some(file), UnixListener::from_std(listener)?))
}

/// From now on no handshake begins at `listener`: its first segment is dropped, and the client's next attempt, a
/// second later, finds the other listener, or none. A handshake that has begun goes on.
#[cfg(target_os = "linux")]
fn turn_away_new(listener: &TcpListener) -> io::Result<()> {
    use socket2::SockFilter;
    // In the words of a classic BPF program (linux/bpf_common.h), which the kernel runs on the TCP header.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // Where the flags are; SYN and ACK among them.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

#[cfg(not(target_os = "linux"))]
fn turn_away_new(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
