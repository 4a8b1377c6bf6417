//! The pages' first steps, run as they stand: the first configuration of each page and the commands beside it, against
//! the real daemon. Only ports are put in place of others, and the key that `serve` prints.
//!
//! The commands are the `sh` blocks between the configuration and the next heading. `curl -N` listens while the others
//! run; a `json` block behind commands is compared with what the last of them prints, by its shape.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::harness::{Backend, Daemon, Redis, Shell, eventually, repository, within};

/// A fenced block of a page.
#[derive(Clone, Debug)]
struct Fence {
    language: String,
    text: String,
}

/// The blocks of a page by sections: what stands between two headings.
fn sections(page: &str) -> Vec<Vec<Fence>> {
    let text = std::fs::read_to_string(repository().join(page)).expect(page);
    let mut sections = vec![Vec::new()];
    let mut open: Option<Fence> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(fence), None) => {
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            (Some(_), Some(_)) => sections.last_mut().expect("one").extend(open.take()),
            (None, Some(language)) => {
                open = Some(Fence { language: language.to_owned(), text: String::new() });
            }
            (None, None) if line.starts_with('#') => sections.push(Vec::new()),
            (None, None) => {}
        }
    }
    sections
}

/// The section of one of the page's configurations, counted from 0, from there on.
fn steps(page: &str, which: usize) -> Vec<Fence> {
    let is_toml = |fence: &Fence| fence.language == "toml";
    let mut with_toml = sections(page).into_iter().filter(|section| section.iter().any(is_toml));
    let section = with_toml.nth(which).expect("a TOML block");
    section.into_iter().skip_while(|fence| !is_toml(fence)).collect()
}

/// The commands of a block, each on a line of its own.
fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// What stands in the pages, and what it is in a test.
struct Places(Vec<(String, String)>);

impl Places {
    fn apply(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (page, here)| text.replace(page, here))
    }
}

/// A shell that runs a page's commands one after the other, in a folder of its own.
struct Terminal {
    folder: tempfile::TempDir,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    started: usize,
    /// The outputs of those that go on listening.
    listeners: Vec<PathBuf>,
    _child: Child,
}

impl Terminal {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs).expect("a folder");
        let binary = Path::new(env!("CARGO_BIN_EXE_sidestream"));
        std::os::unix::fs::symlink(binary, programs.join("sidestream")).expect("a link");
        // An answer that is none of success fails the command.
        std::fs::write(folder.path().join(".curlrc"), "fail-with-body\nsilent\nshow-error\n")
            .expect("a file");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut child = Command::new("bash")
            .arg("-s")
            .current_dir(folder.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("CURL_HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("bash");
        let stdin = child.stdin.take().expect("its input");
        let stdout = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { folder, stdin, stdout, started: 0, listeners: Vec::new(), _child: child }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// Runs a command to its end, or until it listens; gives what it printed.
    async fn run(&mut self, command: &str) -> String {
        self.started += 1;
        let output = self.folder.path().join(format!("{}.out", self.started));
        let listens = command.contains("curl -N");
        let tail = if listens { "&" } else { "; echo $?" };
        // The command may end with a comment.
        let line = format!("{{ {command}\n}} > {} 2>&1 {tail}\n", output.display());
        self.stdin.write_all(line.as_bytes()).await.expect("bash listens");
        let read = || std::fs::read_to_string(&output).unwrap_or_default();
        if listens {
            within(command, eventually(command, async || read().contains("event: connected").then_some(())))
                .await;
            self.listeners.push(output.clone());
        } else {
            let status = within(command, self.stdout.next_line()).await.expect("text").expect("a status");
            assert_eq!(status, "0", "{command}\n{}", read());
        }
        read()
    }

    /// Waits until every listener has had an event, and gives what the first one read.
    async fn heard(&self) -> String {
        for listener in &self.listeners {
            let read = || std::fs::read_to_string(listener).expect("its output");
            let has_event = || read().split("\n\n").filter(|block| block.contains("data: ")).count() > 1;
            eventually("an event reaches the listener", async || has_event().then_some(())).await;
        }
        self.listeners
            .first()
            .map(|listener| std::fs::read_to_string(listener).expect("text"))
            .unwrap_or_default()
    }
}

/// Whether two values have the same fields, and of the same kind. `null` may stand for any.
fn alike(page: &Value, real: &Value) -> bool {
    match (page, real) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(page), Value::Object(real)) => {
            page.len() == real.len()
                && page.iter().all(|(name, value)| real.get(name).is_some_and(|real| alike(value, real)))
        }
        (Value::Array(page), Value::Array(real)) => match (page.first(), real.first()) {
            (Some(page), Some(real)) => alike(page, real),
            (page, real) => page.is_none() == real.is_none(),
        },
        (page, real) => std::mem::discriminant(page) == std::mem::discriminant(real),
    }
}

/// The fields of a stream's blocks: names, the event's name, and the data.
fn blocks(text: &str) -> Vec<(Vec<&str>, Option<&str>, Value)> {
    let parse = |block| {
        let fields: Vec<(&str, &str)> = str::lines(block).filter_map(|line| line.split_once(": ")).collect();
        let value = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value);
        let data = value("data").and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        (fields.iter().map(|(name, _)| *name).collect(), value("event"), data)
    };
    text.split("\n\n").filter(|block| block.contains("data: ")).map(parse).collect()
}

/// Runs the commands of `fences`, and compares what they print with what the page shows.
async fn run(terminal: &mut Terminal, fences: &[Fence], places: &Places) {
    let (mut last, mut asked) = (String::new(), String::new());
    let mut publishes = false;
    for (at, fence) in fences.iter().enumerate() {
        let behind_commands = at > 0 && fences[at - 1].language == "sh";
        match &*fence.language {
            "sh" => {
                for command in commands(&places.apply(&fence.text)) {
                    if command.starts_with("cargo ") || command.contains("sidestream serve ") {
                        continue;
                    }
                    publishes |= ["/publish", "PUBLISH", "XADD"].iter().any(|word| command.contains(word));
                    last = terminal.run(&command).await;
                    asked = command;
                }
            }
            "json" if behind_commands => {
                let page: Value = serde_json::from_str(&fence.text).expect("JSON");
                let json =
                    |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
                let mut real: Value = json(&last);
                // A stream's `connected` may come before presence has counted it. A question may be asked again, that
                // of `POST /presence/users` too.
                let reads =
                    asked.contains("/presence") || !(asked.contains(" -d ") || asked.contains(" -X "));
                if !alike(&page, &real) && reads {
                    real = eventually("an answer as the page shows it", async || {
                        Some(json(&terminal.run(&asked).await)).filter(|real| alike(&page, real))
                    })
                    .await;
                }
                assert!(alike(&page, &real), "the page shows {page}\nand the answer is {real}");
            }
            "" if fence.text.contains("event: connected") => {
                let real = terminal.heard().await;
                let (page, real) = (blocks(&fence.text), blocks(&real));
                assert_eq!(page.len(), real.len(), "{real:?}");
                for (page, real) in page.iter().zip(&real) {
                    assert_eq!((&page.0, page.1), (&real.0, real.1));
                    assert!(alike(&page.2, &real.2), "{page:?}\n{real:?}");
                }
            }
            _ => {}
        }
    }
    if publishes {
        terminal.heard().await;
    }
}

/// Starts the daemon of the page's first configuration and runs the commands beside it.
async fn walk(page: &str) -> (Daemon, Backend) {
    walk_from(page, 0).await
}

/// The same with the page's configuration of this number.
async fn walk_from(page: &str, which: usize) -> (Daemon, Backend) {
    let fences = steps(page, which);
    let toml = &fences[0].text;
    assert!(toml.lines().any(|line| line.starts_with("backend")), "{page}: it needs --backend");
    let backend = Backend::start().await;
    let redis = if toml.contains("[redis]") { Some(Redis::start().await) } else { None };
    let mut places = vec![("http://127.0.0.1:3000".to_owned(), backend.url.clone())];
    if let Some(redis) = &redis {
        places.push(("redis://127.0.0.1:6379".to_owned(), redis.url()));
        places.push(("redis-cli ".to_owned(), format!("redis-cli -p {} ", redis.port)));
    }
    let config = Places(places.clone()).apply(toml);
    // `start` would have one for a file without; a page's commands have to bring the page's own.
    let daemon = Daemon::start(&config).await;
    eventually("it is ready", async || (daemon.ask("/readyz/events").await.status == 200).then_some(()))
        .await;
    places.push(("127.0.0.1:8080".to_owned(), daemon.public.to_string()));
    places.push(("127.0.0.1:8081".to_owned(), daemon.internal.to_string()));
    let mut terminal = Terminal::open();
    terminal.write("sidestream.toml", &config);
    run(&mut terminal, &fences, &Places(places)).await;
    assert!(terminal.started > 0, "{page}: no commands beside its first configuration");
    (daemon, backend)
}

#[tokio::test]
async fn the_first_five_minutes_of_the_readme_go_as_it_says() {
    let is_first =
        |section: &Vec<Fence>| section.iter().any(|fence| fence.text.contains("sidestream serve --backend"));
    let section = sections("README.md").into_iter().find(is_first).expect("the section");
    let backend = Backend::start().await;
    let environment = [
        ("SIDESTREAM_PUBLIC_LISTEN", "127.0.0.1:0"),
        ("SIDESTREAM_INTERNAL_LISTEN", "127.0.0.1:0"),
        ("SIDESTREAM_TELEMETRY_LOG_FORMAT", "json"),
    ];
    let mut serve = Shell::start_with(&["serve", "--backend", &backend.url], &environment);
    let line = serve.line().await;
    let listening: Value = serde_json::from_str(&serve.said("listening").await).expect("JSON");
    let address = |name: &str| listening[name].as_str().expect("an address").to_owned();
    let mut lines = section.iter().flat_map(|fence| fence.text.lines());
    let shown = lines.find_map(|line| line.strip_prefix("publish key: ")).expect("the key's line");
    let places = [
        (shown, line.strip_prefix("publish key: ").expect(&line).to_owned()),
        ("127.0.0.1:8080", address("public")),
        ("127.0.0.1:8081", address("internal")),
    ];
    let places = Places(places.into_iter().map(|(page, here)| (page.to_owned(), here)).collect());
    let mut terminal = Terminal::open();
    run(&mut terminal, &section, &places).await;
    assert_eq!((terminal.started, terminal.listeners.len()), (2, 1));
}

#[tokio::test]
async fn the_readmes_configuration_and_commands_go_together() {
    let (daemon, _backend) = walk("README.md").await;
    opens_its_first_event_source("README.md", &daemon).await;
}

#[tokio::test]
async fn the_readmes_steps_with_redis_go_together() {
    walk_from("README.md", 1).await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_streams_go_together() {
    let (daemon, _backend) = walk("docs/streams.md").await;
    opens_its_first_event_source("docs/streams.md", &daemon).await;
}

/// The page's first `EventSource` opens a stream under its first configuration.
async fn opens_its_first_event_source(page: &str, daemon: &Daemon) {
    let text = std::fs::read_to_string(repository().join(page)).expect(page);
    let path = text.split("new EventSource('").nth(1).and_then(|rest| rest.split('\'').next());
    let path = path.expect("an EventSource");
    let mut stream = daemon.stream(path).await;
    assert_eq!(stream.status(), 200, "{path}: {}", stream.head);
    assert!(stream.block().await.is("connected"));
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_publishing_go_together() {
    walk("docs/publishing.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_control_go_together() {
    walk("docs/control.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_the_dashboard_go_together() {
    walk("docs/dashboard.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_access_go_together() {
    walk("docs/auth.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_commands_go_together() {
    walk("docs/commands.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_operating_go_together() {
    walk("docs/operating.md").await;
}

#[tokio::test]
async fn the_configuration_of_the_page_on_proxies_holds() {
    walk("docs/proxies.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_replacing_go_together() {
    walk("docs/replacing.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_capture_go_together() {
    walk("docs/capture.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_shared_streams_go_together() {
    walk("docs/collapse.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_messages_content_go_together() {
    walk("docs/content.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_hooks_go_together() {
    walk("docs/hooks.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_polled_answers_go_together() {
    walk("docs/poll.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_pusher_go_together() {
    walk("docs/pusher.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_taking_back_go_together() {
    walk("docs/taking-back.md").await;
}

#[tokio::test]
async fn the_first_steps_of_the_page_on_webhooks_go_together() {
    let (_daemon, backend) = walk("docs/webhooks.md").await;
    let (_peer, head) = backend.request().await;
    assert_eq!(head.target(), "/hooks/sidestream");
    assert!(head.get("sidestream-signature").is_some(), "{head:?}");
}

#[test]
fn every_page_with_a_configuration_is_run() {
    let folder = std::fs::read_dir(repository().join("docs")).expect("docs");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let pages = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}"));
    for page in pages.chain(["README.md".to_owned()]) {
        let has_toml = sections(&page).iter().flatten().any(|fence| fence.language == "toml");
        let is_run = include_str!("pages.rs").contains(&format!("walk(\"{page}\")"));
        assert_eq!(
            has_toml, is_run,
            "{page}: whether it has a configuration, and whether a test here runs it"
        );
    }
}
