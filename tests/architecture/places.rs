//! What stands in one place only.

use std::path::{Path, PathBuf};

use crate::sources::{Files, is_of_tests, sources, without_tests};

/// Where the room `server` picks statuses.
const STATUSES: &str = "server/respond";

/// Lines outside of tests that pick a status although they stand in another file of `server`.
fn stray_statuses(files: &Files) -> Vec<String> {
    let picks = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("StatusCode") || code.contains(".status(") && code.contains("Response::builder")
    };
    let mut stray = Vec::new();
    for (path, text) in files {
        if !path.starts_with("server") || path.starts_with(STATUSES) {
            continue;
        }
        let code = without_tests(text);
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

/// Where TCP connections are made.
const DIALLER: &str = "net/dial.rs";

/// Lines outside of tests that connect to somebody by themselves.
fn stray_dials(files: &Files) -> Vec<String> {
    let dials = |line: &str| line.contains("TcpStream::connect") || line.contains("lookup_host");
    let mut stray = Vec::new();
    for (path, text) in files {
        if is_of_tests(path) || path == Path::new(DIALLER) {
            continue;
        }
        let code = without_tests(text);
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

#[test]
fn unsafe_code_stands_in_two_files() {
    const FILES: [&str; 2] = ["fanout/scheduling.rs", "main.rs"];
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
