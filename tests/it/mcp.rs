//! The Model Context Protocol by its Python SDK, through a route that is not captured: a client that closes its answer
//! cancels the call, and the server has to hear of that at once.

use std::time::Duration;

use crate::harness::{Daemon, Program, start, within_time};

/// Far less than anything that looks for dead connections would take.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A daemon in front of the SDK's server, beside a route that is captured.
async fn before_the_server() -> (Daemon, Program) {
    let mut server = Program::python("mcp_server.py", &[]);
    let port = server.line().await.expect("its port");
    let config = format!(
        "public.backend = \"http://127.0.0.1:{port}\"\n[[capture]]\npath = \"/chat\"\npreset = \"ai-sdk\"\n"
    );
    (start(&config).await, server)
}

/// A client whose call of this name is under way.
async fn calling(daemon: &Daemon, server: &mut Program, name: &str) -> Program {
    let url = format!("http://{}/mcp", daemon.public);
    let mut client = Program::python("mcp_client.py", &[&url, name]);
    assert_eq!(client.line().await.as_deref(), Some("2026-07-28"), "the protocol's revision");
    assert_eq!(server.line().await, Some(format!("began {name}")));
    assert_eq!(client.line().await, Some(format!("heard {name}")), "what is streamed comes as it is sent");
    client
}

async fn ended(server: &mut Program, name: &str) {
    let line = within_time(AT_ONCE, "the server hears of it", server.line()).await;
    assert_eq!(line, Some(format!("ended {name}")));
}

#[tokio::test]
async fn a_call_that_its_client_cancels_ends_at_the_server_at_once() {
    let (daemon, mut server) = before_the_server().await;
    let mut client = calling(&daemon, &mut server, "one").await;
    client.tell(&serde_json::json!("cancel")).await;
    ended(&mut server, "one").await;
    assert_eq!(client.line().await.as_deref(), Some("cancelled"));
    assert!(client.ended().await.success());
}

#[tokio::test]
async fn a_call_whose_client_is_killed_ends_at_the_server_at_once_and_others_go_on() {
    let (daemon, mut server) = before_the_server().await;
    let mut stays = calling(&daemon, &mut server, "stays").await;
    let leaves = calling(&daemon, &mut server, "leaves").await;
    // It is killed.
    drop(leaves);
    ended(&mut server, "leaves").await;
    stays.tell(&serde_json::json!("cancel")).await;
    ended(&mut server, "stays").await;
}
