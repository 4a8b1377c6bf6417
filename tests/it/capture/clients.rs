//! Clients that were not written here, in front of an application that knows nothing of captures.

use serde_json::{Value, json};

use crate::harness::{Browser, Daemon, Program, Wire, eventually, request};

/// The application and a daemon that records its chats.
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
                        [[capture]]\npath = \"/api/run\"\npreset = \"tanstack\"\n\n\
                        [[capture]]\npath = \"/api/flow\"\npreset = \"workflow\"\n\n\
                        [[capture]]\npath = \"/v1/responses\"\npreset = \"openai\"\n";
        let daemon =
            Daemon::start(&format!("public.backend = \"http://127.0.0.1:{port}\"\n{captures}")).await;
        Self { app, at: format!("127.0.0.1:{port}").parse().expect("an address"), daemon }
    }

    /// A page of the application's.
    fn page(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.public)
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

/// The pages whose chats come back: the AI SDK's, and TanStack AI's.
const AI_SDK: &str = "/?id=a";
const TANSTACK: &str = "/tanstack?id=a";

#[tokio::test]
async fn use_chat_survives_a_reload_in_two_tabs_and_the_model_is_asked_once() {
    survives_a_reload(AI_SDK).await;
}

#[tokio::test]
async fn tanstacks_use_chat_survives_a_reload_in_two_tabs_and_the_model_is_asked_once() {
    survives_a_reload(TANSTACK).await;
}

async fn survives_a_reload(path: &str) {
    let chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page(path)).await;
    browser.click("#ask").await;
    shows(&mut browser, HALF).await;
    // The page is gone, and with it its request.
    browser.open(&chat.page(path)).await;
    shows(&mut browser, HALF).await;
    browser.tab(1).await;
    browser.open(&chat.page(path)).await;
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
    stops(AI_SDK).await;
}

#[tokio::test]
async fn tanstacks_use_chat_stops_at_the_application() {
    stops(TANSTACK).await;
}

async fn stops(path: &str) {
    let chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page(path)).await;
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
    sees_a_death(AI_SDK, "").await;
}

#[tokio::test]
async fn tanstacks_use_chat_sees_that_the_application_has_died_behind_what_it_said() {
    sees_a_death(TANSTACK, "the run did not complete").await;
}

async fn sees_a_death(path: &str, said_of_it: &str) {
    let mut chat = Chat::start().await;
    let mut browser = Browser::start();
    browser.open(&chat.page(path)).await;
    browser.click("#ask").await;
    shows(&mut browser, HALF).await;
    chat.app.end();
    is(&mut browser, "error").await;
    shows(&mut browser, HALF).await;
    browser.says("#error", said_of_it).await;
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

/// Where the workflow transport comes from: the AI SDK of today, and the workflow engine, for the one before.
const TRANSPORTS: [&str; 2] = ["@ai-sdk/workflow/client", "@workflow/ai"];
/// The chunks around the words.
const AROUND: usize = 4;

#[tokio::test]
async fn workflow_transports_go_on_behind_a_cut_in_the_middle() {
    for of in TRANSPORTS {
        let chat = Chat::start().await;
        let wire = Wire::to(chat.daemon.public).await;
        let api = format!("http://{}/api/flow", wire.address);
        let client = Program::node("workflow/transport.mjs", &[of, &api]);
        goes_on_behind_a_cut(&chat, &wire, client).await;
    }
}

#[tokio::test]
async fn workflow_transports_join_a_run_from_its_newest_chunks_and_count_on_from_there() {
    for of in TRANSPORTS {
        let chat = Chat::start().await;
        let first = format!("http://{}/api/flow", chat.daemon.public);
        let mut client = Program::node("workflow/transport.mjs", &[of, &first]);
        said_at_last(&mut client, HALF).await;
        let wire = Wire::to(chat.daemon.public).await;
        let api = format!("http://{}/api/flow", wire.address);
        // All but the first of the chunks so far; without the second, nobody could show the others.
        let joined = Program::node("workflow/transport.mjs", &[of, &api, "run/7", "-21"]);
        goes_on_behind_a_cut(&chat, &wire, joined).await;
    }
}

/// Cuts the wire where the model waits. The client has to get what comes then, and nothing twice.
async fn goes_on_behind_a_cut(chat: &Chat, wire: &Wire, mut client: Program) {
    said_at_last(&mut client, HALF).await;
    let before = resumes(chat).await;
    wire.cut();
    wire.mend();
    let resumed = async || (resumes(chat).await > before).then_some(());
    eventually("it has come back", resumed).await;
    chat.say_the_rest().await;
    said_at_last(&mut client, WHOLE).await;
    assert_eq!(client.json().await, json!({ "end": "finish", "chunks": WHOLE + AROUND }));
    assert_eq!(wire.carried("\"0: gr"), 1, "it was given from the start what it had");
    assert_eq!(chat.asked().await, json!({ "asked": 1, "cancelled": 0 }));
}

/// Reads lines up to the one with so many words.
async fn said_at_last(client: &mut Program, words: usize) {
    let wanted = json!(said(words));
    while client.json().await["text"] != wanted {}
}

/// How often somebody has come back to an answer.
async fn resumes(chat: &Chat) -> f64 {
    chat.daemon.metric("sidestream_capture_resumes_total", &[]).await
}

/// The number of the last event of an answer.
const LAST: usize = AROUND + WHOLE + 2;

#[tokio::test]
async fn openais_clients_retrieve_what_they_have_not_got_of_an_answer_in_the_background() {
    for python in [false, true] {
        let chat = Chat::start().await;
        let wire = Wire::to(chat.daemon.public).await;
        let api = format!("http://{}/v1", wire.address);
        let mut client = if python {
            Program::python("openai_responses.py", &[&api])
        } else {
            Program::node("openai-responses.mjs", &[&api])
        };
        said_at_last(&mut client, HALF).await;
        wire.cut();
        assert!(client.json().await["failed"].is_string());
        wire.mend();
        let resumed = async || (resumes(&chat).await == 1.0).then_some(());
        eventually("it has come back", resumed).await;
        chat.say_the_rest().await;
        said_at_last(&mut client, WHOLE).await;
        assert_eq!(client.json().await, json!({ "end": "response.completed", "at": LAST }));
        assert_eq!(wire.carried("\"delta\":\"0: gr"), 1, "it was given from the start what it had");
        assert_eq!(chat.asked().await, json!({ "asked": 1, "cancelled": 0 }));
    }
}

#[tokio::test]
async fn openais_client_retrieves_an_answer_that_has_ended_from_any_of_its_numbers() {
    let chat = Chat::start().await;
    let api = format!("http://{}/v1", chat.daemon.public);
    let mut client = Program::node("openai-responses.mjs", &[&api]);
    said_at_last(&mut client, HALF).await;
    chat.say_the_rest().await;
    said_at_last(&mut client, WHOLE).await;
    // All of it, and what is behind the first three words.
    let behind = (AROUND + 2).to_string();
    for (after, from) in [(None, 0), (Some(behind.as_str()), 3)] {
        let arguments = [Some(api.as_str()), Some("retrieve"), Some("resp_1"), after];
        let arguments: Vec<&str> = arguments.into_iter().flatten().collect();
        let mut other = Program::node("openai-responses.mjs", &arguments);
        let wanted = said(WHOLE)[said(from).len()..].to_owned();
        while other.json().await["text"] != json!(wanted) {}
        assert_eq!(other.json().await, json!({ "end": "response.completed", "at": LAST }));
    }
    assert_eq!(chat.asked().await, json!({ "asked": 1, "cancelled": 0 }));
}
