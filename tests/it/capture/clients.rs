//! Clients that were not written here, in front of an application that knows nothing of captures.

use serde_json::{Value, json};

use crate::harness::{Browser, Daemon, Program, Wire, eventually, request};

/// The application and a daemon that records both of its chats.
struct Chat {
    app: Program,
    at: std::net::SocketAddr,
    daemon: Daemon,
}

/// The first words that the model says, as many as these.
fn said(words: usize) -> String {
    (0..words).map(|n| format!("{n}: grüße 👋🏽 “ok”\n")).collect()
}

/// Of what it says, when it is asked to go on and when it has ended.
const HALF: usize = 20;
const WHOLE: usize = 40;

impl Chat {
    async fn start() -> Self {
        let mut app = Program::node("chat-app.mjs", &[]);
        let port = app.line().await.expect("its port");
        let captures = "[[capture]]\npath = \"/api/chat\"\npreset = \"ai-sdk\"\n\n\
                        [[capture]]\npath = \"/api/run\"\npreset = \"tanstack\"\n";
        let daemon =
            Daemon::start(&format!("public.backend = \"http://127.0.0.1:{port}\"\n{captures}")).await;
        Self { app, at: format!("127.0.0.1:{port}").parse().expect("an address"), daemon }
    }

    fn page(&self, chat: &str) -> String {
        format!("http://{}/?id={chat}", self.daemon.public)
    }

    /// How often the model was asked, and how often that was cancelled.
    async fn asked(&self) -> Value {
        request(self.at, "GET", "/asked", &[], b"").await.json()
    }

    async fn say_the_rest(&self) {
        request(self.at, "GET", "/say", &[], b"").await;
    }
}

/// Waits until the page shows exactly so many words.
async fn shows(browser: &mut Browser, words: usize) {
    let text = json!(said(words));
    browser.until(&format!("document.querySelector('#text')?.textContent === {text}")).await;
}

async fn is(browser: &mut Browser, state: &str) {
    browser.until(&format!("document.querySelector('#state')?.textContent === '{state}'")).await;
}

#[tokio::test]
async fn use_chat_survives_a_reload_in_two_tabs_and_the_model_is_asked_once() {
    let chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page("a")).await;
    browser.click("#ask").await;
    shows(&mut browser, HALF).await;
    // The page is gone, and with it its request.
    browser.open(&chat.page("a")).await;
    shows(&mut browser, HALF).await;
    browser.tab(1).await;
    browser.open(&chat.page("a")).await;
    shows(&mut browser, HALF).await;
    chat.say_the_rest().await;
    for tab in [1, 0] {
        browser.tab(tab).await;
        shows(&mut browser, WHOLE).await;
        is(&mut browser, "ready").await;
    }
    assert_eq!(chat.asked().await, json!({ "asked": 1, "cancelled": 0 }));
}

#[tokio::test]
async fn use_chat_stops_at_the_application() {
    let chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page("b")).await;
    browser.click("#ask").await;
    shows(&mut browser, HALF).await;
    browser.click("#stop").await;
    is(&mut browser, "ready").await;
    shows(&mut browser, HALF).await;
    let cancelled = async || (chat.asked().await == json!({ "asked": 1, "cancelled": 1 })).then_some(());
    eventually("the application is cancelled", cancelled).await;
}

#[tokio::test]
async fn use_chat_sees_that_the_application_has_died_behind_what_it_said() {
    let mut chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page("c")).await;
    browser.click("#ask").await;
    shows(&mut browser, HALF).await;
    chat.app.end();
    is(&mut browser, "error").await;
    shows(&mut browser, HALF).await;
}

#[tokio::test]
async fn tanstack_goes_on_behind_a_cut_and_joins_from_the_start() {
    let chat = Chat::start().await;
    let wire = Wire::to(chat.daemon.public).await;
    let mut client = Program::node("tanstack.mjs", &["connect", &format!("http://{}/api/run", wire.address)]);
    let half = json!({ "text": said(HALF) });
    while client.json().await != half {}
    wire.cut();
    let left = async || (chat.daemon.metric("sidestream_capture_readers", &[]).await == 0.0).then_some(());
    eventually("its reader is gone", left).await;
    wire.mend();
    chat.say_the_rest().await;
    let whole = json!({ "text": said(WHOLE) });
    while client.json().await != whole {}
    assert_eq!(client.json().await, json!({ "end": "RUN_FINISHED" }));
    let mut other =
        Program::node("tanstack.mjs", &["join", &format!("http://{}/api/run", chat.daemon.public)]);
    while other.json().await != whole {}
    assert_eq!(other.json().await, json!({ "end": "RUN_FINISHED" }));
    assert_eq!(chat.asked().await, json!({ "asked": 1, "cancelled": 0 }));
}
