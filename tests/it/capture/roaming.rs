//! Clients that were not written here, whose requests reach one instance and then another one.

use serde_json::json;

use crate::harness::{Browser, Daemon, Program, Redis, Wire, eventually, request, start};

/// The application behind two daemons with one Redis.
struct Roaming {
    _app: Program,
    at: std::net::SocketAddr,
    _redis: Redis,
    a: Daemon,
    b: Daemon,
}

impl Roaming {
    async fn start() -> Self {
        let mut app = Program::node("chat-app.mjs", &[]);
        let port = app.line().await.expect("its port");
        let redis = Redis::start().await;
        let config = format!(
            "public.backend = \"http://127.0.0.1:{port}\"\n{}[redis.stream]\n\n\
             [[capture]]\npath = \"/api/chat\"\npreset = \"ai-sdk\"\n\n\
             [[capture]]\npath = \"/api/run\"\npreset = \"tanstack\"\n",
            redis.section()
        );
        let (a, b) = tokio::join!(start(&config), start(&config));
        Self { _app: app, at: format!("127.0.0.1:{port}").parse().expect("an address"), _redis: redis, a, b }
    }
}

/// Waits until the page shows as many words of what the model says.
async fn shows(browser: &mut Browser, words: usize) {
    let text: String = (0..words).map(|n| format!("{n}: grüße 👋🏽 “ok”\n")).collect();
    let text = json!(text);
    browser.until(&format!("document.querySelector('#text')?.textContent === {text}")).await;
}

#[tokio::test]
async fn pages_that_are_reloaded_through_another_instance_show_and_stop_the_answer() {
    for (page, stops) in [("/?id=a", false), ("/?id=a", true), ("/tanstack?id=a", false)] {
        let chat = Roaming::start().await;
        // One origin, as of a balancer.
        let mut wire = Wire::to(chat.a.public).await;
        let page = format!("http://{}{page}", wire.address);
        let mut browser = Browser::start();
        browser.open(&page).await;
        browser.click("#ask").await;
        shows(&mut browser, 20).await;
        wire.cut();
        wire.lead_to(chat.b.public);
        browser.open(&page).await;
        shows(&mut browser, 20).await;
        if stops {
            browser.click("#stop").await;
        } else {
            request(chat.at, "GET", "/say", &[], b"").await;
            shows(&mut browser, 40).await;
        }
        browser.until("document.querySelector('#state')?.textContent === 'ready'").await;
        let cancelled = u32::from(stops);
        let expected = json!({ "asked": 1, "cancelled": cancelled });
        let asked = async || {
            let asked = request(chat.at, "GET", "/asked", &[], b"").await.json();
            (asked == expected).then_some(())
        };
        eventually("the model was asked once", asked).await;
        // TanStack AI came back by itself, too, before it was reloaded.
        assert!(chat.b.metric("sidestream_capture_resumes_total", &[]).await >= 1.0, "{page}");
    }
}
