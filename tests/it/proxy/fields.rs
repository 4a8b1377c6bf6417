//! What other proxies let pass and parsers of HTTP often do not: many fields, targets without a path, names with
//! capital letters, requests that come around, clients that leave in the midst of something.

use std::time::Duration;

use super::{get, start};
use crate::harness::{Backend, Daemon, H2, Peer, eventually, unless_over};

/// Header lines, 150 of them.
fn many(name: &str) -> String {
    (0..150).map(|n| format!("{name}: k{n}=v\r\n")).collect()
}

#[tokio::test]
async fn a_hundred_and_fifty_fields_go_both_ways() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::connect(daemon.public).await;
    let mut at = None;
    let whole = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", many("set-cookie"));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\n{}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        many("set-cookie")
    );
    for reply in [&whole, &chunks, &whole] {
        client.send(format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", many("x-many"))).await;
        if at.is_none() {
            at = Some(backend.accept().await);
        }
        let at = at.as_mut().expect("a connection");
        assert_eq!(at.head().await.all("x-many").len(), 150);
        at.send(reply).await;
        let head = client.head().await;
        assert_eq!((head.status(), head.all("set-cookie").len()), (200, 150));
        assert_eq!(client.body(&head).await, "ok");
    }
}

#[tokio::test]
async fn many_fields_pass_wherever_they_stand_on_a_connection() {
    let (backend, daemon) = start("").await;
    let few = "GET /few HTTP/1.1\r\nhost: h\r\n\r\n";
    let many = format!("GET /many HTTP/1.1\r\nhost: h\r\n{}\r\n", many("x-many"));
    let body = "POST /body HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello";
    let mut client = Peer::connect(daemon.public).await;
    client.send(few).await;
    let mut at = backend.accept().await;
    let mut answered = async |client: &mut Peer, path: &str, fields: usize| {
        let head = at.head().await;
        assert_eq!((head.line.split(' ').nth(1), head.all("x-many").len()), (Some(path), fields));
        if path == "/body" {
            at.expect("hello").await;
        }
        at.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
        let head = client.head().await;
        assert_eq!((head.status(), client.body(&head).await.as_str()), (200, path));
    };
    answered(&mut client, "/few", 0).await;
    // With others in one piece, behind a body, and cut in the middle.
    client.send(format!("{few}{body}{many}{body}")).await;
    answered(&mut client, "/few", 0).await;
    answered(&mut client, "/body", 0).await;
    answered(&mut client, "/many", 150).await;
    answered(&mut client, "/body", 0).await;
    let mut client = Peer::send_to(daemon.public, few).await;
    answered(&mut client, "/few", 0).await;
    client.send(&many[..many.len() - 20]).await;
    assert!(unless_over(Duration::from_millis(100), client.ended()).await.is_none());
    client.send(&many[many.len() - 20..]).await;
    answered(&mut client, "/many", 150).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_once_and_nothing_of_it_goes_on() {
    let (backend, daemon) = start("").await;
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: v\r\n")).collect::<String>();
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", fields(1024)), 431),
        (format!("GET / HTTP/1.1\r\nhost: h\r\nx-long: {}", "v".repeat(40_000)), 431),
        ("GET / HTTP/1.1\r\nhost : h\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01 no HTTP".to_owned(), 400),
    ] {
        let mut client = Peer::connect(daemon.public).await;
        // The end of a long one may come too late.
        let _ = client.try_send(&head).await;
        assert_eq!(client.head().await.status(), status, "{}", &head[..16]);
        client.ended().await;
    }
    let most = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", fields(1023));
    let mut client = Peer::send_to(daemon.public, most).await;
    let (mut at, head) = backend.request().await;
    assert_eq!(head.get("x-1022"), Some("v"));
    at.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_hundred_and_fifty_cookies_go_to_a_client_of_http2() {
    let (backend, daemon) = start("").await;
    let mut client = H2::plain(daemon.public).await;
    let asked = tokio::spawn(async move { client.ask("GET", "/", &[], b"").await });
    let (mut at, _) = backend.request().await;
    at.send(format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", many("set-cookie"))).await;
    let answer = asked.await.expect("no panic");
    assert_eq!((answer.status, answer.headers.get_all("set-cookie").iter().count()), (200, 150));
}

#[tokio::test]
async fn an_absolute_target_without_a_path_is_sent_with_one() {
    let (backend, daemon) = start("").await;
    for (sent, arrives) in [
        ("GET http://app.example?q=1", "GET /?q=1 HTTP/1.1"),
        ("GET http://app.example", "GET / HTTP/1.1"),
        ("HEAD http://app.example", "HEAD / HTTP/1.1"),
        ("HEAD http://app.example?q=1", "HEAD /?q=1 HTTP/1.1"),
        ("DELETE http://app.example#f", "DELETE / HTTP/1.1"),
        ("OPTIONS http://app.example", "OPTIONS / HTTP/1.1"),
        ("OPTIONS http://app.example?q=1", "OPTIONS /?q=1 HTTP/1.1"),
    ] {
        let head = format!("{sent} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let mut client = Peer::send_to(daemon.public, head).await;
        let (mut at, head) = backend.request().await;
        assert_eq!(head.line, arrives, "{sent}");
        at.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(client.head().await.status(), 200);
    }
}

#[tokio::test]
async fn a_path_of_http2_that_is_only_a_query_is_refused() {
    let (backend, daemon) = start("").await;
    let mut client = H2::plain(daemon.public).await;
    assert_eq!(client.ask("GET", "?q=1", &[], b"").await.status, 400);
    assert!(!backend.is_asked().await);
}

#[tokio::test]
async fn a_space_in_front_of_a_colon_of_an_answer_is_removed() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/")).await;
    let (mut at, _) = backend.request().await;
    at.send("HTTP/1.1 200 OK\r\nX-Old : yes\r\nContent-Length : 2\r\n\r\nok").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("x-old")), (200, Some("yes")));
    assert_eq!(client.body(&head).await, "ok");
}

#[tokio::test]
async fn a_client_that_does_not_take_trailers_is_promised_none() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::connect(daemon.public).await;
    let mut at = None;
    for (asks, promised) in [("", None), ("te: trailers\r\nconnection: te\r\n", Some("x-sum"))] {
        client.send(format!("GET / HTTP/1.1\r\nhost: h\r\n{asks}\r\n")).await;
        if at.is_none() {
            at = Some(backend.accept().await);
        }
        let at = at.as_mut().expect("a connection");
        at.head().await;
        at.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n").await;
        at.send("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!(head.get("trailer"), promised);
        assert_eq!(client.chunk().await, "ok");
        assert_eq!(client.chunk().await, "");
        client.expect(if promised.is_some() { "x-sum: 7\r\n\r\n" } else { "\r\n" }).await;
    }
}

#[tokio::test]
async fn names_keep_their_capital_letters_where_that_is_asked_for() {
    for keep in [true, false] {
        let (backend, daemon) = start(&format!("proxy.keep_header_case = {keep}\n")).await;
        let mut client = Peer::connect(daemon.public).await;
        let mut at = None;
        let short = "HTTP/1.1 200 OK\r\nX-ODD-Name: 1\r\nContent-Length: 2\r\n\r\nok";
        let late =
            "HTTP/1.1 200 OK\r\nX-ODD-Name: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        for reply in [short, late, short] {
            client.send("GET / HTTP/1.1\r\nHost: h\r\nSOAPAction: x\r\n\r\n").await;
            if at.is_none() {
                at = Some(backend.accept().await);
            }
            let at = at.as_mut().expect("a connection");
            let asked = at.until("\r\n\r\n").await;
            assert_eq!(asked.contains("\r\nSOAPAction: x\r\n"), keep, "{asked}");
            assert_eq!(asked.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n"), keep, "{asked}");
            at.send(reply).await;
            let said = client.until("ok").await;
            assert_eq!(said.contains("\r\nX-ODD-Name: 1\r\n"), keep, "{said}");
            if reply == late {
                client.expect("\r\n0\r\n\r\n").await;
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_comes_around_ends_with_508() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let first_at = free.local_addr().expect("its address");
    let second = Daemon::start(&format!("public.backend = \"http://{first_at}\"\n")).await;
    drop(free);
    let config = format!("public.backend = \"http://{}\"\n", second.public);
    let first = Daemon::start_with(&config, &[("SIDESTREAM_PUBLIC_LISTEN", &first_at.to_string())]).await;
    let answer = first.get("/page").await;
    assert_eq!(answer.status, 508, "{}", answer.text());
    assert!(answer.text().contains("public.backend"), "{}", answer.text());
    let went = first.metric("sidestream_proxy_requests_total", &[]).await
        + second.metric("sidestream_proxy_requests_total", &[]).await;
    assert!(went <= 10.0, "{went} requests");
    let around =
        async |daemon: &Daemon| daemon.metric("sidestream_proxy_requests_total", &["outcome=\"loop\""]).await;
    assert_eq!(around(&first).await + around(&second).await, 1.0);
}

#[tokio::test]
async fn a_client_that_leaves_behind_stray_bytes_is_noticed() {
    let (backend, daemon) = start("").await;
    let mut client = Peer::send_to(daemon.public, get("/silent")).await;
    let (mut at, _) = backend.request().await;
    client.send("GET /n HT").await;
    drop(client);
    at.ended().await;
    eventually("nothing is in flight", async || {
        (daemon.metric("sidestream_proxy_in_flight", &[]).await == 0.0).then_some(())
    })
    .await;
}

/// docs/operating.md lists these.
#[tokio::test]
async fn targets_that_no_browser_sends_are_refused_and_counted() {
    let backend = Backend::start().await;
    let daemon = Daemon::start(&backend.config("")).await;
    let targets = ["/a<b", "/a>b", "/a`b", "/?q=\"", "/?q=<a>", "/?q=>"];
    for target in targets {
        let mut client = Peer::send_to(daemon.public, get(target)).await;
        assert_eq!(client.head().await.status(), 400, "{target}");
    }
    let mut client = Peer::send_to(daemon.public, b"GET /\xfc HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 400);
    assert!(!backend.is_asked().await);
    eventually("they are counted", async || {
        let counted = daemon.metric("sidestream_http_parser_refused_total", &["reason=\"malformed\""]).await;
        (counted == targets.len() as f64 + 1.0).then_some(())
    })
    .await;
}
