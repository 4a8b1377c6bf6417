//! The rooms' order: a file may name only rooms of a lower rank than its own. The table here is the one in
//! `src/lib.rs` and `docs/ARCHITECTURE.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const RANKS: &[(u8, &[&str])] = &[
    (6, &["cli"]),
    (5, &["app"]),
    (4, &["server"]),
    (3, &["stream", "sources", "proxy", "control"]),
    (2, &["fanout", "auth"]),
    (1, &["log", "config"]),
    (0, &["event", "health", "jws", "shutdown", "telemetry", "tls"]),
];

fn rank(room: &str) -> Option<u8> {
    RANKS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(rank, _)| *rank)
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
fn violations(files: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut violations = Vec::new();
    for (path, text) in files {
        let room = room_of(path);
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(own) = rank(&room) else {
            violations.push(format!("{}: the room `{room}` has no rank", path.display()));
            continue;
        };
        for (line, other) in named(text) {
            match rank(&other) {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    walk(&root, &root, &mut files);
    files
}

#[test]
fn imports_go_strictly_down() {
    let files = sources();
    assert!(files.len() > 30, "the sources were not found");
    let violations = violations(&files);
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
        assert!(violations(&files).is_empty());
        files.entry(PathBuf::from(file)).or_default().push_str(&format!("\n{line}\n"));
        assert_eq!(violations(&files).len(), 1, "{file}: {line}");
    }
}

#[test]
fn the_table_in_the_crates_documentation_is_this_one() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    for (rank, rooms) in RANKS {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("//! | {rank} |")))
            .expect("a row for each rank");
        let mut listed: Vec<String> = row.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let mut rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
        listed.sort();
        rooms.sort();
        assert_eq!(listed, rooms);
    }
}
