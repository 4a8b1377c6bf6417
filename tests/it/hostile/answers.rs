//! What the application answers when it is asked who a caller is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{CHEAP, HEAD, MEMORY, ROOM, filled, memory, request, send};
use crate::harness::Daemon;

/// An application that gives everybody the answer that it was given last.
async fn application() -> (SocketAddr, watch::Sender<Arc<Vec<u8>>>) {
    let (answer, given) = watch::channel(Arc::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = Arc::clone(&*given.borrow());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|part| part == b"\r\n\r\n") {
                    match socket.read_buf(&mut head).await {
                        Ok(1..) => {}
                        _ => return,
                    }
                }
                // One that is not taken to its end is closed on the other side.
                let _ = socket.write_all(&answer).await;
            });
        }
    });
    (address, answer)
}

#[tokio::test]
async fn an_applications_answer_costs_what_its_bytes_cost() {
    let (address, answer) = application().await;
    let daemon = Daemon::start(&format!(
        "[[stream]]\npath = \"/events\"\nauth = \"backend\"\ntopics = [\"{{query.topic}}\"]\n\
         [auth.backend]\nurl = \"http://{address}/who\"\n[limits]\nstreams_per_address = 0\nstreams_per_user = 0\n"
    ))
    .await;
    let json = |body: &str| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        format!("{head}content-length: {}\r\n\r\n{body}", body.len())
    };
    let fields = |fields: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nx-sidestream-user: u\r\n{fields}connection: close\r\ncontent-length: 0\r\n\r\n"
        )
    };
    let topics = filled(600, |nth| format!("\"t:{nth}\","));
    let honest = json(&format!(r#"{{"user":"u","topics":[{topics}"*"],"x":"{}"}}"#, "v".repeat(HEAD)));
    let mut asked = 0;
    let mut taken = async |text: &str| {
        answer.send_replace(Arc::new(text.as_bytes().to_vec()));
        let (before, held) = (daemon.processor_time(), memory(&daemon, "VmRSS:"));
        let mut status = 0;
        for _ in 0..20 {
            asked += 1;
            // Another caller each time, so that no answer is kept.
            let cookie = format!("cookie: n={asked}\r\n");
            status = send(daemon.public, &request("GET", "/events?topic=t:1", &cookie, "")).await;
        }
        ((daemon.processor_time() - before) / 20, memory(&daemon, "VmRSS:").saturating_sub(held), status)
    };
    let (good, _, status) = taken(&honest).await;
    assert_eq!(status, 200);
    for (what, text) in [
        ("nested", json(&"[".repeat(HEAD))),
        ("nested objects", json(&"{\"a\":".repeat(HEAD / 5))),
        (
            "many topics",
            json(&format!(r#"{{"user":"u","topics":[{}"*"]}}"#, filled(HEAD, |nth| format!("\"t:{nth}\",")))),
        ),
        ("patterns", json(&format!(r#"{{"user":"u","topics":[{}"*"]}}"#, "\"*a*a*a*b\",".repeat(HEAD / 11)))),
        ("many fields", json(&format!("{{{}\"user\":\"u\"}}", filled(HEAD, |nth| format!("\"f{nth}\":1,"))))),
        (
            "a list of topics in a header",
            fields(&format!("x-sidestream-topics: {}\r\n", "a,".repeat(HEAD / 2))),
        ),
        ("many headers", fields(&filled(HEAD, |nth| format!("x-sidestream-topics: t:{nth}\r\n")))),
        ("far too long", json(&"[1,".repeat(1 << 20))),
    ] {
        let (spent, grown, status) = taken(&text).await;
        println!("{what}: {spent:?} and {} KiB ({status}), the honest one {good:?}", grown >> 10);
        let share = (honest.len() as f64 / text.len() as f64).min(1.0);
        let is_cheap = spent <= CHEAP || spent.as_secs_f64() * share <= good.as_secs_f64() * ROOM;
        assert!(is_cheap && grown <= MEMORY, "{what}: {spent:?} and {grown} bytes, the honest one {good:?}");
        assert!(spent < Duration::from_secs(1), "{what}");
    }
}
