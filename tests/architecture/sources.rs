//! The sources as the rules look at them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Source texts by their paths.
pub(crate) type Files = BTreeMap<PathBuf, String>;

pub(crate) fn sources() -> Files {
    files_below("src")
}

/// The Rust files of a folder of the repository, by their paths in it.
pub(crate) fn files_below(folder: &str) -> Files {
    fn walk(folder: &Path, root: &Path, files: &mut Files) {
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

/// The room that a file belongs to: the first part of its path below `src`.
pub(crate) fn room_of(path: &Path) -> String {
    let first =
        path.components().next().expect("a path has parts").as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").map_or(first.clone(), str::to_owned)
}

/// Whether a file is one of tests by its name, or by that of its folder.
pub(crate) fn is_of_tests(path: &Path) -> bool {
    path.with_extension("").iter().any(|part| part.to_string_lossy().ends_with("tests"))
}

/// A source text without its tests.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The word that a text begins with.
pub(crate) fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
