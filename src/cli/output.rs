//! What commands print. Nothing here panics, also when nobody reads any more, and what comes from elsewhere reaches a
//! terminal without its control characters.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Prints a result on standard output. A reader that has gone (`| head`) has what it wanted: that is success. Any other
/// failure (a full disk) is printed, and the exit code says so.
pub(super) fn print(text: impl Display) -> ExitCode {
    let text = text.to_string();
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Says something on standard error, if anybody reads it.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "sidestream: {}", plain(&text.to_string()));
}

/// Says on standard error, in lines of their own, what is wrong with a file.
pub(super) fn note_lines(text: impl Display) {
    let text = text.to_string();
    let lines: Vec<_> = text.lines().map(plain).collect();
    let _ = writeln!(io::stderr().lock(), "{}", lines.join("\n"));
}

/// Says an error and its causes on standard error, in one line.
pub(super) fn fail(error: &dyn std::error::Error) -> ExitCode {
    note(chain(error));
    ExitCode::FAILURE
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// `text` with every character written out that a terminal could obey: controls but the tab, line and paragraph
/// separators, and those that turn the direction of writing.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_harmless(char) {
            plain.push(char);
        } else {
            plain.extend(char.escape_default());
        }
    }
    plain.into()
}

/// A line of JSON with the same characters as JSON's own escapes, so that it says the same.
pub(super) fn plain_json(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_harmless) {
        return line.into();
    }
    let mut plain = String::with_capacity(line.len() + 16);
    for char in line.chars() {
        if is_harmless(char) {
            plain.push(char);
        } else {
            let _ = write!(plain, "\\u{:04x}", u32::from(char));
        }
    }
    plain.into()
}

fn is_harmless(char: char) -> bool {
    match char {
        '\t' => true,
        '\u{2028}'
        | '\u{2029}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => false,
        _ => !char.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_character() {
        assert_eq!(plain("a\tb grün ☂"), "a\tb grün ☂");
        assert_eq!(plain("\u{1b}[31m\u{9b}1m\u{7f}\r\n"), "\\u{1b}[31m\\u{9b}1m\\u{7f}\\r\\n");
        assert_eq!(plain("abc\u{202e}fed"), "abc\\u{202e}fed");
    }

    #[test]
    fn a_line_of_json_says_the_same_without_them() {
        let line = serde_json::to_string("a\u{7f}\u{9b}\u{2028}\u{202e}b").unwrap();
        let plain = plain_json(&line);
        assert_eq!(plain, r#""a\u007f\u009b\u2028\u202eb""#);
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), "a\u{7f}\u{9b}\u{2028}\u{202e}b");
    }
}
