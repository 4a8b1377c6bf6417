//! The page that maps the calls of an in-process SSE service to requests (docs/replacing.md): its code is run as it
//! stands, against two instances and their Redis.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    Daemon, KEY, Redis, Stream, eventually, repository, start, token_of, within, within_time,
};

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/replacing.md")).expect("the page")
}

/// The page's configuration, with the tests' publish key.
fn page_config() -> String {
    let page = page();
    let block = page.split("\n```toml\n").nth(1).expect("a configuration");
    let config = block.split("\n```").next().expect("its end");
    config.replacen("publish_keys = [\"change-me\"]", &format!("publish_keys = [\"{KEY}\"]"), 1)
        + "\n[sse]\nheartbeat = \"0s\"\n"
}

/// Who comes, as the page's application would sign it.
fn token(user: &str, session: &str, topic: &str) -> String {
    token_of("change-me", &json!({ "sub": user, "sid": session, "topics": [topic] }))
}

/// A language of the page.
struct Language {
    /// As the page names its block.
    block: &'static str,
    /// What the block's first lines say it is.
    title: &'static str,
    /// The file that the block is.
    module: &'static str,
    /// What it finds beside it, and where that is in the repository: the package that it uses.
    package: &'static [(&'static str, &'static str)],
    /// What calls a function of it.
    caller: &'static str,
    /// How the caller is built first, where it has to be.
    build: &'static [&'static str],
    /// How it is run.
    run: &'static [&'static str],
}

/// How long a compiler may take that has built nothing before.
const BUILD: Duration = Duration::from_secs(180);

/// A language's code, ready to be called.
struct Code {
    folder: tempfile::TempDir,
    language: Language,
    daemon: String,
}

impl Code {
    async fn take(language: Language, daemon: &Daemon) -> Self {
        let page = page();
        let fence = format!("\n```{}\n", language.block);
        let blocks = page.split(&fence).skip(1);
        let mut blocks = blocks.map(|rest| rest.split("\n```").next().expect("its end"));
        let block = blocks.find(|block| block.contains(language.title)).expect("its block");
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &[u8]| {
            std::fs::write(folder.path().join(file), text).expect("a file");
        };
        write(language.module, block.as_bytes());
        let caller = repository().join("tests/replacing").join(language.caller);
        write(language.caller, &std::fs::read(caller).expect("the caller"));
        for (here, there) in language.package {
            let here = folder.path().join(here);
            std::fs::create_dir_all(here.parent().expect("a folder")).expect("a folder");
            std::os::unix::fs::symlink(repository().join(there), here).expect("a link");
        }
        let code = Self { folder, language, daemon: format!("http://{}", daemon.internal) };
        if !code.language.build.is_empty() {
            within_time(BUILD, "a build", code.run(code.language.build, &[])).await;
        }
        code
    }

    async fn run(&self, command: &[&str], arguments: &[&str]) -> String {
        let [program, fixed @ ..] = command else { panic!("no program") };
        let mut command = Command::new(program);
        command.args(fixed).args(arguments).current_dir(self.folder.path());
        command.env("SIDESTREAM_URL", &self.daemon).env("SIDESTREAM_KEY", KEY);
        // Go's own, where the environment has no home for it.
        command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go")).env("GO111MODULE", "off");
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output
            .unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs what is missing"));
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Calls a function with JSON arguments.
    async fn call(&self, name: &str, arguments: &[Value]) -> Value {
        let is_shell = self.language.block == "sh";
        let texts: Vec<String> = arguments
            .iter()
            .enumerate()
            .map(|(at, argument)| match argument {
                // Audience and data are JSON there; all else stands as it is.
                Value::String(text) if is_shell && !is_json(name, at) => text.clone(),
                argument => argument.to_string(),
            })
            .collect();
        let all: Vec<&str> = std::iter::once(name).chain(texts.iter().map(String::as_str)).collect();
        let said = within(name, self.run(self.language.run, &all)).await;
        // curl's function prints a line for each page of a long answer.
        let values = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
        let mut values: Vec<Value> =
            values.map(|value| value.unwrap_or_else(|error| panic!("{name}: {error}: {said}"))).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    }
}

/// Whether the page's shell function takes this argument as JSON.
fn is_json(name: &str, at: usize) -> bool {
    match name {
        "sendToUser" | "sendToSession" => at != 1,
        "broadcastToConversation" => at >= 2,
        "sendToAll" => at == 1,
        _ => false,
    }
}

async fn open(daemon: &Daemon, user: &str, session: &str, conversation: &str) -> (Stream, String) {
    let token = token(user, session, "conversation:*");
    let mut stream = daemon.stream(&format!("/events?conversationId={conversation}&token={token}")).await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    let client = stream.block().await.json()["client"].as_str().expect("a name").to_owned();
    (stream, client)
}

/// The next event, which must be this one.
async fn gets(stream: &mut Stream, name: &str, number: u64) {
    let event = stream.event().await;
    assert!(event.is(name), "{name}: {event:?}");
    assert_eq!(event.json(), json!({ "n": number }));
}

/// The clients of a list of connections, of a page of it, or of several pages, by name.
fn clients_of(listed: &Value) -> Vec<&str> {
    let Some(list) = listed.as_array() else { return clients_of(&listed["connections"]) };
    let mut clients: Vec<&str> = list
        .iter()
        .flat_map(|one| match one["client"].as_str() {
            Some(client) => vec![client],
            None => clients_of(&one["connections"]),
        })
        .collect();
    clients.sort_unstable();
    clients
}

/// Every row of the page's table. The names have what a path, a query and a JSON text have to escape.
async fn every_call(language: Language) {
    let redis = Redis::start().await;
    let config = redis.section() + "[redis.stream]\n" + &page_config();
    let (one, two) = (start(&config).await, start(&config).await);
    let code = Code::take(language, &one).await;
    let anna_name = "anna/1 &";
    let (mut anna, anna_client) = open(&two, anna_name, "s1", "42").await;
    let (mut ben, ben_client) = open(&one, "ben", "s2", "42").await;
    let data = |number: u64| json!({ "n": number });

    code.call("sendToUser", &[json!(anna_name), json!("direct"), data(1)]).await;
    code.call("sendToUsers", &[json!([anna_name, "ben"]), json!("both"), data(2)]).await;
    code.call("broadcastToConversation", &[json!("42"), json!("talk"), data(3), json!(anna_name)]).await;
    code.call("broadcastToConversation", &[json!("42"), json!("talk"), data(4)]).await;
    code.call("sendToSession", &[json!("s1"), json!("session"), data(5)]).await;
    let sent = code.call("sendToAll", &[json!("all"), data(6)]).await;
    let ids = [&sent["id"], &sent["ID"], &sent["value"]["id"]];
    assert!(ids.iter().any(|id| id.is_string()), "{sent}");
    for (name, number) in [("direct", 1), ("both", 2), ("talk", 4), ("session", 5), ("all", 6)] {
        gets(&mut anna, name, number).await;
    }
    for (name, number) in [("both", 2), ("talk", 3), ("talk", 4), ("all", 6)] {
        gets(&mut ben, name, number).await;
    }

    let yes = |said: Value| said.as_bool().unwrap_or_else(|| said["total"].as_u64().expect("a number") > 0);
    // In a query as curl has it.
    let asked = if code.language.block == "sh" { "anna%2F1%20%26" } else { anna_name };
    assert!(yes(code.call("hasConnection", &[json!(asked)]).await));
    assert!(!yes(code.call("hasConnection", &[json!("nobody")]).await));
    let count = |said: Value| said.as_u64().unwrap_or_else(|| said["total"].as_u64().expect("a number"));
    assert_eq!(count(code.call("getConnectionCount", &[]).await), 2);
    let listed = code.call("getActiveConnections", &[]).await;
    let mut expected = [anna_client.as_str(), ben_client.as_str()];
    expected.sort_unstable();
    assert_eq!(clients_of(&listed), expected);
    let stats = code.call("getStats", &[]).await;
    let instances = stats["instances"].as_array().or_else(|| stats["Instances"].as_array()).expect("a list");
    assert_eq!(instances.len(), 2, "{stats}");

    // More than a page of them.
    let mut crowd = Vec::new();
    for number in 0..120 {
        let on = if number % 2 == 0 { &one } else { &two };
        crowd.push(open(on, &format!("c{number}"), "c", "7").await);
    }
    let listed = code.call("getActiveConnections", &[]).await;
    let mut expected: Vec<&str> = crowd.iter().map(|(_, client)| client.as_str()).collect();
    expected.extend([anna_client.as_str(), ben_client.as_str()]);
    expected.sort_unstable();
    assert_eq!(clients_of(&listed), expected);
    drop(crowd);

    code.call("disconnectClient", &[json!(anna_client)]).await;
    let closing = anna.event().await;
    assert!(closing.is("closing"), "{closing:?}");
    assert!(anna.next().await.is_none());
    eventually("one is left", async || {
        (count(code.call("getConnectionCount", &[]).await) == 1).then_some(())
    })
    .await;
}

const NODE: Language = Language {
    block: "js",
    title: "// push.mjs, by HTTP alone",
    module: "push.mjs",
    package: &[],
    caller: "call.mjs",
    build: &[],
    run: &["node", "call.mjs"],
};

const NODE_PACKAGE: Language = Language {
    title: "// push.mjs, with the package",
    package: &[("node_modules/@sidestream/server", "clients/js-server")],
    build: &["npm", "run", "--silent", "build", "--prefix", "node_modules/@sidestream/server"],
    ..NODE
};

#[tokio::test]
async fn every_call_has_its_request_in_node() {
    every_call(NODE).await;
}

#[tokio::test]
async fn every_call_has_its_function_in_the_package_for_node() {
    every_call(NODE_PACKAGE).await;
}

const PYTHON: Language = Language {
    block: "python",
    title: "# push.py, by HTTP alone",
    module: "push.py",
    package: &[],
    caller: "call.py",
    build: &[],
    run: &["python3", "call.py"],
};

#[tokio::test]
async fn every_call_has_its_request_in_python() {
    every_call(PYTHON).await;
}

#[tokio::test]
async fn every_call_has_its_function_in_the_package_for_python() {
    let title = "# push.py, with the package";
    every_call(Language { title, package: &[("sidestream", "clients/python/src/sidestream")], ..PYTHON })
        .await;
}

const PHP: Language = Language {
    block: "php",
    title: "// push.php, by HTTP alone",
    module: "push.php",
    package: &[],
    caller: "call.php",
    build: &[],
    run: &["php", "call.php"],
};

#[tokio::test]
async fn every_call_has_its_request_in_php() {
    every_call(PHP).await;
}

#[tokio::test]
async fn every_call_has_its_function_in_the_package_for_php() {
    let title = "// push.php, with the package";
    // In place of Composer's: the package's own for its tests.
    every_call(Language {
        title,
        package: &[("vendor/autoload.php", "clients/php/tests/bootstrap.php")],
        ..PHP
    })
    .await;
}

#[tokio::test]
async fn every_call_has_its_request_in_ruby() {
    every_call(Language {
        block: "ruby",
        title: "# push.rb",
        module: "push.rb",
        package: &[],
        caller: "call.rb",
        build: &[],
        run: &["ruby", "call.rb"],
    })
    .await;
}

#[tokio::test]
async fn every_call_has_its_request_in_go() {
    every_call(Language {
        block: "go",
        title: "// push.go",
        module: "push.go",
        package: &[],
        caller: "call.go",
        build: &["go", "build", "-o", "push", "push.go", "call.go"],
        run: &["./push"],
    })
    .await;
}

#[tokio::test]
async fn every_call_has_its_request_with_curl() {
    every_call(Language {
        block: "sh",
        title: "# push.sh",
        module: "push.sh",
        package: &[],
        caller: "call.sh",
        build: &[],
        run: &["bash", "call.sh"],
    })
    .await;
}

/// Pairs of calls that nobody awaits, in handlers that catch nothing.
async fn unawaited(language: Language) {
    let mut daemon = Daemon::start(&page_config()).await;
    let code = Code::take(
        Language { caller: "unawaited.mjs", run: &["node", "unawaited.mjs"], ..language },
        &daemon,
    )
    .await;
    let (mut stream, _) = open(&daemon, "u1", "s1", "42").await;
    within("200 pairs", code.run(code.language.run, &[])).await;
    for number in (0..400).step_by(2) {
        gets(&mut stream, "first", number).await;
        gets(&mut stream, "second", number + 1).await;
    }
    // `run` holds that it ends well.
    daemon.signal("KILL");
    daemon.ended().await;
    within("200 pairs without a daemon", code.run(code.language.run, &[])).await;
}

#[tokio::test]
async fn calls_in_node_that_nobody_awaits_stay_in_order_and_end_no_process() {
    unawaited(NODE).await;
}

#[tokio::test]
async fn calls_of_the_package_for_node_that_nobody_awaits_stay_in_order_and_end_no_process() {
    unawaited(NODE_PACKAGE).await;
}

#[tokio::test]
async fn nobody_listens_as_somebody_else_under_the_pages_configuration() {
    let daemon = Daemon::start(&page_config()).await;
    let bens = token("ben", "s2", "conversation:42");
    for (query, status) in [
        ("conversationId=42&userId=anna&sessionId=s1".to_owned(), 401),
        (format!("conversationId=7&token={bens}"), 403),
        (format!("conversationId=42&token={}", token_of("another", &json!({ "sub": "anna" }))), 401),
    ] {
        assert_eq!(daemon.get(&format!("/events?{query}")).await.status, status, "{query}");
    }
    let path = format!("/events?conversationId=42&userId=anna&sessionId=s1&token={bens}");
    let connected = daemon.stream(&path).await.block().await.json();
    assert_eq!((&connected["user"], &connected["session"]), (&json!("ben"), &json!("s2")));
}
