//! A TCP connection to a name, by whichever of its addresses answers: Happy Eyeballs (RFC 8305).
//!
//! An address that says nothing costs 250 ms, not the whole connect timeout. This file must not know what the
//! connection is for.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep};

use crate::future::BoxFuture;

/// How long an address has for itself before the next one is tried as well: RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const MOST_ADDRESSES: usize = 16;

/// Connects to `host`, a name or an address, IPv6 with or without its brackets. What is written goes out at once.
///
/// The caller bounds the time and says by how much (`limit`): a name's addresses share it. Connections to a name of
/// several addresses are spread over those of the family that the system prefers. Dropping it gives all attempts up.
pub async fn tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let mut found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    if found.len() > 1 {
        found = interleave(&found, getrandom::u32().unwrap_or(0) as usize);
        found.truncate(MOST_ADDRESSES);
    }
    let socket = match found[..] {
        [address] => TcpStream::connect(address).await,
        _ => race(&found, head_start(found.len(), limit)).await,
    }?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The pause between two attempts at `addresses`, such that the last one has as much time as the others.
fn head_start(addresses: usize, limit: Duration) -> Duration {
    HEAD_START.min(limit / u32::try_from(addresses + 1).unwrap_or(u32::MAX))
}

/// The two families in turn, that of the first address first; each begins at a place that `turn` picks.
fn interleave(found: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let Some(first) = found.first() else { return Vec::new() };
    let (mut preferred, mut other): (Vec<_>, Vec<_>) =
        found.iter().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    for family in [&mut preferred, &mut other] {
        let places = family.len().max(1);
        family.rotate_left(turn % places);
    }
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(found.len());
    while order.len() < found.len() {
        order.extend(preferred.next());
        order.extend(other.next());
    }
    order
}

/// The first that accepts. A further attempt begins after each `step`, and as soon as one has failed.
async fn race(addresses: &[SocketAddr], step: Duration) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter().copied();
    let mut under_way: Vec<BoxFuture<'_, io::Result<TcpStream>>> = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut next = pin!(sleep(Duration::ZERO));
    let mut begins = true;
    poll_fn(|cx| {
        loop {
            if begins {
                begins = false;
                if let Some(address) = waiting.next() {
                    under_way.push(Box::pin(TcpStream::connect(address)));
                    next.as_mut().reset(Instant::now() + step);
                }
            }
            let mut accepted = None;
            under_way.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(socket)) => {
                    accepted.get_or_insert(socket);
                    false
                }
                Poll::Ready(Err(error)) => {
                    last = error;
                    begins = true;
                    false
                }
            });
            if let Some(socket) = accepted {
                return Poll::Ready(Ok(socket));
            }
            let tried_all = waiting.len() == 0;
            if tried_all && under_way.is_empty() {
                let last = std::mem::replace(&mut last, io::ErrorKind::Other.into());
                return Poll::Ready(Err(last));
            }
            if tried_all || !(begins || next.as_mut().poll(cx).is_ready()) {
                return Poll::Pending;
            }
            begins = true;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split(' ').map(|address| address.parse().unwrap()).collect()
    }

    /// An address that neither accepts nor refuses: its queue is full. Gives what keeps it so.
    async fn silent(last: u8) -> (SocketAddr, (Socket, Vec<TcpStream>)) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(one)) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            waiting.push(one);
        }
        (address, (socket, waiting))
    }

    fn refusing() -> SocketAddr {
        // Taken and never listened at.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        std::mem::forget(socket);
        address
    }

    #[test]
    fn families_take_turns_and_each_begins_anywhere() {
        let found = addresses("[::1]:1 [::2]:1 [::3]:1 127.0.0.1:1");
        assert_eq!(interleave(&found, 0), addresses("[::1]:1 127.0.0.1:1 [::2]:1 [::3]:1"));
        assert_eq!(interleave(&found, 4), addresses("[::2]:1 127.0.0.1:1 [::3]:1 [::1]:1"));
        assert_eq!(interleave(&found[3..], 7), &found[3..]);
        assert!(interleave(&[], 7).is_empty());
    }

    #[test]
    fn many_addresses_share_the_time() {
        assert_eq!(head_start(2, Duration::from_secs(5)), HEAD_START);
        assert_eq!(head_start(4, Duration::from_secs(1)), Duration::from_millis(200));
    }

    #[tokio::test]
    async fn an_address_that_is_silent_costs_a_moment() {
        let (silent, _full) = silent(1).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let healthy = listener.local_addr().unwrap();
        let began = Instant::now();
        let socket = timeout(Duration::from_secs(5), race(&[silent, healthy], HEAD_START)).await.unwrap();
        assert_eq!(socket.unwrap().peer_addr().unwrap(), healthy);
        assert!(began.elapsed() >= HEAD_START && began.elapsed() < 4 * HEAD_START, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_the_last_error_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let healthy = listener.local_addr().unwrap();
        let hour = Duration::from_secs(3600);
        let race_of = async |addresses: &[SocketAddr]| {
            timeout(Duration::from_secs(5), race(addresses, hour)).await.expect("no wait")
        };
        let socket = race_of(&[refusing(), refusing(), healthy]).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), healthy);
        let error = race_of(&[refusing(), refusing()]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(race_of(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
