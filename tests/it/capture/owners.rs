//! Whose an answer is: where nobody verifies who asks, by tokens, and by an application that says who a caller is.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Captured, END, EVENT, post};
use crate::harness::{Answer, Head, Node, Peer, SECRET, request, token, unless_over};
use crate::jwt::at as seconds;

const BODY: &str = r#"{"id":"c"}"#;

/// Begins the answer of the chat, of which there is one event then.
async fn begin(test: &Captured, credentials: &str) -> (Peer, Peer) {
    let (client, at, _) = test.begin(&post("/chat", credentials, BODY)).await;
    (client, at)
}

/// Comes back to it.
async fn come_back(test: &Captured, credentials: &str) -> (Peer, Head) {
    let ask = format!("GET /chat/c/stream HTTP/1.1\r\nhost: a\r\n{credentials}\r\n");
    let mut peer = Peer::send_to(test.daemon.public, ask).await;
    let head = peer.head().await;
    (peer, head)
}

async fn status_of(test: &Captured, credentials: &str) -> u16 {
    come_back(test, credentials).await.1.status()
}

async fn stop(test: &Captured, credentials: &str) -> u16 {
    let ask = format!("POST /chat/c/stop HTTP/1.1\r\nhost: a\r\n{credentials}content-length: 0\r\n\r\n");
    Peer::send_to(test.daemon.public, ask).await.head().await.status()
}

/// Whether the backend is still wanted to say something.
async fn is_open(at: &mut Peer) -> bool {
    unless_over(Duration::from_millis(300), at.ended()).await.is_none()
}

#[tokio::test]
async fn a_name_is_each_owners_own() {
    let test = Captured::start("preset = \"ai-sdk\"\n").await;
    let (mut ada, mut at_ada) = begin(&test, "cookie: s=ada\r\n").await;
    let (mut bob, mut at_bob) = begin(&test, "cookie: s=bob\r\n").await;
    for (cookie, at) in [("cookie: s=ada\r\n", &mut at_ada), ("cookie: s=bob\r\n", &mut at_bob)] {
        let (mut again, head) = come_back(&test, cookie).await;
        assert_eq!(head.status(), 200, "{cookie}");
        assert_eq!(again.chunks(EVENT.len()).await, EVENT);
        at.send_chunk(&format!(": {}\n\n", cookie.trim())).await;
        assert_eq!(again.chunk().await, format!(": {}\n\n", cookie.trim()));
    }
    assert_eq!(stop(&test, "cookie: s=ada\r\n").await, 204);
    at_ada.ended().await;
    ada.chunk().await;
    assert_eq!(ada.chunk().await, "");
    assert_eq!(status_of(&test, "cookie: s=ada\r\n").await, 204);
    assert!(is_open(&mut at_bob).await, "ada has stopped bob's");
    at_bob.send(END).await;
    bob.chunk().await;
    assert_eq!(bob.chunk().await, "");
}

/// A chat of which the owners are those that their tokens name.
async fn by_token() -> Captured {
    let keys = "preset = \"ai-sdk\"\nauth = \"jwt\"\n";
    Captured::start_with(&format!("auth.jwt.secret = \"{SECRET}\"\n"), keys).await
}

fn bearer(claims: &Value) -> String {
    format!("authorization: Bearer {}\r\n", token(claims))
}

#[tokio::test]
async fn the_same_user_and_session_come_back_by_another_token_and_nobody_else_does() {
    let test = by_token().await;
    let ada = json!({ "sub": "ada", "sid": "1", "iat": seconds(-60) });
    let (mut client, mut at) = begin(&test, &bearer(&ada)).await;
    let (mut again, head) =
        come_back(&test, &bearer(&json!({ "sub": "ada", "sid": "1", "jti": "new" }))).await;
    assert_eq!(head.status(), 200);
    assert_eq!(again.chunks(EVENT.len()).await, EVENT);
    for other in
        [json!({ "sub": "bob", "sid": "1" }), json!({ "sub": "ada", "sid": "2" }), json!({ "sub": "ada" })]
    {
        assert_eq!(status_of(&test, &bearer(&other)).await, 204, "{other}");
        assert_eq!(stop(&test, &bearer(&other)).await, 204, "{other}");
    }
    assert!(is_open(&mut at).await, "somebody else has stopped it");
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    for reader in [&mut client, &mut again] {
        assert_eq!(reader.chunk().await, "data: 2\n\n");
        assert_eq!(reader.chunk().await, "");
    }
    let captures = test.daemon.command("GET", "/captures", &[], b"").await.json();
    assert_eq!((&captures["captures"][0]["user"], &captures["total"]), (&json!("ada"), &json!(1)));
}

#[tokio::test]
async fn a_token_that_is_no_good_any_more_neither_begins_nor_comes_back_nor_stops() {
    let test = by_token().await;
    let ada = json!({ "sub": "ada", "sid": "1", "iat": seconds(-60) });
    let (mut client, mut at) = begin(&test, &bearer(&ada)).await;
    let revoke = test.daemon.command("POST", "/revoke", &[], br#"{"user":"ada"}"#).await;
    assert_eq!(revoke.status, 200);
    let expired = json!({ "sub": "ada", "sid": "1", "exp": seconds(-60) });
    for (credentials, reason) in [
        (String::new(), "no_token"),
        (bearer(&expired), "expired"),
        (bearer(&ada), "revoked"),
        ("authorization: Bearer a.b.c\r\n".to_owned(), "malformed"),
    ] {
        let (mut peer, head) = come_back(&test, &credentials).await;
        let body: Value = serde_json::from_str(&peer.body(&head).await).expect("JSON");
        assert_eq!((head.status(), &body["reason"]), (401, &json!(reason)));
        assert_eq!(stop(&test, &credentials).await, 401, "{reason}");
        let mut begins = Peer::send_to(test.daemon.public, post("/chat", &credentials, BODY)).await;
        assert_eq!(begins.head().await.status(), 401, "{reason}");
    }
    assert!(!test.backend.is_asked().await, "the backend was asked");
    // Those who read already read on, and a login that is newer is good.
    let newer = json!({ "sub": "ada", "sid": "1", "iat": seconds(5) });
    let (mut again, head) = come_back(&test, &bearer(&newer)).await;
    assert_eq!(head.status(), 200);
    at.send_chunk("data: 2\n\n").await;
    at.send(END).await;
    assert_eq!(client.chunk().await, "data: 2\n\n");
    assert_eq!(again.chunks(2 * EVENT.len()).await, format!("{EVENT}data: 2\n\n"));
}

/// An application that answers by the cookie `sid`.
const APP: &str = r#"
const answers = {
    ada: [200, { 'set-cookie': 'rolled=1; Path=/' }, { user: 'ada' }],
    again: [200, {}, { user: 'ada' }],
    bob: [200, {}, { user: 'bob' }],
    nobody: [401, { 'www-authenticate': 'Session' }, { error: 'Please log in.' }],
    banned: [403, {}, { error: 'You are banned.' }],
    gone: [404, {}, { error: 'Who?' }],
    down: [500, {}, {}],
};
const server = http.createServer((req, res) => {
    const [status, headers, body] = answers[/sid=(\w+)/.exec(req.headers.cookie ?? '')?.[1] ?? 'nobody'];
    res.writeHead(status, { 'content-type': 'application/json', ...headers });
    res.end(JSON.stringify(body));
});
"#;

#[tokio::test]
async fn the_application_says_who_comes_back_and_its_no_is_passed_on() {
    let app = Node::start(APP).await;
    let auth = format!("auth.backend.url = \"{}/who\"\nauth.backend.cache = \"0s\"\n", app.url);
    let test = Captured::start_with(&auth, "preset = \"ai-sdk\"\nauth = \"backend\"\n").await;
    let sid = |sid: &str| format!("cookie: sid={sid}\r\n");
    let (mut client, mut at) = begin(&test, &sid("again")).await;
    // What the application sets when it is asked who somebody is, the browser gets.
    let (mut again, head) = come_back(&test, &sid("ada")).await;
    assert_eq!((head.status(), head.get("set-cookie")), (200, Some("rolled=1; Path=/")));
    assert_eq!(again.chunks(EVENT.len()).await, EVENT);
    assert_eq!(status_of(&test, &sid("bob")).await, 204);
    assert_eq!(stop(&test, &sid("bob")).await, 204);
    for (who, status, says) in
        [("nobody", 401, "log in"), ("banned", 403, "banned"), ("gone", 404, "Who"), ("down", 503, "")]
    {
        let answer: Answer =
            request(test.daemon.public, "GET", "/chat/c/stream", &[("cookie", &format!("sid={who}"))], b"")
                .await;
        assert_eq!(answer.status, status, "{who}");
        assert!(answer.text().contains(says), "{who}: {}", answer.text());
        assert_eq!(stop(&test, &sid(who)).await, status, "{who}");
        let mut begins = Peer::send_to(test.daemon.public, post("/chat", &sid(who), BODY)).await;
        assert_eq!(begins.head().await.status(), status, "{who}");
    }
    assert!(!test.backend.is_asked().await, "the backend was asked");
    assert!(is_open(&mut at).await, "somebody else has stopped it");
    assert_eq!(stop(&test, &sid("again")).await, 204);
    at.ended().await;
    for reader in [&mut client, &mut again] {
        assert_eq!(reader.chunk().await, "");
    }
}
