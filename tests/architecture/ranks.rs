//! The rooms' order, as the table in `docs/ARCHITECTURE.md` states it: a file may name only rooms of a lower rank than
//! its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sources::{Files, room_of, sources, word};

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

/// What breaks the order in `files`, a sentence each.
fn violations(ranks: &Ranks, files: &Files) -> Vec<String> {
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
