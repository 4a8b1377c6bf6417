//! The log's fields have one name each.

use std::path::PathBuf;

use crate::sources::{Files, sources, without_tests};

/// Words for an error and for the number of lines that were held back, of which the log has one each.
const OTHER_FIELDS: &[&str] = &["why", "failure", "untold", "more", "lines_held_back"];

/// The arguments of the log macros that a source text calls outside of its tests, with the line of each call.
fn logged(text: &str) -> Vec<(usize, String)> {
    let code = without_tests(text);
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
fn other_fields(files: &Files) -> Vec<String> {
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
