//! Frameworks and libraries that publish as they always do, into pages that stay as they are.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Browser, Daemon, Node, Program, Redis, eventually, listening, repository, start};

/// Hands a publisher a line, and waits until it has published that.
async fn publish(publisher: &mut Program, line: Value) {
    publisher.tell(&line).await;
    assert_eq!(publisher.json().await, json!({ "published": true }));
}

async fn ready(daemon: &Daemon) {
    let ready = async || (daemon.ask("/readyz/events").await.status == 200).then_some(());
    eventually("the daemon listens to Redis", ready).await;
}

async fn open_streams(daemon: &Daemon, count: f64) {
    let open = async || (daemon.metric("sidestream_streams_open", &[]).await == count).then_some(());
    eventually("the page's stream is open", open).await;
}

/// The page of flask-sse's own documentation.
const FLASK_PAGE: &str = r#"<!doctype html><ul id="said"></ul><script>
  var source = new EventSource("/stream");
  var say = function(event) {
    var data = JSON.parse(event.data);
    var item = document.createElement('li');
    item.textContent = event.type + ': ' + data.message;
    document.getElementById('said').append(item);
  };
  source.addEventListener('greeting', say);
  source.addEventListener('message', say);
</script>"#;

#[tokio::test]
async fn a_flask_app_publishes_with_flask_sse_into_its_page() {
    let redis = Redis::start().await;
    let mut app = Program::python("flask_sse_app.py", &[&redis.url()]);
    let backend = Node::start(&page(FLASK_PAGE)).await;
    let config = backend.config(&format!(
        "[[stream]]\npath = \"/stream\"\nauth = \"none\"\ntopics = [\"{{query.channel:-sse}}\"]\n{}\
         [[redis.channel]]\npattern = \"sse\"\nformat = \"flask-sse\"\n\
         [[redis.channel]]\npattern = \"users.*\"\nformat = \"flask-sse\"\ntopic = \"{{0}}\"\n",
        redis.section()
    ));
    let daemon = Daemon::start(&config).await;
    ready(&daemon).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.public)).await;
    open_streams(&daemon, 1.0).await;
    let mut social = listening(&daemon, "/stream?channel=users.social").await;

    publish(&mut app, json!({ "data": { "message": "Hello!" }, "type": "greeting" })).await;
    publish(&mut app, json!({ "data": { "message": "plain" }, "id": "1", "retry": 5000 })).await;
    let told = json!({ "data": { "message": "social" }, "type": "news", "channel": "users.social" });
    publish(&mut app, told).await;
    browser.shows("#said li", &["greeting: Hello!".to_owned(), "message: plain".to_owned()]).await;
    let event = social.event().await;
    assert_eq!((event.event.as_deref(), event.data()), (Some("news"), r#"{"message": "social"}"#));
}

#[tokio::test]
async fn rails_broadcasts_by_action_cable_into_a_turbo_stream_source() {
    let redis = Redis::start().await;
    let script = repository().join("tests/ruby/action_cable.rb");
    let mut rails =
        Program::start(Command::new("ruby").arg(script).args([redis.url().as_str(), "shop_production"]));
    let turbo = r#"<!doctype html><script src="/turbo.js"></script>
        <turbo-stream-source src="/events?topic=messages"></turbo-stream-source><div id="messages"></div>"#;
    let backend = Node::start(&page(turbo)).await;
    let mapped = "[[redis.channel]]\npattern = \"shop_production:*\"\nformat = \"action-cable\"\n";
    let stream = "[[stream]]\npath = \"/events\"\nauth = \"none\"\ntopics = [\"{query.topic}\"]\n";
    let daemon = Daemon::start(&backend.config(&format!("{stream}{}{mapped}", redis.section()))).await;
    ready(&daemon).await;
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", daemon.public)).await;
    open_streams(&daemon, 1.0).await;
    let mut jobs = listening(&daemon, "/events?topic=jobs").await;

    let mut shown = Vec::new();
    for text in ["first & last", "second"] {
        shown.push(text.to_owned());
        let text = text.replace('&', "&amp;");
        let html = format!(
            "<turbo-stream action=\"append\" target=\"messages\"><template>\n<p>{text}</p></template></turbo-stream>"
        );
        publish(&mut rails, json!(["messages", html])).await;
    }
    browser.shows("#messages p", &shown).await;
    publish(&mut rails, json!(["jobs", { "done": 7 }])).await;
    assert_eq!(jobs.event().await.data(), r#"{"done":7}"#, "what is no text stays JSON");
}

#[tokio::test]
async fn laravels_broadcaster_publishes_and_its_own_page_is_excepted() {
    let redis = Redis::start().await;
    let script = repository().join("tests/php/laravel_broadcast.php");
    let port =
        redis.url().rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
    let mut laravel =
        Program::start(Command::new("php").arg(script).args(["127.0.0.1", &port, "laravel_database_"]));
    let mapped = "[[redis.channel]]\npattern = \"laravel_database_*\"\nformat = \"laravel\"\n";
    let daemon = start(&format!("{}{mapped}", redis.section())).await;
    let mut own = daemon.stream("/events?topic=private-orders.7").await;
    let client = own.block().await.json()["client"].as_str().expect("a client's id").to_owned();
    let mut other = listening(&daemon, "/events?topic=private-orders.7").await;

    let payload = json!({ "id": 7, "socket": client });
    publish(&mut laravel, json!(["orders.7", "OrderShipped", payload])).await;
    publish(&mut laravel, json!(["orders.7", "OrderPaid", { "id": 7 }])).await;
    let event = other.event().await;
    assert_eq!(event.event.as_deref(), Some("OrderShipped"));
    assert_eq!(serde_json::from_str::<Value>(event.data()).expect("JSON"), payload);
    for stream in [&mut own, &mut other] {
        let event = stream.event().await;
        assert_eq!((event.event.as_deref(), event.data()), (Some("OrderPaid"), r#"{"id":7}"#));
    }
}

/// A backend with this page and Turbo's script.
pub(crate) fn page(html: &str) -> String {
    let turbo = repository().join("tests/node/node_modules/@hotwired/turbo/dist/turbo.es2017-umd.js");
    format!(
        "const turbo = require('fs').readFileSync({});\nconst server = http.createServer((request, response) => {{\n\
         const script = request.url === '/turbo.js';\n\
         response.setHeader('content-type', script ? 'text/javascript' : 'text/html');\n\
         response.end(script ? turbo : {});\n}});",
        json!(turbo),
        json!(html)
    )
}
