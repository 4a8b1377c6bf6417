//! From a file and the environment to a [`Config`], or to everything that is wrong with them.
//!
//! Secrets are in no message and no snippet, not even those of a file that is broken.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use crate::config::environment::{CommandLine, DOCUMENT, Environment, Variable};
use crate::config::in_force::{SettingInForce, in_force};
use crate::config::location::Location;
use crate::config::problem::{BadConfig, Origin, Problem, Severity, Snippet};
use crate::config::reader::{Diagnostic, Reader};
use crate::config::reading::{Findings, keys_of, read_all};
use crate::config::schema::Config;
use crate::config::section_reader::SectionReader;
use crate::config::source::{SourceFile, show};
use crate::config::syntax;

/// A configuration file is read up to here.
const MAX: u64 = 1 << 20;

/// A configuration, and what is legal in it and probably wrong.
#[derive(Debug)]
pub struct CheckedConfig {
    pub config: Config,
    pub warnings: Vec<Problem>,
    /// Every key that holds, to be shown.
    pub in_force: Vec<SettingInForce>,
}

impl CheckedConfig {
    /// Whether the public listener is where the variable `PORT` says.
    pub fn listens_at_port(&self) -> bool {
        self.in_force.iter().any(|setting| setting.platform)
    }
}

impl Config {
    /// Reads the configuration: `backend` (as the command line says it) goes before the variables `SIDESTREAM_…` of
    /// `environment`, they before the file at `path` (or the text of one in `SIDESTREAM_CONFIG`), and that before the
    /// defaults. All that is wrong is reported at once.
    ///
    /// Of the environment our own variables are looked at, and those that the file names: give it
    /// [`std::env::vars_os`].
    pub fn load<N: Into<OsString>, V: Into<OsString>>(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (N, V)>,
        backend: Option<&str>,
    ) -> Result<Self, BadConfig> {
        let line = CommandLine { backend: backend.map(str::to_owned), ..CommandLine::default() };
        Self::load_with(path, environment, &line, Self::read).map(|loaded| loaded.config)
    }

    /// As [`load`](Self::load), for a daemon that is to serve: warnings come along, and verifiers that no stream uses
    /// are an error, because its streams would be open to anyone.
    pub fn load_to_serve<N: Into<OsString>, V: Into<OsString>>(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (N, V)>,
        line: &CommandLine,
    ) -> Result<CheckedConfig, BadConfig> {
        Self::load_with(path, environment, line, Self::read_to_serve)
    }

    /// What can be read of the configuration, with the defaults in place of what is wrong in it: for a look at a daemon
    /// that runs already, which a mistake in its file does not end. An error is a file that cannot be read at all.
    pub fn load_what_is_sound<N: Into<OsString>, V: Into<OsString>>(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, BadConfig> {
        let environment = Environment::new(environment);
        let text = match path {
            Some(path) => read(path)?,
            None => match environment.document() {
                Variable::Text(text) => text,
                Variable::Unset | Variable::NotUtf8 => String::new(),
            },
        };
        let (table, _) = DeTable::parse_recoverable(&text);
        let reader = Reader::new(environment, path.and_then(Path::parent));
        Ok(read_all(reader, Some(table.get_ref()), Self::read, &[]).value)
    }

    fn load_with<N: Into<OsString>, V: Into<OsString>>(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (N, V)>,
        line: &CommandLine,
        read_config: fn(&mut SectionReader<'_, '_>) -> Config,
    ) -> Result<CheckedConfig, BadConfig> {
        let environment = Environment::new(environment).under(line);
        match path.map(|path| (path, read(path))) {
            None => match environment.document() {
                Variable::Unset => from_environment(environment, read_config),
                Variable::Text(text) => from_file(Path::new(DOCUMENT), text, environment, read_config),
                Variable::NotUtf8 => {
                    Err(unreadable(Path::new(DOCUMENT), "the configuration is not UTF-8".to_owned()))
                }
            },
            Some((path, Ok(text))) => from_file(path, text, environment, read_config),
            Some((_, Err(bad))) => Err(bad),
        }
    }
}

fn from_environment(
    environment: Environment,
    read_config: fn(&mut SectionReader<'_, '_>) -> Config,
) -> Result<CheckedConfig, BadConfig> {
    let known = keys_of(Config::read);
    let reader = Reader::new(environment, None);
    settle(read_all(reader, None, read_config, &known), None, Vec::new())
}

fn from_file(
    path: &Path,
    text: String,
    environment: Environment,
    read_config: fn(&mut SectionReader<'_, '_>) -> Config,
) -> Result<CheckedConfig, BadConfig> {
    let known = keys_of(Config::read);
    let mut source = SourceFile::new(path.to_owned(), text.clone());
    let (table, errors) = DeTable::parse_recoverable(&text);
    let broken: Vec<Diagnostic> =
        errors.iter().map(|error| syntax::report(error, &mut source, &known)).collect();
    if errors.iter().all(syntax::is_duplicate) {
        let reader = Reader::new(environment, path.parent());
        let outcome = read_all(reader, Some(table.get_ref()), read_config, &known);
        return settle(outcome, Some(source), broken);
    }
    // What a broken file means is a guess, so that only its syntax is reported, once a line.
    let mut problems: Vec<Problem> = broken.into_iter().map(|complaint| complaint.in_file(&source)).collect();
    problems.sort_by_key(Problem::order);
    problems.dedup_by_key(|problem| problem.line());
    Err(BadConfig { problems })
}

/// The value of a reading, or what it complained of, from the top of the file to its end, then the rest.
fn settle(
    outcome: Findings<Config>,
    source: Option<SourceFile>,
    mut diagnostics: Vec<Diagnostic>,
) -> Result<CheckedConfig, BadConfig> {
    diagnostics.extend(outcome.diagnostics);
    let broken = diagnostics.iter().any(|complaint| complaint.severity == Severity::Error);
    if broken {
        // Warnings are for a configuration that is taken.
        diagnostics.retain(|complaint| complaint.severity == Severity::Error);
    }
    let mut source = source.unwrap_or_default();
    outcome.hidden.parts.into_iter().for_each(|part| source.hide(part));
    let problem = |complaint: Diagnostic| match &complaint.place {
        Location::File(_) => complaint.in_file(&source),
        Location::Variable(name) => {
            let seen = !outcome.hidden.variables.contains(name);
            let snippet = seen.then(|| assignment(&format!("{name}="), outcome.environment.peek(name)));
            complaint.elsewhere(Origin::Environment, snippet)
        }
        Location::Argument(option, variable) => {
            let seen = !outcome.hidden.variables.contains(variable);
            let value = outcome.environment.peek(variable);
            let snippet = seen.then(|| assignment(&format!("{option} "), value));
            complaint.elsewhere(Origin::Arguments, snippet)
        }
        Location::Missing => complaint.elsewhere(Origin::Missing, None),
    };
    let mut problems: Vec<Problem> = diagnostics.into_iter().map(problem).collect();
    problems.sort_by_key(Problem::order);
    if broken {
        Err(BadConfig { problems })
    } else {
        let in_force = in_force(outcome.asked);
        Ok(CheckedConfig { config: outcome.value, warnings: problems, in_force })
    }
}

impl Diagnostic {
    fn in_file(self, source: &SourceFile) -> Problem {
        let Location::File(at) = &self.place else { return self.elsewhere(Origin::Missing, None) };
        let (origin, snippet) = (source.origin(at), source.snippet(at));
        self.elsewhere(origin, Some(snippet))
    }

    fn elsewhere(self, origin: Origin, snippet: Option<Snippet>) -> Problem {
        let Self { key, message, suggestion, severity, .. } = self;
        Problem { origin, key, message, suggestion, severity, snippet }
    }
}

/// The snippet of a value outside of any file.
fn assignment(before: &str, value: &str) -> Snippet {
    let line = format!("{before}{value}");
    show(&line, None, &(before.len()..line.len()), |_| false)
}

/// A file of which nothing can be read.
fn unreadable(path: &Path, message: String) -> BadConfig {
    let (origin, severity) = (Origin::File { path: path.to_owned(), at: None }, Severity::Error);
    let key = String::new();
    BadConfig { problems: vec![Problem { origin, key, message, suggestion: None, severity, snippet: None }] }
}

fn read(path: &Path) -> Result<String, BadConfig> {
    let bad = |message: String| unreadable(path, message);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes))
        .map_err(|why| bad(format!("the configuration cannot be read: {why}")))?;
    if bytes.len() as u64 > MAX {
        return Err(bad("the configuration is larger than 1MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|why| {
        let line = why.as_bytes()[..why.utf8_error().valid_up_to()].split(|&b| b == b'\n').count();
        bad(format!("the configuration is not UTF-8 on line {line}"))
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
