//! Recorded answers of several instances with one Redis: begun on one, read, joined and stopped on another.

use std::time::Duration;

use super::ways::{TEXT, answer, read_chunks};
use super::{END, GET, STREAMS, post};
use crate::harness::{
    Answer, Backend, Cluster, Daemon, Head, Peer, Redis, eventually, holds_for, request, start,
};

/// Two daemons with one backend and one Redis.
pub(super) struct Shared {
    pub(super) redis: Redis,
    pub(super) backend: Backend,
    pub(super) a: Daemon,
    pub(super) b: Daemon,
}

impl Shared {
    /// With one `[[capture]]` of `/chat`.
    pub(super) async fn start(keys: &str) -> Self {
        let redis = Redis::start().await;
        let section = redis.section();
        let (backend, a, b) = daemons(&[&section, &section], keys).await;
        Self { redis, backend, a, b }
    }

    /// A client of the first instance that has asked, and the backend's side of it.
    pub(super) async fn ask(&self, request: &str) -> (Peer, Peer, Head) {
        let client = Peer::send_to(self.a.public, request).await;
        let (at, head) = self.backend.request().await;
        (client, at, head)
    }

    /// A GET of the second one.
    pub(super) async fn get(&self, path: &str) -> Answer {
        request(self.b.public, "GET", path, &[], b"").await
    }

    /// An open reader at the second one, behind its answer's head. It comes when Redis knows the answer.
    pub(super) async fn read(&self, path: &str) -> Peer {
        if let Some(id) = path.strip_prefix("/chat?stream=") {
            is_known(&self.redis, id.split('&').next().unwrap_or(id)).await;
        }
        let mut reader = Peer::send_to(self.b.public, ask_for(path)).await;
        assert_eq!(reader.head().await.status(), 200, "{path}");
        reader
    }
}

pub(super) async fn daemons(sections: &[&str; 2], keys: &str) -> (Backend, Daemon, Daemon) {
    let backend = Backend::start().await;
    let config = |section: &str| {
        backend.config(&format!("{section}[redis.stream]\n\n[[capture]]\npath = \"/chat\"\n{keys}"))
    };
    let [first, second] = sections.map(config);
    let (a, b) = tokio::join!(start(&first), start(&second));
    (backend, a, b)
}

/// A GET over a connection that ends with its answer.
pub(super) fn ask_for(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
}

pub(super) fn id_of(head: &Head) -> String {
    head.get("sidestream-stream").expect("its id").to_owned()
}

/// Waits until Redis has the end of the answer.
pub(super) async fn is_shared(redis: &Redis, id: &str, state: &str) {
    let key = format!("sidestream:capture:{{sidestream:log}}:answer:{id}");
    eventually("Redis has the whole answer", async || {
        let found: Option<String> = redis.command(&["HGET", &key, "state"]).await;
        (found.as_deref() == Some(state)).then_some(())
    })
    .await;
}

/// Waits until Redis knows the answer.
pub(super) async fn is_known(redis: &Redis, id: &str) {
    let key = format!("sidestream:capture:{{sidestream:log}}:answer:{id}");
    eventually("Redis knows the answer", async || {
        redis.command::<bool>(&["EXISTS", &key]).await.then_some(())
    })
    .await;
}

/// Waits until Redis has so many bytes of the answer.
pub(super) async fn has_bytes(redis: &Redis, id: &str, bytes: usize) {
    let key = format!("sidestream:capture:{{sidestream:log}}:answer:{id}");
    eventually("Redis has what there is of the answer", async || {
        let found: Option<usize> = redis.command(&["HGET", &key, "end"]).await;
        (found == Some(bytes)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_through_another_instance_gets_the_same_bytes_and_the_backend_is_asked_once() {
    let test = Shared::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    // Cut within a character.
    let first = TEXT.find('ü').expect("it is there") + 1;
    let (first, second) = TEXT.as_bytes().split_at(first);
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    at.send(STREAMS).await;
    at.send(chunk(first)).await;
    let head = client.head().await;
    let id = id_of(&head);
    let mut other = test.read(&format!("/chat?stream={id}")).await;
    drop(client);
    at.send(chunk(second)).await;
    let path = format!("/chat?stream={id}&offset={}", first.len());
    let mut again = Peer::send_to(test.b.public, ask_for(&path)).await;
    let second_head = again.head().await;
    assert_eq!((second_head.get("x-of"), id_of(&second_head)), (Some("backend"), id.clone()));
    at.send(END).await;
    assert_eq!(read_chunks(&mut other).await, (TEXT.as_bytes().to_vec(), true));
    assert_eq!(read_chunks(&mut again).await, (second.to_vec(), true));
    is_shared(&test.redis, &id, "complete").await;
    for cut in 0..TEXT.len() {
        let again = test.get(&format!("/chat?stream={id}&offset={cut}")).await;
        assert_eq!((again.status, &again.body[..]), (200, &TEXT.as_bytes()[cut..]), "{cut}");
    }
    assert_eq!(test.get(&format!("/chat?stream={id}&offset={}", TEXT.len())).await.status, 204);
    assert_eq!(test.get(&format!("/chat?stream={id}&lastEventId=own")).await.body, "rest");
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn a_reader_at_any_byte_of_an_answer_under_way_goes_on_through_another_instance() {
    let test = Shared::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    let half = TEXT.len() / 2;
    let half = (half..).find(|&at| TEXT.is_char_boundary(at)).expect("one");
    at.send(answer(&[&TEXT[..half]])).await;
    let id = id_of(&client.head().await);
    assert_eq!(client.chunks(half).await, &TEXT[..half]);
    let mut readers = Vec::new();
    for cut in (0..=half).step_by(7) {
        readers.push((cut, test.read(&format!("/chat?stream={id}&offset={cut}")).await));
    }
    at.send_chunk(&TEXT[half..]).await;
    at.send(END).await;
    for (cut, reader) in &mut readers {
        assert_eq!(read_chunks(reader).await, (TEXT.as_bytes()[*cut..].to_vec(), true), "{cut}");
    }
    assert_eq!(client.chunks(TEXT.len() - half).await, &TEXT[half..]);
    assert!(!test.backend.is_asked().await, "the backend was asked twice");
}

#[tokio::test]
async fn two_instances_that_get_the_same_request_ask_the_backend_once() {
    let test = Shared::start("identity = [\"{query.of}\"]\n").await;
    for n in 0..20 {
        let ask = format!("GET /chat?of={n} HTTP/1.1\r\nhost: a\r\n\r\n");
        let (mut one, mut other) =
            tokio::join!(Peer::send_to(test.a.public, &ask), Peer::send_to(test.b.public, &ask));
        let (mut at, _) = test.backend.request().await;
        at.send(answer(&["data: 1\n\n"])).await;
        let (head, other_head) = tokio::join!(one.head(), other.head());
        assert_eq!(id_of(&head), id_of(&other_head), "{n}");
        at.send_chunk("data: ü\n\n").await;
        at.send(END).await;
        for reader in [&mut one, &mut other] {
            assert_eq!(reader.chunks(19).await, "data: 1\n\ndata: ü\n\n", "{n}");
            assert_eq!(reader.chunk().await, "");
        }
        assert!(!test.backend.is_asked().await, "the backend was asked twice: {n}");
    }
}

#[tokio::test]
async fn a_request_that_joined_what_came_to_nothing_is_asked_for_itself() {
    let test = Shared::start("identity = [\"{query.of}\"]\n").await;
    let ask = "GET /chat?of=1 HTTP/1.1\r\nhost: a\r\n\r\n";
    let (mut one, mut at, _) = test.ask(ask).await;
    let mut other = Peer::send_to(test.b.public, ask).await;
    eventually("the other instance follows", async || {
        (test.b.metric("sidestream_captures_mirrored", &[]).await == 1.0).then_some(())
    })
    .await;
    at.send("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(one.head().await.status(), 500);
    let (mut again, _) = test.backend.request().await;
    again.send(answer(&["data: 2\n\n"]) + END).await;
    assert_eq!(other.head().await.status(), 200);
    assert_eq!(other.chunks(9).await, "data: 2\n\n");
}

#[tokio::test]
async fn readers_on_all_instances_count_before_an_answer_is_cancelled() {
    let test = Shared::start("on_disconnect = \"cancel\"\n").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = id_of(&client.head().await);
    let mut other = test.read(&format!("/chat?stream={id}")).await;
    assert_eq!(other.chunks(9).await, "data: 1\n\n");
    let readers = async || {
        let page = test.a.command("GET", "/captures", &[], b"").await.json();
        page["captures"][0]["readers"].as_u64()
    };
    eventually("both are counted", async || (readers().await == Some(2)).then_some(())).await;
    drop(client);
    eventually("one has left", async || (readers().await == Some(1)).then_some(())).await;
    // For longer than what another instance said is believed.
    holds_for(Duration::from_secs(8), "the answer goes on for its reader elsewhere", async || {
        readers().await == Some(1)
    })
    .await;
    at.send_chunk("data: 2\n\n").await;
    assert_eq!(other.chunks(9).await, "data: 2\n\n");
    drop(other);
    at.ended().await;
}

#[tokio::test]
async fn a_stop_through_another_instance_cancels_at_the_backend() {
    let test = Shared::start("preset = \"ai-sdk\"\n").await;
    for by_operator in [false, true] {
        let (mut client, mut at, head) = test.ask(&post("/chat", "", r#"{"id":"c"}"#)).await;
        at.body(&head).await;
        at.send(answer(&["data: 1\n\n"])).await;
        let id = id_of(&client.head().await);
        client.chunks(9).await;
        has_bytes(&test.redis, &id, 9).await;
        let mut other = test.read("/chat/c/stream").await;
        assert_eq!(other.chunks(9).await, "data: 1\n\n");
        if by_operator {
            let page = test.b.command("GET", "/captures", &[], b"").await.json();
            assert_eq!(page["total"], 0, "it is listed where it is held");
            let stopped = test.b.command("DELETE", &format!("/captures/{id}"), &[], b"").await;
            assert_eq!(stopped.status, 200, "{}", stopped.text());
        } else {
            let stranger = [("cookie", "s=1")];
            assert_eq!(request(test.b.public, "POST", "/chat/c/stop", &stranger, b"").await.status, 204);
            at.send_chunk("data: 2\n\n").await;
            assert_eq!(other.chunks(9).await, "data: 2\n\n");
            assert_eq!(client.chunks(9).await, "data: 2\n\n");
            assert_eq!(request(test.b.public, "POST", "/chat/c/stop", &[], b"").await.status, 204);
        }
        at.ended().await;
        assert_eq!((client.chunk().await, other.chunk().await), (String::new(), String::new()));
        assert_eq!(test.get("/chat/c/stream").await.status, 204);
    }
    let none = "0".repeat(32);
    assert_eq!(test.b.command("DELETE", &format!("/captures/{none}"), &[], b"").await.status, 404);
}

#[tokio::test]
async fn an_answer_stays_with_redis_when_its_instance_stops() {
    let test = Shared::start("").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = id_of(&client.head().await);
    client.chunks(9).await;
    test.a.signal("TERM");
    let text = "data: 2\n\n";
    at.send_chunk(text).await;
    at.send(END).await;
    assert_eq!(client.chunks(9).await, text);
    let mut a = test.a;
    assert!(a.ended().await.success());
    let again = request(test.b.public, "GET", &format!("/chat?stream={id}"), &[], b"").await;
    assert_eq!((again.status, again.text()), (200, "data: 1\n\ndata: 2\n\n".to_owned()));
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_on_all_instances() {
    let test = Shared::start("keep = \"1s\"\n").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(answer(&["data: 1\n\n"]) + END).await;
    let id = id_of(&client.head().await);
    client.chunks(9).await;
    let path = format!("/chat?stream={id}");
    is_shared(&test.redis, &id, "complete").await;
    assert_eq!(test.get(&path).await.body, "data: 1\n\n");
    eventually("Redis has let go of it", async || {
        let left: Vec<String> = test.redis.command(&["KEYS", "*:capture:*"]).await;
        left.iter().all(|key| !key.contains(&id)).then_some(())
    })
    .await;
    // What is read on the other instance lingers a little.
    eventually("it is over", async || (test.get(&path).await.status == 204).then_some(())).await;
    assert_eq!(request(test.a.public, "GET", &path, &[], b"").await.status, 204);
}

#[tokio::test]
async fn an_id_opens_nothing_to_others_on_any_instance_and_no_secret_is_in_redis() {
    let test = Shared::start("preset = \"ai-sdk\"\n").await;
    let secrets = "cookie: s=planted-cookie\r\nauthorization: Bearer planted-token\r\n";
    let body = r#"{"id":"planted-name"}"#;
    let (mut client, mut at, head) = test.ask(&post("/chat", secrets, body)).await;
    at.body(&head).await;
    let first = STREAMS.replace("x-of", "set-cookie: t=planted-set\r\nx-of");
    at.send(format!("{first}9\r\ndata: 1\n\n\r\n")).await;
    let head = client.head().await;
    assert_eq!(head.get("set-cookie"), Some("t=planted-set"));
    client.chunks(9).await;
    has_bytes(&test.redis, &id_of(&head), 9).await;
    let by_id = format!("/chat?stream={}", id_of(&head));
    let own = [("cookie", "s=planted-cookie"), ("authorization", "Bearer planted-token")];
    for path in [by_id.as_str(), "/chat/planted-name/stream"] {
        for others in [&[][..], &own[..1], &own[1..], &[("cookie", "s=other"), own[1]]] {
            assert_eq!(request(test.b.public, "GET", path, others, b"").await.status, 204, "{path}");
        }
        let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{secrets}\r\n");
        let mut again = Peer::send_to(test.b.public, ask).await;
        let head = again.head().await;
        assert_eq!((head.status(), head.get("set-cookie")), (200, None));
        assert_eq!(again.chunks(9).await, "data: 1\n\n");
    }
    let keys: Vec<String> = test.redis.command(&["KEYS", "*"]).await;
    assert!(keys.iter().filter(|key| key.contains(":capture:")).count() > 4, "{keys:?}");
    assert!(keys.iter().all(|key| !key.contains("planted")), "{keys:?}");
    for key in keys {
        let dump: Vec<u8> = test.redis.command(&["DUMP", &key]).await;
        let found = dump.windows(7).any(|window| window == b"planted");
        assert!(!found, "{key}");
    }
}

#[tokio::test]
async fn a_name_is_the_newest_answers_whichever_instance_began_it() {
    let test = Shared::start("preset = \"ai-sdk\"\n").await;
    let ask = post("/chat", "", r#"{"id":"c"}"#);
    let (mut first, mut at_first, head) = test.ask(&ask).await;
    at_first.body(&head).await;
    at_first.send(answer(&["data: 1\n\n"])).await;
    let older = id_of(&first.head().await);
    has_bytes(&test.redis, &older, 9).await;
    let mut second = Peer::send_to(test.b.public, &ask).await;
    let (mut at, head) = test.backend.request().await;
    at.body(&head).await;
    at.send(answer(&["data: 2\n\n"])).await;
    let id = id_of(&second.head().await);
    has_bytes(&test.redis, &id, 9).await;
    for at in [test.a.public, test.b.public] {
        let mut tab = Peer::send_to(at, ask_for("/chat/c/stream")).await;
        assert_eq!(id_of(&tab.head().await), id);
    }
    assert_eq!(test.a.metric("sidestream_captures", &[]).await, 1.0, "what is read of others is not held");
}

#[tokio::test]
async fn presets_go_on_through_another_instance_as_through_the_first() {
    let event =
        |n: u32| format!("event: e\ndata: {{\"sequence_number\":{n},\"response\":{{\"id\":\"r-1\"}}}}\n\n");
    let whole = event(0) + &event(1) + &event(2);
    let rest = |behind: u32| (behind + 1..3).map(event).collect::<String>();
    for (keys, body, ways) in [
        (
            "preset = \"openai\"\n",
            r#"{"stream":true}"#,
            vec![("/chat/r-1?stream=true&starting_after=0", rest(0))],
        ),
        ("preset = \"ai-sdk\"\n", r#"{"id":"r-1"}"#, vec![("/chat/r-1/stream", whole.clone())]),
        (
            "preset = \"workflow\"\n",
            "{}",
            vec![("/chat/run-1/stream?startIndex=1", rest(0)), ("/chat/run-1/stream?startIndex=-1", rest(1))],
        ),
        ("preset = \"tanstack\"\n", r#"{"runId":"r-1"}"#, vec![("/chat?runId=r-1&offset=-1", whole.clone())]),
        ("ids = true\n", "{}", vec![("/chat?stream={id}&lastEventId={id}-2", rest(1))]),
    ] {
        let test = Shared::start(keys).await;
        let (mut client, mut at, head) = test.ask(&post("/chat", "", body)).await;
        at.body(&head).await;
        let named = STREAMS.replace("x-of: backend", "x-workflow-run-id: run-1");
        at.send(format!("{named}{:x}\r\n{whole}\r\n", whole.len())).await;
        let id = id_of(&client.head().await);
        let adds_ids = keys.contains("ids") || keys.contains("tanstack");
        let with_ids = |text: &str| {
            let first = 3 - text.matches("event: e").count();
            let numbered = text.split_inclusive("\n\n").enumerate();
            numbered.map(|(n, block)| format!("id: {id}-{}\n{block}", first + n + 1)).collect::<String>()
        };
        let shown = |text: &str| if adds_ids { with_ids(text) } else { text.to_owned() };
        client.chunks(shown(&whole).len()).await;
        has_bytes(&test.redis, &id, whole.len()).await;
        let mut readers = Vec::new();
        for (path, text) in &ways {
            let mut reader = test.read(&path.replace("{id}", &id)).await;
            assert_eq!(reader.chunks(shown(text).len()).await, shown(text), "{keys}{path}");
            readers.push(reader);
        }
        if keys.contains("tanstack") {
            let again = post("/chat", &format!("last-event-id: {id}-1\r\n"), body);
            let mut reader = Peer::send_to(test.b.public, again).await;
            assert_eq!(reader.head().await.status(), 200);
            assert_eq!(reader.chunks(shown(&rest(0)).len()).await, shown(&rest(0)));
            readers.push(reader);
        }
        at.send(END).await;
        for reader in &mut readers {
            assert_eq!(reader.chunk().await, "", "{keys}");
        }
        assert!(!test.backend.is_asked().await, "the backend was asked twice: {keys}");
    }
}

#[tokio::test]
async fn in_a_cluster_answers_are_found_through_another_instance() {
    let cluster = Cluster::start().await;
    let sections = [cluster.section(0), cluster.section(1)];
    let (backend, a, b) = daemons(&[&sections[0], &sections[1]], "identity = [\"{query.of}\"]\n").await;
    let mut client = Peer::send_to(a.public, "GET /chat?of=1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut at, _) = backend.request().await;
    at.send(answer(&["data: 1\n\n"])).await;
    let id = id_of(&client.head().await);
    let mut other = Peer::send_to(b.public, "GET /chat?of=1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(id_of(&other.head().await), id);
    at.send_chunk("data: 2\n\n").await;
    assert_eq!(other.chunks(18).await, "data: 1\n\ndata: 2\n\n");
    assert_eq!(b.command("DELETE", &format!("/captures/{id}"), &[], b"").await.status, 200);
    at.ended().await;
    assert_eq!(other.chunk().await, "");
    let (holder, _) = cluster.holder("sidestream:log").await;
    for (at, node) in cluster.nodes.iter().enumerate() {
        let keys: Vec<String> = node.command(&["KEYS", "*:capture:*"]).await;
        assert_eq!(!keys.is_empty(), at == holder, "{keys:?}");
    }
}

#[tokio::test]
async fn what_redis_holds_of_an_answer_is_bounded_as_what_its_instance_holds() {
    let test = Shared::start("max_bytes = \"64KiB\"\n").await;
    let (mut client, mut at, _) = test.ask(GET).await;
    at.send(STREAMS).await;
    let id = id_of(&client.head().await);
    let piece = format!("data: {}\n\n", "x".repeat(8 << 10));
    for _ in 0..64 {
        at.send_chunk(&piece).await;
        client.chunks(piece.len()).await;
    }
    at.send(END).await;
    is_shared(&test.redis, &id, "complete").await;
    let key = format!("sidestream:capture:{{sidestream:log}}:bytes:{id}");
    let used: usize = test.redis.command(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
    assert!(used < 160 << 10, "{used}");
    assert_eq!(test.get(&format!("/chat?stream={id}")).await.status, 204, "its beginning is gone");
    let from = 64 * piece.len() - 10_000;
    let rest = test.get(&format!("/chat?stream={id}&offset={from}")).await;
    assert_eq!((rest.status, rest.body.len()), (200, 10_000));
    assert!(piece.repeat(64).as_bytes().ends_with(&rest.body));
    // Evicted here, forgotten there.
    let recorded = test.b.metric("sidestream_captures", &[]).await;
    assert_eq!(recorded, 0.0);
}
