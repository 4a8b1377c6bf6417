//! Tests wait for events, never for a time.

use std::path::{Path, PathBuf};

use crate::sources::{Files, files_below};

/// The only file of `tests/it` in which time passes.
const WAITING: &str = "harness/waiting.rs";

/// What waits for a time.
const WAITS: &[&str] =
    &["sleep", "sleep_until", "interval", "interval_at", "timeout", "timeout_at", "park_timeout"];

/// Where tests wait for a time instead of an event, by `file:line`.
fn bare_waits(files: &Files) -> Vec<String> {
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
