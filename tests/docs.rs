//! The pages that people read, held against the code: metrics, log lines, files, words on the wire, snippets of
//! configuration, links, what is called missing; and the form of commits. The first steps of the pages are run by
//! `tests/it/pages.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use sidestream::{fanout, log, telemetry};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Every page of the project by its path.
fn pages() -> Vec<PathBuf> {
    let in_folder = |folder: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of ours");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
    };
    let folders = ["", "bench", "docs", "docs/frameworks", "examples"].into_iter().flat_map(in_folder);
    folders.chain(["clients", "examples", "examples/migrations"].into_iter().flat_map(readmes)).collect()
}

/// The README of each folder in `folder` that has one.
fn readmes(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder of ours");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let readmes = names.map(|name| root().join(folder).join(name).join("README.md"));
    readmes.filter(|readme| readme.exists()).collect()
}

/// The code blocks of `page` in this language, with the line that each starts on.
fn snippets(page: &str, language: &str) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(page.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => all.extend(open.take().filter(|(at, _)| *at != 0)),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            // Blocks in other languages are passed over, not looked into.
            (None, Some(is)) => open = Some((if is == language { number } else { 0 }, String::new())),
            (None, None) => {}
        }
    }
    all
}

#[test]
fn every_metric_is_described() {
    let page = read("docs/operating.md");
    for metric in telemetry::METRICS {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", metric.name)));
        let row = row.unwrap_or_else(|| panic!("docs/operating.md has no row for {}", metric.name));
        assert!(row.contains(metric.help), "{} is described in other words: {row}", metric.name);
    }
}

#[test]
fn every_reason_on_the_wire_is_explained() {
    let page = read("docs/streams.md");
    let ends = fanout::CloseReason::ALL.map(fanout::CloseReason::as_str);
    for word in ends.into_iter().chain(log::Reset::ALL.map(log::Reset::as_str)) {
        assert!(page.contains(&format!("`{word}`")), "docs/streams.md does not explain {word}");
    }
}

#[test]
fn every_key_that_can_stand_in_a_file_is_named_where_files_of_secrets_are_explained() {
    let (keys, page) = (read("docs/configuration.md"), read("docs/operating.md"));
    let start = page.find("A secret can stand in a file of its own").expect("where they are explained");
    let explained = page[start..].split("\n- ").next().unwrap_or_default();
    let rows = keys.lines().filter_map(|row| row.strip_prefix("| `")?.split_once(" |"));
    let by_file: BTreeSet<&str> =
        rows.filter_map(|(names, _)| names.split_once("`, `")?.1.strip_suffix('`')).collect();
    assert!(by_file.len() > 5, "the keys were not found");
    let missing: Vec<_> = by_file.iter().filter(|key| !explained.contains(&format!("{key}`"))).collect();
    assert!(missing.is_empty(), "docs/operating.md does not say that there are {missing:?}");
}

/// The Rust files of `src` without their tests, by their paths in the repository.
fn code_of_the_rooms() -> Vec<(String, String)> {
    let named = sources(&root().join("src")).into_iter().filter_map(|path| {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let code = read(&name).split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (!name.contains("tests")).then_some((name, code))
    });
    named.collect()
}

/// The texts in quotes of a source text, without the breaks of those that go on in the next line.
fn literals(code: &str) -> Vec<String> {
    let mut literals = Vec::new();
    for line in code.replace("\\\"", "\u{0}").split('"').skip(1).step_by(2) {
        let parts = line.split("\\\n").enumerate();
        literals.push(parts.map(|(at, part)| if at == 0 { part } else { part.trim_start() }).collect());
    }
    literals
}

/// The messages of the table of log lines in `page`; one that ends in `…` is the beginning of several, or of a long
/// one.
fn messages(page: &str) -> Vec<&str> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| message | level |")).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The messages of warnings and errors in a source text: where the macro is called, or in the lines of a connection.
fn warnings(code: &str) -> Vec<String> {
    let calls = ["warn!(", "error!(", "    failed: \""].into_iter().flat_map(|name| code.match_indices(name));
    let mut warnings = Vec::new();
    for (at, name) in calls {
        let rest = if name.ends_with('"') { &code[at..] } else { &code[at + name.len()..] };
        let end = rest
            .find([';', '}'])
            .map_or(rest.len(), |end| rest[end..].find('\n').map_or(rest.len(), |line| end + line));
        let field =
            literals(&rest[..end]).into_iter().find(|text| text.contains(' ') || text.contains(": {"));
        warnings.extend(field);
    }
    warnings
}

#[test]
fn the_table_of_log_lines_has_what_the_code_says() {
    let page = read("docs/operating.md");
    let messages = messages(&page);
    assert!(messages.len() > 60, "the table was not found");
    let sources = code_of_the_rooms();
    let texts: Vec<String> = sources.iter().flat_map(|(_, code)| literals(code)).collect();
    for message in &messages {
        let begins = message.trim_end_matches('…').trim_end();
        let found =
            texts.iter().any(|text| text == begins || message.ends_with('…') && text.starts_with(begins));
        assert!(found, "docs/operating.md: `{message}` stands nowhere in src");
    }
    let mut checked = 0;
    for (file, code) in &sources {
        for warning in warnings(code) {
            let known = messages.iter().any(|message| match message.strip_suffix('…') {
                Some(begins) => warning.starts_with(begins.trim_end()),
                None => warning == *message,
            });
            assert!(known, "{file}: the table of log lines in docs/operating.md has no row for `{warning}`");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} warnings were found");
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let page = read("docs/ARCHITECTURE.md");
    let (mut missing, mut checked) = (Vec::new(), 0);
    for name in page.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
        checked += 1;
        if !root().join("src").join(name).exists() && !root().join(name).exists() {
            missing.push(name);
        }
    }
    assert!(checked > 60, "only {checked} files were found");
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md names files that are not there: {missing:?}");
}

#[test]
fn every_snippet_of_configuration_is_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).expect("a page");
        for (line, snippet) in snippets(&page, "toml") {
            let file = folder.path().join("snippet.toml");
            std::fs::write(&file, &snippet).expect("a file");
            let mut check = Command::new(env!("CARGO_BIN_EXE_sidestream"));
            check.arg("check").arg("--config").arg(&file);
            if !snippet.lines().any(|line| line.starts_with("backend")) {
                check.args(["--backend", "http://127.0.0.1:3000"]);
            }
            let output = check.output().expect("the binary runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:{line}\n{said}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} snippets were found");
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).expect("a page");
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a page is in a folder").join(file)
            };
            assert!(to.exists(), "{}: {target} leads nowhere", path.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&to).expect("a page");
                let found =
                    text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
                assert!(found, "{}: {target} names no heading", path.display());
            }
        }
    }
}

#[test]
fn every_page_stands_in_the_summary() {
    let summary = read("docs/SUMMARY.md");
    for path in pages() {
        let page = path.strip_prefix(root()).expect("a page of ours").to_str().expect("text");
        let link = page.strip_prefix("docs/").map_or_else(|| format!("../{page}"), str::to_owned);
        let found = summary.contains(&format!("]({link})"));
        assert!(found || page == "docs/SUMMARY.md", "docs/SUMMARY.md does not name {page}");
    }
}

#[test]
fn the_pages_can_be_gathered_into_the_site() {
    let output = Command::new("python3").arg(root().join("docs/site/build.py")).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_snippet_of_an_example_stands_in_its_file() {
    for path in pages().into_iter().filter(|path| path.starts_with(root().join("docs/frameworks"))) {
        let page = std::fs::read_to_string(&path).expect("a page");
        let lines: Vec<&str> = page.lines().collect();
        let marks = lines.iter().enumerate().filter_map(|(at, line)| {
            let file = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
            Some((at, file))
        });
        let mut taken = 0;
        for (at, file) in marks {
            let snippet: Vec<&str> =
                lines[at + 2..].iter().copied().take_while(|line| !line.starts_with("```")).collect();
            let text = read(file);
            let code: Vec<&str> = text.lines().collect();
            let found = code.windows(snippet.len()).any(|window| without_indent(window) == snippet);
            assert!(found, "{}:{}: {file} has other code", path.display(), at + 1);
            taken += 1;
        }
        assert!(taken > 0, "{} has no snippet of an example", path.display());
    }
}

/// Lines without the indentation that they have in common.
fn without_indent<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let indents =
        lines.iter().filter(|line| !line.is_empty()).map(|line| line.len() - line.trim_start().len());
    let common = indents.min().unwrap_or(0);
    lines.iter().map(|line| line.get(common..).unwrap_or_default()).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A word without the end of its plural.
fn singular(word: &str) -> String {
    let word = word.to_lowercase();
    word.strip_suffix('s').map(str::to_owned).unwrap_or(word)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).map(singular).collect()
}

/// What there is: each section and key of the configuration, each route, each command, as the words of its name. The
/// flag says that one of these words alone names it.
fn features() -> Vec<(BTreeSet<String>, bool)> {
    let mut all = Vec::new();
    for line in read("config.example.toml").lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            all.push((words(section), true));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            all.push((words(key), false));
        }
    }
    let routes: serde_json::Value = serde_json::from_str(&read("docs/openapi.json")).expect("JSON");
    all.extend(routes["paths"].as_object().expect("paths").keys().map(|path| (words(path), true)));
    let help =
        Command::new(env!("CARGO_BIN_EXE_sidestream")).arg("--help").output().expect("the binary runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let commands =
        help.split("Commands:\n").nth(1).expect("commands").lines().take_while(|line| !line.is_empty());
    all.extend(commands.filter_map(|line| line.split_whitespace().next()).map(|name| (words(name), true)));
    all
}

/// The name of a feature that `missing` describes, if there is one.
fn is_there(missing: &str) -> Option<String> {
    // The application itself: what is missing towards it is said with its name.
    const NEUTRAL: [&str; 1] = ["backend"];
    let described = words(missing);
    features().into_iter().find_map(|(name, by_one)| {
        let common: Vec<&String> =
            name.intersection(&described).filter(|word| !NEUTRAL.contains(&word.as_str())).collect();
        let found = if by_one { !common.is_empty() } else { !name.is_empty() && common.len() == name.len() };
        found.then(|| name.into_iter().collect::<Vec<_>>().join(" "))
    })
}

#[test]
fn what_the_readme_calls_missing_is_no_key_route_or_command() {
    for there in ["Presence", "Webhooks", "CORS headers on streams", "A TLS certificate", "Changing topics"] {
        assert!(is_there(there).is_some(), "{there} is not found");
    }
    let page = read("README.md");
    let status =
        page.split("\n## Status\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a status");
    let items: Vec<&str> = status.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    assert!(items.len() > 1, "the list was not found");
    for item in items {
        let name = item.strip_prefix("**").and_then(|rest| rest.split("**").next());
        let name = name.unwrap_or_else(|| panic!("{item}: it does not begin with what is missing, in bold"));
        assert_eq!(is_there(name), None, "README's status calls it missing: {name}");
    }
}

#[test]
fn the_integration_tests_are_listed_in_order_with_what_they_are_for() {
    let main = read("tests/it/main.rs");
    let row = |line: &str| Some(line.strip_prefix("//! | `")?.split_once("` | ")?.0.to_owned());
    let listed: Vec<String> = main.lines().filter_map(row).collect();
    let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let mut modules: Vec<String> = modules.map(|name| format!("{name}.rs")).collect();
    assert_eq!(modules.remove(0), "harness.rs");
    assert!(modules.is_sorted(), "{modules:?}");
    modules.insert(0, "harness/".to_owned());
    assert_eq!(listed, modules);
    let files = std::fs::read_dir(root().join("tests/it")).expect("a folder of ours");
    let files = files.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    for file in files.filter(|file| file.ends_with(".rs") && file != "main.rs") {
        assert!(listed.contains(&file), "tests/it/main.rs does not list {file}");
    }
}

/// From then on commits are held to their form.
const COMMITS_SINCE: &str = "2026-11-30T08:30:00Z";

#[test]
fn commits_have_a_short_subject_and_a_body() {
    if !root().join(".git").exists() {
        // A copy without history has no commits to be held.
        return;
    }
    let mut log = Command::new("git");
    log.arg("-C").arg(root()).args(["log", "--no-merges", "--format=%h%x1f%s%x1f%b%x1e"]);
    let log = log.arg(format!("--since={COMMITS_SINCE}")).output().expect("git");
    assert!(log.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    let text = String::from_utf8(log.stdout).expect("text");
    for commit in text.split('\u{1e}').map(str::trim).filter(|commit| !commit.is_empty()) {
        let parts: Vec<&str> = commit.split('\u{1f}').collect();
        let [hash, subject, body] = parts[..] else { panic!("{commit}") };
        assert!(subject.chars().count() <= 72, "{hash}: its subject is longer than 72 characters: {subject}");
        assert!(!body.trim().is_empty(), "{hash}: it has no body that says why: {subject}");
    }
}

/// The promises of SECURITY.md, each with the tests that hold it.
#[test]
fn every_promise_of_security_is_held_by_a_test_that_is_there() {
    let page = read("SECURITY.md");
    let promises = page.split_once("\n## What it does\n").expect("the section").1;
    let promises = promises.split_once("\n## ").expect("its end").0;
    let code: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .map(|file| std::fs::read_to_string(file).expect("a source"))
        .collect();
    let bullets: Vec<&str> = promises.split("\n- ").skip(1).collect();
    assert!(bullets.len() > 8, "{promises}");
    for promise in bullets {
        let held = promise.split_once("<!-- held by: ").and_then(|(_, rest)| rest.split_once(" -->"));
        let (tests, _) = held.unwrap_or_else(|| panic!("nothing is said to hold: {promise}"));
        for test in tests.split(',').map(str::trim) {
            assert!(
                code.contains(&format!("fn {test}(")),
                "no test is named {test}, which is to hold: {promise}"
            );
        }
    }
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
