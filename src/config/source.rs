//! The text of a configuration file, and the lines of it that a problem shows.
//!
//! Invariant: what was hidden is in no snippet.

use std::ops::Range;
use std::path::PathBuf;

use crate::config::problem::{Origin, Snippet};

/// A file's text with the parts that nobody may see.
#[derive(Default)]
pub(super) struct SourceFile {
    path: PathBuf,
    text: String,
    hidden: Vec<Range<usize>>,
}

/// A snippet shows about so many characters of a line.
const WIDTH: usize = 100;

impl SourceFile {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        Self { path, text, hidden: Vec::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// No snippet will show these bytes of the text.
    pub(super) fn hide(&mut self, part: Range<usize>) {
        self.hidden.push(part);
    }

    /// Where `part` of the text begins, for a person: its file, line and column.
    pub(super) fn origin(&self, part: &Range<usize>) -> Origin {
        let start = self.line_start(part.start);
        let line = self.text[..start].matches('\n').count() + 1;
        let column = self.text[start..self.boundary(part.start)].chars().count() + 1;
        Origin::File { path: self.path.clone(), at: Some((line, column)) }
    }

    /// The first line of `part`, with `part` marked.
    pub(super) fn snippet(&self, part: &Range<usize>) -> Snippet {
        let start = self.line_start(part.start);
        let line = self.line(part.start);
        let mut hidden: Vec<_> =
            self.hidden.iter().filter(|hidden| hidden.start < start + line.len()).collect();
        hidden.sort_by_key(|hidden| hidden.start);
        let number = self.text[..start].matches('\n').count() + 1;
        show(line, Some(number), &(part.start - start..part.end.saturating_sub(start)), |at| {
            hidden.iter().any(|hidden| hidden.contains(&(start + at)))
        })
    }

    /// The line that holds the byte at `at`, without its end.
    pub(super) fn line(&self, at: usize) -> &str {
        let rest = &self.text[self.line_start(at)..];
        rest.split('\n').next().unwrap_or(rest).trim_end_matches('\r')
    }

    /// Where the line that holds the byte at `at` starts.
    pub(super) fn line_start(&self, at: usize) -> usize {
        self.text[..self.boundary(at)].rfind('\n').map_or(0, |end| end + 1)
    }

    /// The end of the text or the start of a character, at or before `at`.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
    }
}

/// The snippet of one line: `mark` are bytes of it; bytes that `hidden` says yes to become one `…` each run.
pub(super) fn show(
    line: &str,
    number: Option<usize>,
    mark: &Range<usize>,
    hidden: impl Fn(usize) -> bool,
) -> Snippet {
    let mut shown: Vec<char> = Vec::new();
    let (mut before, mut width) = (None, 0);
    let mut run = false;
    let credentials = credentials(line);
    for (at, letter) in line.char_indices() {
        let hide = hidden(at) || credentials.iter().any(|part| part.contains(&at));
        let letter = match letter {
            _ if hide && run => continue,
            _ if hide => '…',
            '\t' => ' ',
            letter if letter.is_control() => '\u{fffd}',
            letter => letter,
        };
        run = hide;
        if at >= mark.start && before.is_none() {
            before = Some(shown.len());
        }
        if mark.contains(&at) {
            width += 1;
        }
        shown.push(letter);
    }
    let mut before = before.unwrap_or(shown.len());
    let mut width = width.max(1);
    // Of a long line the part around the mark.
    if shown.len() > WIDTH {
        let from = before.saturating_sub(WIDTH / 2).min(shown.len() - WIDTH);
        let to = from + WIDTH;
        if to < shown.len() {
            shown.truncate(to);
            shown.push('…');
        }
        shown.drain(..from);
        before -= from;
        width = width.min(WIDTH.saturating_sub(before)).max(1);
        if from > 0 {
            shown.insert(0, '…');
            before += 1;
        }
    }
    let text: String = shown.into_iter().collect();
    Snippet { number, text: text.trim_end().to_owned(), mark: (before, width) }
}

/// `text` without what stands before an `@` and without the queries of URLs.
pub(super) fn without_credentials(text: &str) -> String {
    let hidden = credentials(text);
    let mut shown = String::with_capacity(text.len());
    let mut run = false;
    for (at, letter) in text.char_indices() {
        let hide = hidden.iter().any(|part| part.contains(&at));
        if !hide {
            shown.push(letter);
        } else if !run {
            shown.push('…');
        }
        run = hide;
    }
    shown
}

/// What stands before an `@`, as in `http://user:password@host`, and what a URL has behind its path, which often holds
/// a key, wherever they were written.
fn credentials(line: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for word in line.split_inclusive(['"', '\'', ' ', '\t', ',']) {
        if let Some(at) = word.rfind('@') {
            let before =
                word.find("://").map(|scheme| scheme + 3).or_else(|| word.find('=').map(|sign| sign + 1));
            parts.push(start + before.filter(|&before| before < at).unwrap_or(0)..start + at);
        }
        start += word.len();
    }
    // A URL that is spelt wrongly may hold anything, up to its quote.
    for (scheme, _) in line.match_indices("://") {
        let rest = &line[scheme..];
        let url = &rest[..rest.find(['"', '\'']).unwrap_or(rest.len())];
        if let Some(path) = url.find(['?', '#']) {
            parts.push(scheme + path + 1..scheme + url.len());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> SourceFile {
        SourceFile::new(PathBuf::from("a.toml"), text.to_owned())
    }

    fn at(source: &SourceFile, part: Range<usize>) -> (usize, usize) {
        match source.origin(&part) {
            Origin::File { at: Some(at), .. } => at,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let source = source("a = 1\r\nbü = 2\n");
        assert_eq!(at(&source, 0..1), (1, 1));
        assert_eq!(at(&source, 7..8), (2, 1));
        assert_eq!(at(&source, 13..14), (2, 6));
        assert_eq!(at(&source, 15..15), (3, 1));
        assert_eq!(at(&source, 99..99), (3, 1));
        assert_eq!(source.snippet(&(13..14)).text, "bü = 2");
        assert_eq!(source.snippet(&(13..14)).mark, (5, 1));
        assert_eq!(source.snippet(&(0..1)).text, "a = 1");
    }

    #[test]
    fn what_is_hidden_is_not_shown() {
        let mut source = source("url = \"redis://:pw@h\" # x\nkeys = [\n  \"one\",\n]\n");
        source.hide(6..21);
        source.hide(33..47);
        assert_eq!(source.snippet(&(0..3)).text, "url = … # x");
        let marked = source.snippet(&(6..21));
        assert_eq!((marked.text.as_str(), marked.mark), ("url = … # x", (6, 1)));
        assert_eq!(source.snippet(&(33..47)).text, "keys = …");
        assert_eq!(source.snippet(&(37..42)).text, "…");
    }

    #[test]
    fn credentials_are_hidden_wherever_they_stand() {
        let shown = |line: &str| show(line, None, &(0..1), |_| false).text;
        assert_eq!(shown("backend = \"http://u:p@h:80\", \"a\""), "backend = \"http://…@h:80\", \"a\"");
        assert_eq!(shown("X=http://u:p=q@r@h"), "X=http://…@h");
        assert_eq!(shown("X=u:p@h"), "X=…@h");
        assert_eq!(shown("a = \"u:p@h\""), "a = \"…@h\"");
        assert_eq!(shown("@ é@"), "@ …@");
        assert_eq!(shown("a = \"ftp://h/k?key=s3cret&b\", \"c\""), "a = \"ftp://h/k?…\", \"c\"");
        assert_eq!(shown("a = \"ftp://h/k?key=a,s3cret b\" # c"), "a = \"ftp://h/k?…\" # c");
        assert_eq!(shown("A=ftp://h/k#s3cret b"), "A=ftp://h/k#…");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark_and_cannot_steer_a_terminal() {
        let source = source(&format!("a = \"{}\u{1b}[2J\" # {}", "é".repeat(300), "x".repeat(300)));
        let escape = source.text().find('\u{1b}').unwrap();
        let snippet = source.snippet(&(escape..escape + 1));
        assert!(snippet.text.chars().count() <= WIDTH + 2);
        assert_eq!(snippet.text.chars().nth(snippet.mark.0), Some('\u{fffd}'));
    }
}
