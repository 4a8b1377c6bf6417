//! What an application is made of, by the files that its tools read.

use std::io::Read as _;
use std::path::Path;

/// What is known of an application's framework.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ecosystem {
    /// As people call it.
    pub(super) name: &'static str,
    /// The file that says so.
    pub(super) file: &'static str,
    /// Where it listens while it is developed, unless told otherwise.
    pub(super) port: u16,
    /// The page of docs/frameworks.
    pub(super) page: Option<&'static str>,
}

/// A file, the words in it that tell, and what they tell. A row without a word is for every such file. In the order in
/// which they are looked for: a Rails or a Laravel application has a package.json as well.
const KNOWN: &[(&str, &str, &str, u16, Option<&str>)] = &[
    ("composer.json", "\"laravel/framework\"", "Laravel", 8000, Some("php")),
    ("composer.json", "\"symfony/framework-bundle\"", "Symfony", 8000, Some("php")),
    ("composer.json", "", "PHP", 8000, Some("php")),
    ("Gemfile", "rails", "Rails", 3000, Some("rails")),
    ("Gemfile", "sinatra", "Sinatra", 4567, Some("rails")),
    ("Gemfile", "", "Ruby", 3000, Some("rails")),
    ("manage.py", "", "Django", 8000, Some("django")),
    ("requirements.txt", "django", "Django", 8000, Some("django")),
    ("requirements.txt", "fastapi", "FastAPI", 8000, Some("fastapi")),
    ("requirements.txt", "flask", "Flask", 5000, Some("flask")),
    ("requirements.txt", "", "Python", 8000, None),
    ("pyproject.toml", "django", "Django", 8000, Some("django")),
    ("pyproject.toml", "fastapi", "FastAPI", 8000, Some("fastapi")),
    ("pyproject.toml", "flask", "Flask", 5000, Some("flask")),
    ("pyproject.toml", "", "Python", 8000, None),
    ("Pipfile", "django", "Django", 8000, Some("django")),
    ("Pipfile", "flask", "Flask", 5000, Some("flask")),
    ("Pipfile", "", "Python", 8000, None),
    ("go.mod", "", "Go", 8080, Some("go")),
    ("package.json", "\"@nestjs/core\"", "NestJS", 3000, Some("nestjs")),
    ("package.json", "\"next\"", "Next.js", 3000, Some("nextjs")),
    ("package.json", "\"express\"", "Express", 3000, Some("express")),
    ("package.json", "\"fastify\"", "Fastify", 3000, None),
    ("package.json", "", "Node", 3000, None),
];

/// How much is read of such a file.
const MAX: u64 = 1 << 20;

impl Ecosystem {
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let read = |file: &str| {
            let mut text = String::new();
            std::fs::File::open(folder.join(file)).ok()?.take(MAX).read_to_string(&mut text).ok()?;
            Some(text.to_lowercase())
        };
        let mut last: Option<(&str, Option<String>)> = None;
        KNOWN.iter().find_map(|&(file, word, name, port, page)| {
            // Rows of one file stand together.
            if last.as_ref().is_none_or(|(known, _)| *known != file) {
                last = Some((file, read(file)));
            }
            let text = last.as_ref().and_then(|(_, text)| text.as_ref())?;
            text.contains(word).then_some(Self { name, file, port, page })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_known_by_its_files() {
        for (files, name) in [
            (&[("package.json", "{\"dependencies\": {\"express\": \"5\"}}")][..], Some("Express")),
            (&[("package.json", "{\"dependencies\": {\"next\": \"16\"}}")], Some("Next.js")),
            (&[("package.json", "{}")], Some("Node")),
            (&[("requirements.txt", "Flask==3\n")], Some("Flask")),
            (&[("requirements.txt", "requests\n"), ("manage.py", "")], Some("Django")),
            (&[("pyproject.toml", "dependencies = [\"fastapi\"]")], Some("FastAPI")),
            (
                &[
                    ("composer.json", "{\"require\": {\"laravel/framework\": \"^12\"}}"),
                    ("package.json", "{}"),
                ],
                Some("Laravel"),
            ),
            (&[("Gemfile", "gem \"rails\"\n"), ("package.json", "{}")], Some("Rails")),
            (&[("go.mod", "module x\n")], Some("Go")),
            (&[], None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (file, text) in files {
                std::fs::write(folder.path().join(file), text).unwrap();
            }
            assert_eq!(Ecosystem::of(folder.path()).map(|found| found.name), name, "{files:?}");
        }
    }
}
