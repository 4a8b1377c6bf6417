//! The pages that people read, held against the code: metrics, words on the wire, snippets of configuration, links.

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
    ["", "docs", "examples/express", "examples/express-session"]
        .iter()
        .flat_map(|folder| in_folder(folder))
        .collect()
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
    let ends = fanout::End::ALL.map(fanout::End::as_str);
    for word in ends.into_iter().chain(log::Reset::ALL.map(log::Reset::as_str)) {
        assert!(page.contains(&format!("`{word}`")), "docs/streams.md does not explain {word}");
    }
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
            if !snippet.contains("backend") {
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

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
