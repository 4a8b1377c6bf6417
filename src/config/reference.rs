//! The pages that list every key: `config.example.toml` and `docs/configuration.md`, made of the tables in `schema`.

use std::fmt::Write as _;

use crate::config::reader::{KeyDoc, KeyKind, KnownKey, Reader, SectionDoc, written};
use crate::config::reading::survey;
use crate::config::reload::needs_restart;
use crate::config::schema::Config;

const EXAMPLE_HEAD: &str = r#"# sidestream: every key with its default.
#
# Only the backend's address has to be given. A line that is commented out shows what holds without it, or an example
# where that is said; `sidestream check --config FILE` says what is wrong with a file before a daemon does.
#
# Each key of a [section] is an environment variable too, which goes before the file: SIDESTREAM_<SECTION>_<KEY>, such
# as SIDESTREAM_PUBLIC_LISTEN; lists have commas between their entries. [[tables in double brackets]] are read from the
# file only. A secret can stand in a file of its own, whose path is given by <key>_file or by SIDESTREAM_…_FILE; a
# relative path there is meant from the folder of this file.
#
# ${NAME} in a string stands for the value of a variable, ${NAME:-default} for the default where it is unset or empty; $${
# is a plain ${.
#
# Times are written "250ms", "10s", "10m", "1h30m"; sizes "64KiB" (1024), "64KB" (1000), or as a number of bytes.
"#;

const PAGE_HEAD: &str = "# Configuration

Every key, section by section. How the file, the environment and the command line go together is in
[operating.md](operating.md#configuration); [`config.example.toml`](../config.example.toml) is the same as a file.

- *key*: its name in the section. Where a second name stands beside it, that key names a file which holds the value.
- *variable*: the environment variable that goes before the file. Tables in double brackets are read from the file only.
- *may be*: what is accepted, bounds included. Times and sizes are written as in the column *default*.
- *taken up by*: a reload ([operating.md](operating.md#reloading)), or only a restart.
";

/// A section with its keys.
struct ReferenceSection<'r> {
    doc: &'r SectionDoc,
    keys: Vec<ReferenceRow<'r>>,
}

/// A key, what is said of it, and the key that names a file with its value, if there is one.
struct ReferenceRow<'r> {
    key: &'r KnownKey,
    doc: &'r KeyDoc,
    file: Option<&'r KnownKey>,
}

/// The text of `config.example.toml`.
pub fn example() -> String {
    let reader = survey(Config::read);
    let mut text = EXAMPLE_HEAD.to_owned();
    for section in sections(&reader) {
        let SectionDoc { name, numbered, optional, about } = *section.doc;
        text.push_str(if name.contains('.') { "\n" } else { "\n\n" });
        comment(&mut text, &one_line(about));
        let before = if optional { "# " } else { "" };
        let _ = writeln!(text, "{before}{}", written(name, numbered));
        for row in &section.keys {
            comment(&mut text, &row.sentences());
            let given = row.doc.kind == KeyKind::Required && !optional;
            let before = if given { "" } else { "# " };
            let _ = writeln!(text, "{before}{} = {}", row.key.name, one_line(row.doc.sample));
        }
    }
    text
}

/// The text of `docs/configuration.md`.
pub fn reference() -> String {
    let reader = survey(Config::read);
    let mut text = PAGE_HEAD.to_owned();
    for section in sections(&reader) {
        let SectionDoc { name, numbered, about, .. } = *section.doc;
        let _ = write!(text, "\n## `{}`\n\n{}\n\n", written(name, numbered), one_line(about));
        text.push_str(
            "| key | variable | default | may be | taken up by | what it is |\n|---|---|---|---|---|---|\n",
        );
        for row in &section.keys {
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                row.names(),
                row.key.variable.as_deref().map_or("–".to_owned(), |variable| format!("`{variable}`")),
                row.default(),
                cell(&row.accepted()),
                if needs_restart(row.key.section, &row.key.name) { "restart" } else { "reload" },
                cell(&one_line(row.doc.about)),
            );
        }
    }
    text
}

fn sections<'r>(reader: &'r Reader) -> Vec<ReferenceSection<'r>> {
    let find =
        |section: &str, name: &str| reader.keys.iter().find(|key| key.section == section && key.name == name);
    let rows = |section: &str| {
        let keys = reader.keys.iter().filter(|key| key.section == section);
        let rows = keys.filter_map(|key| {
            let doc = reader.docs.get(&(key.section, &*key.name))?;
            let file = find(section, &format!("{}_file", key.name)).filter(|_| key.secret);
            Some(ReferenceRow { key, doc, file })
        });
        rows.collect()
    };
    reader.sections.iter().map(|doc| ReferenceSection { doc, keys: rows(doc.name) }).collect()
}

impl ReferenceRow<'_> {
    /// What is said of the key in the example.
    fn sentences(&self) -> String {
        let mut text = one_line(self.doc.about);
        if let Some(file) = self.file {
            let lines = if self.doc.kind == KeyKind::List { ": a file with one a line" } else { "" };
            let _ = write!(text, " Or {}{lines}.", file.name);
        }
        match self.doc.kind {
            KeyKind::Value | KeyKind::List => {}
            KeyKind::Optional if self.doc.sample.starts_with('[') => text.push_str(" Empty by default."),
            KeyKind::Optional | KeyKind::File | KeyKind::Instead => text.push_str(" Unset by default."),
            KeyKind::Required => text.push_str(" No default."),
        }
        text
    }

    fn names(&self) -> String {
        match self.file {
            Some(file) => format!("`{}`, `{}`", self.key.name, file.name),
            None => format!("`{}`", self.key.name),
        }
    }

    fn default(&self) -> String {
        match self.doc.kind {
            KeyKind::Value | KeyKind::List => format!("`{}`", one_line(self.doc.sample)),
            KeyKind::Optional if self.doc.sample.starts_with('[') => "`[]`".to_owned(),
            KeyKind::Optional | KeyKind::File | KeyKind::Instead => "unset".to_owned(),
            KeyKind::Required => "none".to_owned(),
        }
    }

    fn accepted(&self) -> String {
        match self.doc.kind {
            KeyKind::File => "the path of a file".to_owned(),
            _ if self.doc.sample.starts_with('[') => format!("an array, each entry {}", self.doc.accepts),
            _ => self.doc.accepts.clone(),
        }
    }
}

/// The lines of a doc comment, or of a long array, as one.
fn one_line(about: &str) -> String {
    about.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes `text` as comments of at most 120 columns.
fn comment(into: &mut String, text: &str) {
    const WIDTH: usize = 120;
    let mut line = "#".to_owned();
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(into, "{line}");
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(into, "{line}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares a page with what the tables make of it, and leaves that in `target/` when they differ.
    fn is_up_to_date(page: &str, made: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = std::fs::read_to_string(root.join(page)).unwrap_or_default();
        if found == made {
            return;
        }
        let file = Path::new("target").join(Path::new(page).file_name().unwrap());
        std::fs::write(root.join(&file), made).unwrap();
        let differs = found.lines().zip(made.lines()).position(|(found, made)| found != made);
        let at = differs.unwrap_or_else(|| found.lines().count().min(made.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
        panic!(
            "{page} is not what src/config/schema says.\nline {}: {}\nshould be: {}\nto bring it up to date: cp {} {page}",
            at + 1,
            line(&found),
            line(made),
            file.display()
        );
    }

    #[test]
    fn the_example_of_the_configuration_is_up_to_date() {
        is_up_to_date("config.example.toml", &example());
    }

    #[test]
    fn the_reference_of_the_configuration_is_up_to_date() {
        is_up_to_date("docs/configuration.md", &reference());
    }
}
