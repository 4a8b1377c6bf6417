//! The chat of `examples/express`, started as its README says, on a port of its own.

use std::net::SocketAddr;

use serde_json::json;
use tokio::process::Command;

use super::{Program, program::repository, request};

pub(crate) struct Express {
    pub(crate) address: SocketAddr,
    _program: Program,
}

impl Express {
    pub(crate) async fn start(redis_url: &str) -> Self {
        let folder = repository().join("examples/express");
        assert!(
            folder.join("node_modules").exists(),
            "the example's npm packages are missing; run `make setup`"
        );
        let mut program = Program::start(
            Command::new("node")
                .arg("server.js")
                .current_dir(folder)
                .env("PORT", "0")
                .env("REDIS_URL", redis_url),
        );
        let line = program.line().await.expect("it says where it listens");
        let address = line.rsplit('/').next().and_then(|address| address.parse().ok());
        Self { address: address.unwrap_or_else(|| panic!("no address: {line}")), _program: program }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Posts a message to the lobby, to the app itself or through a daemon.
pub(crate) async fn say(to: SocketAddr, text: &str) {
    let message = json!({"conversationId": "lobby", "author": "a test", "text": text}).to_string();
    let headers = [("content-type", "application/json")];
    let answer = request(to, "POST", "/api/messages", &headers, message.as_bytes()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}
