//! A backend that speaks TLS, as Node does: its certificate, its name, and ours.

use std::path::Path;

use crate::harness::{Daemon, Node, Peer, ready};
use crate::redis_tls::make;

/// A Node that speaks TLS with a certificate of `make`; `more` are further options of its server.
async fn node(folder: &Path, certificate: &str, more: &str) -> Node {
    let script = format!(
        "const fs = require('fs'), https = require('https');
        const file = (name) => fs.readFileSync('{}/' + name);
        const server = https.createServer(
          {{ cert: file('{certificate}.pem'), key: file('{certificate}.key'), {more} }},
          (from, to) => {{
            const client = from.socket.getPeerCertificate?.()?.subjectaltname;
            const said = {{ name: from.socket.servername, client, proto: from.headers['x-forwarded-proto'] }};
            to.setHeader('x-said', JSON.stringify(said));
            if (from.url === '/large') return to.end(Buffer.alloc(5 << 20, 'y'));
            if (from.url === '/auth') return to.setHeader('x-sidestream-user', 'u').end();
            let size = 0;
            from.on('data', (part) => size += part.length).on('end', () => to.end(`${{size}}`));
          }});
        server.on('upgrade', (from, socket) => {{
          socket.write('HTTP/1.1 101 Switching Protocols\\r\\nconnection: upgrade\\r\\nupgrade: echo\\r\\n\\r\\n');
          socket.pipe(socket);
        }});",
        folder.display()
    );
    let mut node = Node::start(&script).await;
    node.url = node.url.replace("http://", "https://");
    node
}

fn ca(folder: &Path) -> String {
    format!("[proxy]\nca_file = \"{}/ca.pem\"\n", folder.display())
}

#[tokio::test]
async fn pages_bodies_and_upgrades_go_to_a_backend_with_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let node = node(folder.path(), "server", "").await;
    let daemon = Daemon::start(&node.config(&ca(folder.path()))).await;
    for _ in 0..3 {
        let answer = daemon.get("/short").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "0"));
        // The public listener speaks plain HTTP; and an address is no name to ask for.
        assert_eq!(answer.header("x-said"), r#"{"name":false,"proto":"http"}"#);
        let large = daemon.get("/large").await;
        assert_eq!((large.status, large.body.len()), (200, 5 << 20));
        let body = vec![b'x'; 3 << 20];
        let answer = crate::harness::request(daemon.public, "POST", "/up", &[], &body).await;
        assert_eq!((answer.status, answer.text()), (200, (3 << 20).to_string()));
    }
    let asks = "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let mut client = Peer::send_to(daemon.public, asks).await;
    assert_eq!(client.head().await.status(), 101);
    client.send("there and back").await;
    client.expect("there and back").await;
    assert_eq!(ready(&daemon, 200).await["backend"]["state"], "up");
}

#[tokio::test]
async fn a_backend_that_nobody_vouches_for_is_not_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let named = node(folder.path(), "named", "").await;
    // The authority is not the system's; and the certificate is for another name.
    for (config, why) in [(String::new(), "UnknownIssuer"), (ca(folder.path()), "not valid for name")] {
        let daemon = Daemon::start(&named.config(&config)).await;
        assert_eq!(daemon.get("/").await.status, 502);
        daemon.logged(why).await;
    }
    let config = format!("{}server_name = \"redis.internal\"\n", ca(folder.path()));
    let daemon = Daemon::start(&named.config(&config)).await;
    let answer = daemon.get("/").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-said"), r#"{"name":"redis.internal","proto":"http"}"#);
}

#[tokio::test]
async fn a_backend_that_asks_for_a_certificate_gets_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path());
    let node = node(folder.path(), "server", "requestCert: true, ca: file('ca.pem')").await;
    let daemon = Daemon::start(&node.config(&ca(folder.path()))).await;
    assert_eq!(daemon.get("/").await.status, 502);
    let at = folder.path().display();
    let own = format!("certificate_file = \"{at}/client.pem\"\nkey_file = \"{at}/client.key\"\n");
    let config = format!(
        "{}{own}[[stream]]\npath = \"/events\"\nauth = \"backend\"\n[auth.backend]\nurl = \"/auth\"\ngrants = \"asked\"\n",
        ca(folder.path())
    );
    let daemon = Daemon::start(&node.config(&config)).await;
    let answer = daemon.get("/").await;
    assert_eq!(answer.status, 200);
    let said = answer.header("x-said");
    assert!(said.contains("DNS:client"), "{said}");
    // The application is asked who a caller is in the same way.
    assert_eq!(daemon.stream("/events?topic=a").await.status(), 200);
}
