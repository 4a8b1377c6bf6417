//! What is wrong with a configuration, said so that a person can mend it: where, what, and what was meant.
//!
//! Nothing here shows a secret: the snippets come from `source`, which hides them.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub origin: Origin,
    /// The key's full name, such as `public.listen`; empty where no key is at fault.
    pub key: String,
    /// One sentence.
    pub message: String,
    /// What was probably meant, or what to do.
    pub suggestion: Option<String>,
    pub severity: Severity,
    pub(super) snippet: Option<Snippet>,
}

/// What a problem means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken. `check` and the start of the daemon warn of it.
    Warning,
    /// It is taken, and often meant so. `check` alone warns of it.
    Advice,
}

/// Where a problem stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A file, with the line and column (from 1) where they are known.
    File { path: PathBuf, at: Option<(usize, usize)> },
    /// The environment.
    Environment,
    /// The command line.
    Arguments,
    /// Nowhere: something is missing.
    Missing,
}

/// A line and the part of it that is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Snippet {
    /// Its number, in a file.
    pub(super) number: Option<usize>,
    pub(super) text: String,
    /// How many characters stand before the marked part, and how many it has.
    pub(super) mark: (usize, usize),
}

/// Everything that is wrong with a configuration; at least one thing. Its `Display` is for a person's eyes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadConfig {
    pub problems: Vec<Problem>,
}

/// More problems than this are counted, not shown.
const SHOWN: usize = 50;

impl std::error::Error for BadConfig {}

impl BadConfig {
    /// That something could not be done as the configuration says; `key` is the one at fault, or empty.
    pub fn unusable(key: &str, message: impl Into<String>) -> Self {
        let problem = Problem {
            origin: Origin::Missing,
            key: key.to_owned(),
            message: message.into(),
            suggestion: None,
            severity: Severity::Error,
            snippet: None,
        };
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: Some((line, column)) } => write!(f, "{}:{line}:{column}", path.display()),
            Self::File { path, at: None } => path.display().fmt(f),
            Self::Environment => f.write_str("the environment"),
            Self::Arguments => f.write_str("the command line"),
            Self::Missing => Ok(()),
        }
    }
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN) {
            writeln!(f, "{problem}")?;
        }
        match self.problems.len() {
            1 => f.write_str("1 problem"),
            many if many > SHOWN => write!(f, "{many} problems, of which the first {SHOWN} are shown"),
            many => write!(f, "{many} problems"),
        }
    }
}

impl Problem {
    /// Problems of the file go first, from top to bottom.
    pub(super) fn order(&self) -> (u8, Option<(usize, usize)>) {
        match &self.origin {
            Origin::File { at, .. } => (0, *at),
            Origin::Environment => (1, None),
            Origin::Arguments => (2, None),
            Origin::Missing => (3, None),
        }
    }

    /// The line of the file, if it is known.
    pub(super) fn line(&self) -> Option<usize> {
        match &self.origin {
            Origin::File { at: Some((line, _)), .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        writeln!(f, "{word}: {}", self.message)?;
        let number =
            self.snippet.as_ref().and_then(|snippet| snippet.number).map(|number| number.to_string());
        let number = number.unwrap_or_else(|| " ".to_owned());
        let margin = " ".repeat(number.len());
        match &self.origin {
            Origin::File { path, at: Some((line, column)) } => {
                writeln!(f, "{margin}--> {}:{line}:{column}", path.display())?;
            }
            Origin::File { path, at: None } => writeln!(f, "{margin}--> {}", path.display())?,
            Origin::Environment => writeln!(f, "{margin}--> the environment")?,
            Origin::Arguments => writeln!(f, "{margin}--> the command line")?,
            Origin::Missing => {}
        }
        if let Some(Snippet { text, mark: (before, width), .. }) = &self.snippet {
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {text}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(*before), "^".repeat(*width))?;
        }
        match &self.suggestion {
            Some(suggestion) => writeln!(f, "{margin} = {suggestion}"),
            None => Ok(()),
        }
    }
}
