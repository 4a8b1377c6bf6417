//! The rooms' order, as the table in `docs/ARCHITECTURE.md` states it: a file may name only rooms of a lower rank than
//! its own. Their words: a type's name belongs to one room. How long files and functions are. And that tests wait for
//! events, never for a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The ranks of the rooms.
type Ranks = BTreeMap<String, u8>;

/// The ranks as rows `| rank | room…` of a page state them.
fn ranks(page: &str, prefix: &str) -> Ranks {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect(page);
    let mut ranks = Ranks::new();
    for row in text.lines().filter_map(|line| line.strip_prefix(prefix)) {
        let mut cells = row.split('|').skip(1);
        let Some(Ok(rank)) = cells.next().map(|cell| cell.trim().parse()) else { continue };
        let rooms = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        ranks.extend(rooms.map(|room| (room.to_owned(), rank)));
    }
    ranks
}

fn architecture() -> Ranks {
    ranks("docs/ARCHITECTURE.md", "")
}

/// The room that a file belongs to: the first part of its path below `src`.
fn room_of(path: &Path) -> String {
    let first =
        path.components().next().expect("a path has parts").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map_or(first.clone(), str::to_owned)
}

/// Every room that a source text names through `crate::`, with the line.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let rooms = group.split('}').next().unwrap_or_default().split(',');
                named.extend(rooms.map(|room| (number + 1, word(room.trim()))));
            } else {
                named.push((number + 1, word(rest)));
            }
        }
    }
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What breaks the order in `files`, a sentence each.
fn violations(ranks: &Ranks, files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in files {
        let room = room_of(path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(own) = ranks.get(&room) else {
            violations.push(format!("{}: the room `{room}` has no rank", path.display()));
            continue;
        };
        for (line, other) in named(text) {
            match ranks.get(&other) {
                _ if other == room => {}
                Some(rank) if rank < own => {}
                Some(_) => {
                    violations.push(format!("{}:{line}: `{room}` may not use `{other}`", path.display()))
                }
                None => violations.push(format!("{}:{line}: `{other}` is no room", path.display())),
            }
        }
    }
    violations
}

fn sources() -> BTreeMap<PathBuf, String> {
    files_below("src")
}

/// The Rust files of a folder of the repository, by their paths in it.
fn files_below(folder: &str) -> BTreeMap<PathBuf, String> {
    fn walk(folder: &Path, root: &Path, files: &mut BTreeMap<PathBuf, String>) {
        for entry in std::fs::read_dir(folder).expect("the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                files.insert(path.strip_prefix(root).expect("below the root").to_owned(), text);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = BTreeMap::new();
    walk(&root, &root, &mut files);
    files
}

#[test]
fn imports_go_strictly_down() {
    let files = sources();
    assert!(files.len() > 30, "the sources were not found");
    let violations = violations(&architecture(), &files);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn a_planted_upward_import_is_found() {
    for (file, line) in [
        ("log/store.rs", "use crate::fanout::Fanout;"),
        ("log/store.rs", "use crate::{config, event};"),
        ("event/mod.rs", "fn f() { crate::log::Log::head() }"),
        ("fanout/pass.rs", "pub use crate::auth::Grant;"),
        ("fanout/pass.rs", "use crate::server as door;"),
        ("shutdown.rs", "use crate::telemetry;"),
        ("nowhere/mod.rs", "use crate::event::Event;"),
    ] {
        let mut files = sources();
        assert!(violations(&architecture(), &files).is_empty());
        files.entry(PathBuf::from(file)).or_default().push_str(&format!("\n{line}\n"));
        assert_eq!(violations(&architecture(), &files).len(), 1, "{file}: {line}");
    }
}

#[test]
fn the_table_in_the_crates_documentation_is_that_of_the_page() {
    let page = architecture();
    assert!(page.len() > 15, "the page's table was not found");
    assert_eq!(ranks("src/lib.rs", "//! "), page);
}

/// Where the room `server` picks statuses.
const STATUSES: &str = "server/respond";

/// Lines outside of tests that pick a status although they stand in another file of `server`.
fn stray_statuses(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let picks = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("StatusCode") || code.contains(".status(") && code.contains("Response::builder")
    };
    let mut stray = Vec::new();
    for (path, text) in files {
        if !path.starts_with("server") || path.starts_with(STATUSES) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().enumerate().filter(|(_, line)| picks(line));
        stray.extend(lines.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    stray
}

#[test]
fn statuses_are_picked_in_one_place() {
    let files = sources();
    assert!(files.keys().any(|path| path.starts_with(STATUSES)), "{STATUSES} was not found");
    let stray = stray_statuses(&files);
    assert!(stray.is_empty(), "{}", stray.join("\n"));
}

#[test]
fn a_planted_status_is_found() {
    for line in [
        "*response.status_mut() = StatusCode::NOT_FOUND;",
        "use http::{Response, StatusCode};",
        "let response = Response::builder().status(404);",
    ] {
        let mut files = sources();
        files.entry(PathBuf::from("server/public/planted.rs")).or_default().push_str(line);
        assert_eq!(stray_statuses(&files).len(), 1, "{line}");
    }
}

/// Whether a file is one of tests by its name, or by that of its folder.
fn is_of_tests(path: &Path) -> bool {
    path.with_extension("").iter().any(|part| part.to_string_lossy().ends_with("tests"))
}

/// Where TCP connections are made.
const DIALLER: &str = "net/dial.rs";

/// Lines outside of tests that connect to somebody by themselves.
fn stray_dials(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let dials = |line: &str| line.contains("TcpStream::connect") || line.contains("lookup_host");
    let mut stray = Vec::new();
    for (path, text) in files {
        if is_of_tests(path) || path == Path::new(DIALLER) {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().enumerate().filter(|(_, line)| dials(line));
        stray.extend(lines.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
    }
    stray
}

#[test]
fn connections_are_made_in_one_place() {
    let files = sources();
    assert!(files.contains_key(Path::new(DIALLER)), "{DIALLER} was not found");
    let stray = stray_dials(&files);
    assert!(stray.is_empty(), "{}", stray.join("\n"));
    let mut files = files;
    let line = "let socket = TcpStream::connect((host, port)).await?;";
    files.entry(PathBuf::from("proxy/planted.rs")).or_default().push_str(line);
    assert_eq!(stray_dials(&files).len(), 1, "a planted one is not found");
}

/// Names that a reader expects in any room, each about its own room's subject.
const COMMON: &[&str] = &["State", "Error", "Inner", "Settings"];

/// The sections of the configuration are named as the file names them, and always written `config::Section`.
const SECTIONS: &str = "config/schema";

/// The types that a source text defines outside of its tests.
fn defined(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut names = Vec::new();
    for line in code.lines() {
        let mut words =
            line.split_whitespace().skip_while(|word| word.starts_with("pub") || word.ends_with(')'));
        if matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union"))
            && !line.starts_with("    ")
        {
            names.push(word(words.next().unwrap_or_default()));
        }
    }
    names
}

/// Names of types that more than one room defines.
fn doubles(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut rooms: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for (path, text) in files {
        if is_of_tests(path) || path.starts_with(SECTIONS) {
            continue;
        }
        for name in defined(text) {
            rooms.entry(name).or_default().insert(room_of(path), path.clone());
        }
    }
    rooms.retain(|name, rooms| rooms.len() > 1 && !COMMON.contains(&name.as_str()));
    rooms
        .into_iter()
        .map(|(name, rooms)| {
            let files: Vec<_> = rooms.values().map(|path| path.display().to_string()).collect();
            format!("`{name}` in {}", files.join(", "))
        })
        .collect()
}

#[test]
fn a_types_name_belongs_to_one_room() {
    let doubles = doubles(&sources());
    assert!(doubles.is_empty(), "{} names:\n{}", doubles.len(), doubles.join("\n"));
}

#[test]
fn a_planted_second_definition_is_found() {
    let mut files = sources();
    files.insert(PathBuf::from("webhooks/planted.rs"), "pub(super) struct EventId;".to_owned());
    assert!(doubles(&files).iter().any(|double| double.starts_with("`EventId`")));
}

/// The only file of `tests/it` in which time passes.
const WAITING: &str = "harness/waiting.rs";

/// What waits for a time.
const WAITS: &[&str] =
    &["sleep", "sleep_until", "interval", "interval_at", "timeout", "timeout_at", "park_timeout"];

/// Where tests wait for a time instead of an event, by `file:line`.
fn bare_waits(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| *path != Path::new(WAITING)) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let called = code.match_indices('(').map(|(at, _)| {
                let name = code[..at].rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                name.unwrap_or_default()
            });
            let turns = code.contains("while Instant::now()");
            if turns || called.into_iter().any(|name| WAITS.contains(&name)) {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn unsafe_code_stands_in_two_files() {
    const FILES: [&str; 2] = ["fanout/batch.rs", "main.rs"];
    // In words and texts it means something else.
    let is_code = |line: &str| {
        let line = line.trim_start();
        !line.starts_with("//")
            && ["unsafe {", "unsafe fn", "unsafe impl", "#[unsafe", "unsafe_code"]
                .iter()
                .any(|code| line.contains(code))
    };
    let found: Vec<_> =
        sources().into_iter().filter(|(_, text)| text.lines().any(is_code)).map(|(file, _)| file).collect();
    assert_eq!(found, FILES.map(PathBuf::from));
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    assert!(manifest.expect("the manifest").contains("unsafe_code = \"deny\""));
}

#[test]
fn tests_wait_for_events_and_let_time_pass_in_one_file_only() {
    let files = files_below("tests/it");
    assert!(files.contains_key(Path::new(WAITING)) && files.len() > 30, "the tests were not found");
    let found = bare_waits(&files);
    assert!(found.is_empty(), "use what {WAITING} has instead of a wait for a time:\n{}", found.join("\n"));
}

#[test]
fn a_planted_wait_for_a_time_is_found() {
    for line in [
        "    tokio::time::sleep(Duration::from_secs(1)).await;",
        "std::thread::sleep(pause);",
        "let mut tick = interval(PACE);",
        "let early = timeout(SHORT, &mut waiting).await;",
        "while Instant::now() < until {",
    ] {
        let mut files = files_below("tests/it");
        files.insert(PathBuf::from("planted.rs"), format!("// sleep(1)\nlet head_timeout = f(1);\n{line}\n"));
        assert_eq!(bare_waits(&files), ["planted.rs:3"], "{line}");
    }
}

/// Words for an error and for the number of lines that were held back, of which the log has one each.
const OTHER_FIELDS: &[&str] = &["why", "failure", "untold", "more", "lines_held_back"];

/// The arguments of the log macros that a source text calls outside of its tests, with the line of each call.
fn logged(text: &str) -> Vec<(usize, String)> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut arguments = Vec::new();
    for (at, _) in code.match_indices("!(") {
        let name = code[..at].rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        if !matches!(name, "error" | "warn" | "info" | "debug" | "trace") {
            continue;
        }
        let number = code[..at].lines().count();
        let (mut depth, mut quoted, mut argument) = (0, false, String::new());
        let mut rest = code[at + 2..].chars();
        while let Some(c) = rest.next() {
            match c {
                '\\' if quoted => _ = rest.next(),
                '"' => quoted = !quoted,
                _ if quoted => {}
                ')' if depth == 0 => break,
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => arguments.push((number, std::mem::take(&mut argument))),
                c => argument.push(c),
            }
        }
        arguments.push((number, argument));
    }
    arguments
}

/// Where the log has another word for `error` or `suppressed`, by `file:line`.
fn other_fields(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (line, argument) in logged(text) {
            let name = argument.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
            if OTHER_FIELDS.contains(&name) {
                found.push(format!("{}:{line}: `{name}`", path.display()));
            }
        }
    }
    found
}

#[test]
fn the_log_calls_errors_and_suppressed_lines_by_one_name() {
    let files = sources();
    assert!(
        files.values().map(|text| logged(text).len()).sum::<usize>() > 100,
        "the log lines were not found"
    );
    let found = other_fields(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
    for line in [
        "    warn!(%url, why = %bad, \"no (good)\");",
        "debug!(\n    %failure,\n    \"no, \\\"good\\\"\"\n);",
        "tracing::info!(client = f(1, 2), more, \"{}\", x);",
    ] {
        let planted = [(PathBuf::from("planted.rs"), line.to_owned())].into();
        assert_eq!(other_fields(&planted).len(), 1, "{line}");
    }
    let good = "warn!(error = %why, reason = more(why, failure), \"why, more\");".to_owned();
    assert!(other_fields(&[(PathBuf::from("good.rs"), good)].into()).is_empty());
}

/// The most lines of a file, of the file in the middle, of nine files in ten, and of a function.
const LONGEST_FILE: usize = 450;
const MEDIAN_FILE: usize = 150;
const NINE_FILES_IN_TEN: usize = 370;
const LONGEST_FUNCTION: usize = 80;

/// The functions of a formatted source text: the line that each begins in, its name, and how many lines it has.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let qualifiers = code.split(' ').take_while(|word| *word != "fn").all(|word| {
            matches!(word, "const" | "async" | "unsafe" | "pub" | "extern" | "\"C\"") || word.ends_with(')')
        });
        let Some((_, rest)) = code.split_once("fn ").filter(|_| qualifiers) else { continue };
        // In a formatted text, what ends a function stands below its first letter; one without a body ends in `;`.
        let ends = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|line| line.starts_with('}') || line.starts_with(") ->"))
                && (line.trim_end().ends_with('}') || line.ends_with(';'))
        };
        let length = match line.chars().last() {
            Some('}' | ';') => 1,
            _ => 2 + lines[begin + 1..].iter().take_while(|line| !ends(line)).count(),
        };
        functions.push((begin + 1, word(rest), length));
    }
    functions
}

/// Functions that are too long, by `file:line`.
fn long_functions(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut long = Vec::new();
    for (path, text) in files {
        let too_long = functions(text).into_iter().filter(|(_, _, length)| *length > LONGEST_FUNCTION);
        long.extend(
            too_long.map(|(line, name, length)| {
                format!("{}:{line}: `{name}` has {length} lines", path.display())
            }),
        );
    }
    long
}

#[test]
fn functions_and_files_are_short() {
    let files = sources();
    let long = long_functions(&files);
    assert!(long.is_empty(), "{}", long.join("\n"));
    let mut lengths: Vec<_> = files.iter().map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort_unstable();
    let (longest, path) = lengths[lengths.len() - 1];
    assert!(longest <= LONGEST_FILE, "{} has {longest} lines", path.display());
    assert!(lengths[lengths.len() / 2].0 <= MEDIAN_FILE, "the median is {:?}", lengths[lengths.len() / 2]);
    let ninth = lengths[lengths.len() * 9 / 10];
    assert!(ninth.0 <= NINE_FILES_IN_TEN, "one file in ten has more than {} lines", ninth.0);
}

#[test]
fn the_length_of_a_function_is_from_its_first_line_to_its_last() {
    let text = "impl A {\n    pub(super) async fn a(\n        b: u8,\n    ) -> u8\n    where\n        B: C,\n    {\n        f(\n            b,\n        )\n    }\n\n    fn c() {}\n    fn d(\n        e: u8,\n    ) -> u8;\n}\n// fn x() {\n";
    let expected = [(2, "a".to_owned(), 10), (13, "c".to_owned(), 1), (14, "d".to_owned(), 3)];
    assert_eq!(functions(text), expected);
    let mut files = sources();
    files.insert(
        "planted.rs".into(),
        format!("fn long() {{\n{}}}\n", "    f();\n".repeat(LONGEST_FUNCTION - 1)),
    );
    assert_eq!(long_functions(&files), [format!("planted.rs:1: `long` has {} lines", LONGEST_FUNCTION + 1)]);
}

/// Every dependency with its features, as `cargo tree` lists those of these kinds.
fn built(kinds: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "-f", "{p} {f}", "-e", kinds])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    text.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect()
}

/// A feature that only a dev-dependency asks for has that package, and all that stands on it, built once for `cargo run` and
/// once more for `cargo test`.
#[test]
fn the_daemon_and_its_tests_share_what_they_are_built_of() {
    let (daemon, tests) = (built("normal,build"), built("normal,build,dev"));
    let twice: Vec<_> = daemon.difference(&tests).collect();
    assert!(twice.is_empty(), "built twice, because dev-dependencies ask for further features: {twice:#?}");
}
