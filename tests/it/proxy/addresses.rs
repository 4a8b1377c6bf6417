//! Backends and Redis behind names of several addresses, as a hosts file of the daemon's own has them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Daemon, Redis, eventually, ready, unless_over};

/// A hosts file that only the daemon sees.
struct Hosts(tempfile::NamedTempFile);

impl Hosts {
    fn new(lines: &str) -> Self {
        let mut hosts = Self(tempfile::NamedTempFile::new().expect("a file"));
        hosts.change(lines);
        hosts
    }

    /// In place: another file would not be the one that is mounted.
    fn change(&mut self, lines: &str) {
        let file = self.0.as_file_mut();
        file.set_len(0).expect("an empty file");
        std::io::Seek::rewind(file).expect("its start");
        write!(file, "127.0.0.1 localhost\n{lines}").expect("lines written");
    }

    async fn start(&self, config: &str) -> Daemon {
        let path = self.0.path().to_str().expect("a path");
        let mount = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        Daemon::start_through(&["unshare", "--mount", "sh", "-c", mount, path], config).await
    }
}

/// An address that neither accepts nor refuses, because nobody takes from its queue, which is full.
struct Silent(#[expect(dead_code, reason = "held open")] (Socket, Vec<TcpStream>));

impl Silent {
    async fn at(address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&address.into()).expect("the address");
        socket.listen(0).expect("a queue of one");
        let mut queue = Vec::new();
        let full = Duration::from_millis(200);
        while let Some(Ok(one)) = unless_over(full, TcpStream::connect(address)).await {
            queue.push(one);
        }
        Self((socket, queue))
    }
}

/// Answers every request with `body`.
async fn serve(address: &str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.expect("the address");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(1..) = socket.read(&mut head).await {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    if socket.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_silent_address_of_a_name_costs_a_moment_and_no_answer() {
    let port = serve("127.0.0.3:0", "3").await.port();
    let _silent = Silent::at(&format!("127.0.0.2:{port}")).await;
    let hosts = Hosts::new("127.0.0.2 backend.test\n127.0.0.3 backend.test\n");
    let config = format!("public.backend = \"http://backend.test:{port}\"\nproxy.max_idle = 0\n");
    let daemon = hosts.start(&config).await;
    for _ in 0..10 {
        let asked = Instant::now();
        let answer = daemon.get("/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "3"));
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn redis_behind_a_name_with_a_silent_address_is_reached() {
    let redis = Redis::start_with(&["--bind", "127.0.0.1", "127.0.0.3"]).await;
    let _silent = Silent::at(&format!("127.0.0.2:{}", redis.port)).await;
    let hosts = Hosts::new("127.0.0.2 redis.test\n127.0.0.3 redis.test\n");
    let began = Instant::now();
    let daemon = hosts.start(&format!("redis.url = \"redis://redis.test:{}\"\n", redis.port)).await;
    ready(&daemon, 200).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn connections_are_spread_over_the_addresses_of_a_name() {
    let port = serve("127.0.0.2:0", "2").await.port();
    serve(&format!("127.0.0.3:{port}"), "3").await;
    let hosts = Hosts::new("127.0.0.2 backend.test\n127.0.0.3 backend.test\n");
    let config = format!("public.backend = \"http://backend.test:{port}\"\nproxy.max_idle = 0\n");
    let daemon = hosts.start(&config).await;
    let mut at = [0, 0];
    for _ in 0..60 {
        at[usize::from(daemon.get("/").await.text() == "3")] += 1;
    }
    // By chance alone less often than once in a billion runs.
    assert!(at.iter().all(|count| *count >= 8), "{at:?}");
}

#[tokio::test]
async fn a_name_that_moves_is_followed_under_steady_traffic() {
    let port = serve("127.0.0.2:0", "2").await.port();
    serve(&format!("127.0.0.3:{port}"), "3").await;
    let mut hosts = Hosts::new("127.0.0.2 backend.test\n");
    let config = format!("public.backend = \"http://backend.test:{port}\"\nproxy.max_age = \"1s\"\n");
    let daemon = hosts.start(&config).await;
    assert_eq!(daemon.get("/").await.text(), "2");
    hosts.change("127.0.0.3 backend.test\n");
    eventually("requests go to the new address", async || {
        (daemon.get("/").await.text() == "3").then_some(())
    })
    .await;
}
