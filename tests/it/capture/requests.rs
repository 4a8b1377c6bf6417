//! Requests on a captured path that are not what clients of it send: other methods, preflights, strange bodies.

use super::Captured;
use crate::harness::request;

/// An id that nobody has.
const NOBODYS: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn only_get_comes_back_and_other_methods_are_the_backends() {
    let test = Captured::start("").await;
    for method in ["DELETE", "PUT", "HEAD", "OPTIONS", "PROPFIND"] {
        let path = format!("/chat?stream={NOBODYS}");
        let (mut client, mut at, head) =
            test.ask(&format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(head.line, format!("{method} {path} HTTP/1.1"));
        at.send("HTTP/1.1 204 No Content\r\nx-of: backend\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.head().await.get("x-of"), Some("backend"), "{method}");
    }
}

#[tokio::test]
async fn a_browser_learns_before_whether_a_page_of_another_origin_may_come_back_or_stop() {
    let cors = "cors.origins = [\"https://page.example\"]\n";
    let test = Captured::start_with(cors, "preset = \"ai-sdk\"\n").await;
    let ask = async |path: &str, method: &str| {
        let headers = [
            ("origin", "https://page.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", "last-event-id"),
        ];
        request(test.daemon.public, "OPTIONS", path, &headers, b"").await
    };
    let by_id = format!("/chat?stream={NOBODYS}");
    for (path, method) in [(by_id.as_str(), "GET"), ("/chat/c/stream", "GET"), ("/chat/c/stop", "POST")] {
        let answer = ask(path, method).await;
        assert_eq!(answer.header("access-control-allow-origin"), "https://page.example", "{path}");
        assert!(answer.header("access-control-allow-headers").to_lowercase().contains("last-event-id"));
    }
    // What begins an answer is the backend's to allow.
    for (path, method) in [("/chat", "POST"), ("/chat/c/stream", "POST"), ("/chat/c/stop", "GET")] {
        let asked = format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: a\r\norigin: https://page.example\r\naccess-control-request-method: {method}\r\n\r\n"
        );
        let (mut client, mut at, head) = test.ask(&asked).await;
        assert_eq!(head.target(), path);
        at.send("HTTP/1.1 204 No Content\r\nx-of: backend\r\nconnection: close\r\n\r\n").await;
        assert_eq!(client.head().await.get("x-of"), Some("backend"), "{path}");
    }
}
