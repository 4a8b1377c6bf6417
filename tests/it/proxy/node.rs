//! A real Node server behind the daemon.

use super::{answer, get};
use crate::harness::{Daemon, Node, Peer, eventually, request};

const APP: &str = "
let left = 0;
const connections = new Set();
const server = http.createServer((req, res) => {
    connections.add(req.socket);
    if (req.url === '/echo') return req.pipe(res);
    if (req.url === '/feed') {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        let n = 0;
        const timer = setInterval(() => res.write('data: ' + (++n) + '\\n\\n'), 5);
        return res.on('close', () => { clearInterval(timer); left += 1; });
    }
    if (req.url === '/left') return res.end(String(left));
    if (req.url === '/connections') return res.end(String(connections.size));
    if (req.url === '/trailers') {
        res.writeHead(200, { trailer: 'x-seen' });
        req.on('data', (data) => res.write(data));
        return req.on('end', () => { res.addTrailers({ 'x-seen': req.trailers['x-sum'] }); res.end(); });
    }
    if (req.url === '/gone') return req.socket.destroy();
    res.end('hello');
});";

async fn start() -> (Node, Daemon) {
    let node = Node::start(APP).await;
    let daemon = Daemon::start(&node.config("")).await;
    (node, daemon)
}

#[tokio::test]
async fn megabytes_go_there_and_come_back_unchanged() {
    let (_node, daemon) = start().await;
    let body: Vec<u8> = (0..8u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let answer = request(daemon.public, "POST", "/echo", &[], &body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body == body, "the same bytes");
}

#[tokio::test]
async fn many_clients_share_few_connections() {
    let (_node, daemon) = start().await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let to = daemon.public;
        clients.spawn(async move {
            let mut client = Peer::connect(to).await;
            for _ in 0..50 {
                client.send(get("/")).await;
                assert_eq!(answer(&mut client).await, (200, "hello".to_owned()));
            }
        });
    }
    clients.join_all().await;
    let used: usize = daemon.get("/connections").await.text().parse().unwrap();
    assert!(used <= 17, "{used} connections for 17 clients");
}

#[tokio::test]
async fn its_events_come_as_it_writes_them_until_the_client_leaves() {
    let (_node, daemon) = start().await;
    let mut client = Peer::send_to(daemon.public, get("/feed")).await;
    assert_eq!(client.head().await.get("content-type"), Some("text/event-stream"));
    for n in 1..=20 {
        let event = format!("data: {n}\n\n");
        assert_eq!(client.chunks(event.len()).await, event);
    }
    drop(client);
    eventually("node sees that nobody reads any more", async || {
        (daemon.get("/left").await.text() == "1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn trailers_pass_through_it() {
    let (_node, daemon) = start().await;
    let request = "POST /trailers HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, request).await;
    assert_eq!(client.head().await.get("trailer"), Some("x-seen"));
    assert_eq!(client.chunks(2).await, "hi");
    client.expect("0\r\nx-seen: 7\r\n\r\n").await;
}

#[tokio::test]
async fn a_connection_that_it_destroys_is_a_502_and_nothing_else_suffers() {
    let (_node, daemon) = start().await;
    let mut client = Peer::connect(daemon.public).await;
    for _ in 0..3 {
        client.send(get("/gone")).await;
        assert_eq!(answer(&mut client).await.0, 502);
        client.send(get("/")).await;
        assert_eq!(answer(&mut client).await, (200, "hello".to_owned()));
    }
}
