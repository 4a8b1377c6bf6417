//! A `mod.rs` is only a door: what the room has inside, and what of it is seen from outside.

use std::path::{Path, PathBuf};

use crate::sources::{Files, sources};

/// The lines of a `mod.rs` that are more than a door: neither comments nor attributes, `mod` or `use`.
fn more_than_doors(files: &Files) -> Vec<String> {
    let mut more = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("mod.rs")) {
        let mut in_use = false;
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default().trim();
            let item =
                code.split_once(") ").filter(|_| code.starts_with("pub(")).map_or(code, |(_, item)| item);
            let item = item.strip_prefix("pub ").unwrap_or(item);
            in_use |= item.starts_with("use ");
            let is_module = item.starts_with("mod ") && item.ends_with(';');
            if !in_use && !is_module && !code.is_empty() && !code.starts_with("#[") {
                more.push(format!("{}:{number}: {line}", path.display()));
            }
            in_use &= !code.ends_with(';');
        }
    }
    more
}

#[test]
fn a_mod_rs_is_only_a_door() {
    let files = sources();
    assert!(files.contains_key(Path::new("event/mod.rs")), "the sources were not found");
    let more = more_than_doors(&files);
    assert!(more.is_empty(), "into a file of its own:\n{}", more.join("\n"));
}

#[test]
fn a_planted_item_in_a_door_is_found() {
    for item in ["pub struct Planted;", "fn planted() {}", "const PLANTED: u8 = 0;", "mod planted {}"] {
        let text = format!("//! A door.\n\nmod a;\n\npub(super) use crate::b::{{\n    C,\n}};\n{item}\n");
        let files = [(PathBuf::from("event/mod.rs"), text)].into();
        assert_eq!(more_than_doors(&files), [format!("event/mod.rs:8: {item}")]);
    }
}
