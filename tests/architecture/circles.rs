//! Files do not import each other in circles: each can be read after those that it builds on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::sources::{Files, is_of_tests, sources, without_tests};

/// A path such as `event::id::EventId`, below `crate`.
type ModulePath = Vec<String>;

/// What the files of a crate import of each other.
struct Imports<'f> {
    modules: BTreeMap<ModulePath, &'f Path>,
    /// Where the names that a module gives away come from.
    given: BTreeMap<ModulePath, Vec<ModulePath>>,
    edges: BTreeMap<&'f Path, BTreeSet<&'f Path>>,
}

/// The module that a file is.
fn module_of(path: &Path) -> ModulePath {
    let mut parts: ModulePath =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.pop_if(|last| last == "mod");
    parts
}

fn path_of(text: &str) -> Option<ModulePath> {
    Some(text.trim().strip_prefix("crate::")?.split("::").map(str::to_owned).collect())
}

/// The paths of a `use` and of all of its groups.
fn expand(prefix: &str, tree: &str, all: &mut Vec<String>) {
    let Some((before, group)) = tree.split_once('{') else {
        return all.push(format!("{prefix}{}", tree.split(" as ").next().unwrap_or_default().trim()));
    };
    let (prefix, group) = (format!("{prefix}{}", before.trim()), group.trim_end().trim_end_matches('}'));
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[from..at].trim().is_empty() {
                    expand(&prefix, &group[from..at], all);
                }
                from = (at + 1).min(group.len());
            }
            _ => {}
        }
    }
}

/// What a text imports, or names by its whole path; and what of that it gives away.
fn imports_of(text: &str) -> Vec<(ModulePath, bool)> {
    let mut found = Vec::new();
    let lines = without_tests(text).lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut tree: Option<(String, bool)> = None;
    for line in lines {
        let item = line.trim_start();
        let is_public = item.starts_with("pub");
        let item = item.split_once("use ").filter(|(before, _)| before.is_empty() || is_public);
        match (&mut tree, item) {
            (Some((tree, _)), _) => tree.push_str(line),
            (None, Some((_, rest))) => tree = Some((rest.to_owned(), is_public)),
            (None, None) => {
                let named = line.match_indices("crate::").map(|(at, _)| &line[at..]);
                let path = |text: &str| {
                    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                    path_of(&text[..end.unwrap_or(text.len())])
                };
                found.extend(named.filter_map(path).map(|path| (path, false)));
            }
        }
        if let Some((text, is_public)) = tree.take_if(|(text, _)| text.contains(';')) {
            let mut all = Vec::new();
            expand("", text.split(';').next().unwrap_or_default(), &mut all);
            found.extend(all.iter().filter_map(|text| path_of(text)).map(|path| (path, is_public)));
        }
    }
    found
}

impl<'f> Imports<'f> {
    fn of(files: &'f Files) -> Self {
        let files: Vec<_> = files.iter().filter(|(path, _)| !is_of_tests(path)).collect();
        let modules: BTreeMap<_, _> =
            files.iter().map(|(path, _)| (module_of(path), path.as_path())).collect();
        let mut imports = Self { modules, given: BTreeMap::new(), edges: BTreeMap::new() };
        for (path, text) in &files {
            let given = imports_of(text).into_iter().filter(|(_, is_public)| *is_public);
            imports.given.insert(module_of(path), given.map(|(path, _)| path).collect());
        }
        // A door names everything behind it, and nothing comes of that.
        for (path, text) in files.into_iter().filter(|(path, _)| !path.ends_with("mod.rs")) {
            let named = imports_of(text).into_iter().filter_map(|(named, _)| imports.file(&named, 0));
            let mut own: BTreeSet<_> = named.collect();
            // The head of a folder builds on what is in it.
            let modules = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
            own.extend(modules.filter_map(|name| {
                let mut module = module_of(path);
                module.push(name.to_owned());
                imports.modules.get(&module).copied()
            }));
            own.remove(path.as_path());
            imports.edges.insert(path, own);
        }
        imports
    }

    /// The file in which a path is defined.
    fn file(&self, path: &[String], depth: u8) -> Option<&'f Path> {
        let (module, rest) = (0..=path.len())
            .rev()
            .map(|at| path.split_at(at))
            .find(|(module, _)| self.modules.contains_key(*module) && !module.is_empty())?;
        let file = self.modules[module];
        let (Some(name), true) = (rest.first(), depth < 8) else { return Some(file) };
        let given = self.given.get(module).into_iter().flatten();
        let mut sources = given.filter_map(|given| match given.last()?.as_str() {
            last if last == name => self.file(given, depth + 1),
            "*" => {
                let within = [&given[..given.len() - 1], rest].concat();
                self.file(&within, depth + 1).filter(|found| !found.ends_with("mod.rs"))
            }
            _ => None,
        });
        Some(sources.next().unwrap_or(file))
    }

    /// A circle: the first of it, and the way back to it.
    fn circle(&self) -> Option<Vec<&'f Path>> {
        let mut done = BTreeSet::new();
        let mut way = Vec::new();
        self.edges.keys().find_map(|file| self.walk(file, &mut way, &mut done))
    }

    fn walk(
        &self,
        file: &'f Path,
        way: &mut Vec<&'f Path>,
        done: &mut BTreeSet<&'f Path>,
    ) -> Option<Vec<&'f Path>> {
        if let Some(at) = way.iter().position(|one| *one == file) {
            return Some(way[at..].to_vec());
        }
        if !done.insert(file) {
            return None;
        }
        way.push(file);
        let next = self.edges.get(file).into_iter().flatten();
        let found = next.copied().find_map(|next| self.walk(next, way, done));
        way.pop();
        found
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let files = sources();
    let imports = Imports::of(&files);
    assert!(imports.edges.values().map(BTreeSet::len).sum::<usize>() > 1000, "the imports were not found");
    assert_eq!(imports.circle(), None);
}

#[test]
fn a_planted_circle_is_found_through_a_door() {
    for line in ["use crate::event::{Draft, Event};", "fn f() -> crate::event::Draft {}"] {
        let mut files: Files = [
            (
                "event/mod.rs",
                "mod id;\nmod frame;\npub use crate::event::frame::{\n    Draft, // and\n    Frame,\n};\n",
            ),
            ("event/frame.rs", "use crate::event::id::EventId as Id;\n"),
            ("event/id.rs", "// use crate::event::Draft;\n"),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
        .into();
        assert_eq!(Imports::of(&files).circle(), None);
        files.entry("event/id.rs".into()).or_default().push_str(line);
        let circle = Imports::of(&files).circle();
        assert!(circle.is_some(), "{line}");
    }
}
