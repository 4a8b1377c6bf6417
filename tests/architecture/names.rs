//! A type's name belongs to one room.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::sources::{Files, is_of_tests, room_of, sources, without_tests, word};

/// Names that a reader expects in any room, each about its own room's subject.
const COMMON: &[&str] = &["State", "Error", "Inner", "Settings"];

/// The sections of the configuration are named as the file names them, and always written `config::Section`.
const SECTIONS: &str = "config/schema";

/// The types that a source text defines outside of its tests.
fn defined(text: &str) -> Vec<String> {
    let code = without_tests(text);
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
fn doubles(files: &Files) -> Vec<String> {
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
