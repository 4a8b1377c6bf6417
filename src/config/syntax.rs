//! What is wrong with a file as TOML.
//!
//! The parts of a broken file are guesswork, so a line of it is shown only where it cannot hold a secret.

use std::ops::Range;

use crate::config::location::Location;
use crate::config::problem::Severity;
use crate::config::reader::{Diagnostic, KnownKey};
use crate::config::source::SourceFile;

/// Whether the rest of the file means what it says: a key that stands twice breaks nothing else.
pub(super) fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

/// Turns `error` into a complaint, and hides in `source` what its line may give away.
pub(super) fn report(error: &toml::de::Error, source: &mut SourceFile, known: &[KnownKey]) -> Diagnostic {
    let text = source.text();
    let mut at = error.span().unwrap_or(0..0);
    if at.start >= text.len() {
        // At the end: shown behind the last line instead of below it.
        let end = text.trim_end().len();
        at = end..end;
    }
    let message = if is_duplicate(error) {
        format!("`{}` stands twice", text.get(at.clone()).unwrap_or_default())
    } else {
        let why = error.message();
        format!("this is not TOML: {}", why.strip_suffix(", expected nothing").unwrap_or(why))
    };
    if let Some(part) = doubtful(source, at.start, known) {
        source.hide(part);
    }
    Diagnostic {
        place: Location::File(at),
        key: String::new(),
        message,
        suggestion: None,
        severity: Severity::Error,
    }
}

/// The part of the line around `at` that may be a secret: all but a header or a key that is known and harmless.
fn doubtful(source: &SourceFile, at: usize, known: &[KnownKey]) -> Option<Range<usize>> {
    let start = source.line_start(at);
    let line = source.line(at);
    if is_header(line) {
        return None;
    }
    let key =
        key_of(line).filter(|name| known.iter().any(|key| key.name == *name && !key.section.is_empty()));
    let Some(name) = key else { return Some(start..start + line.len()) };
    // Another setting may stand on the same line, its line end lost, and misspelt at that.
    let another = line.matches('=').count() > 1;
    if !another && !known.iter().any(|key| key.secret && line.contains(&key.name)) {
        return None;
    }
    let shown = match line.find('=') {
        Some(sign) => line.len() - line[sign + 1..].trim_start().len(),
        None => line.find(name).map_or(0, |at| at + name.len()),
    };
    Some(start + shown..start + line.len())
}

/// `[section]` or `[[section]]`, closed or not, with nothing behind it.
fn is_header(line: &str) -> bool {
    let line = line.trim_start();
    let word = line.trim_start_matches('[');
    line.len() > word.len()
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && !word.contains(['=', '"', '\''])
}

/// The last word of the key that a line sets, or would set if it had a `=`.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let key = line.split_once('=').map(|(key, _)| key).or_else(|| line.split_ascii_whitespace().next())?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | ' ' | '\t');
    let name = key.rsplit('.').next()?.trim().trim_matches(['"', '\'']);
    (!name.is_empty() && key.chars().all(plain)).then_some(name)
}
