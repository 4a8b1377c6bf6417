//! A successor that is started at the same port, and takes over when the first one stops: `public.reuse_port`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::harness::{Daemon, Node, eventually_within, request, successors};

/// A port that stays ours, at which nobody listens yet.
fn port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let address = socket.local_addr().expect("its address").as_socket().expect("IPv4");
    (socket, address)
}

#[tokio::test]
async fn a_successor_takes_over_and_no_connection_is_refused_or_reset() {
    let app = Node::start("const server = http.createServer((req, res) => res.end('page'));").await;
    let (_reserved, address) = port();
    let config =
        format!("public.backend = \"{}\"\npublic.reuse_port = true\ndrain.window = \"200ms\"\n", app.url);
    let listen = address.to_string();
    let environment = [("SIDESTREAM_PUBLIC_LISTEN", listen.as_str())];
    let start = async || Daemon::start_with(&config, &environment).await;
    successors(start, 8, move || async move {
        let answer = request(address, "GET", "/", &[("connection", "close")], b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "page"));
    })
    .await;
}

#[tokio::test]
async fn without_it_the_port_is_taken() {
    let daemon = Daemon::start("").await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sidestream"))
        .args(["serve", "--backend", "http://127.0.0.1:9"])
        .env("SIDESTREAM_PUBLIC_LISTEN", daemon.public.to_string())
        .env("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0")
        .output()
        .expect("the binary");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("cannot listen on"), "{said}");
    eventually_within(Duration::from_secs(5), "the first one serves", async || {
        (daemon.ask("/healthz").await.status == 200).then_some(())
    })
    .await;
}
