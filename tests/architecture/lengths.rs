//! How long files and functions are.

use crate::sources::{Files, sources, word};

/// The most lines of a file, of the file in the middle, of nine files in ten, and of a function.
const LONGEST_FILE: usize = 450;
const MEDIAN_FILE: usize = 150;
const NINE_FILES_IN_TEN: usize = 370;
const LONGEST_FUNCTION: usize = 80;

/// The functions of a formatted source text: the line that each begins in, its name, and how many lines it has.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let qualifiers = code.split(' ').take_while(|word| *word != "fn").all(|word| {
            matches!(word, "const" | "async" | "unsafe" | "pub" | "extern" | "\"C\"") || word.ends_with(')')
        });
        let Some((_, rest)) = code.split_once("fn ").filter(|_| qualifiers) else { continue };
        // In a formatted text, what ends a function stands below its first letter; one without a body ends in `;`.
        let ends = |line: &&str| {
            line.strip_prefix(indent).is_some_and(|line| line.starts_with('}') || line.starts_with(") ->"))
                && (line.trim_end().ends_with('}') || line.ends_with(';'))
        };
        let length = match line.chars().last() {
            Some('}' | ';') => 1,
            _ => 2 + lines[begin + 1..].iter().take_while(|line| !ends(line)).count(),
        };
        functions.push((begin + 1, word(rest), length));
    }
    functions
}

/// Functions that are too long, by `file:line`.
fn long_functions(files: &Files) -> Vec<String> {
    let mut long = Vec::new();
    for (path, text) in files {
        let too_long = functions(text).into_iter().filter(|(_, _, length)| *length > LONGEST_FUNCTION);
        long.extend(
            too_long.map(|(line, name, length)| {
                format!("{}:{line}: `{name}` has {length} lines", path.display())
            }),
        );
    }
    long
}

#[test]
fn functions_and_files_are_short() {
    let files = sources();
    let long = long_functions(&files);
    assert!(long.is_empty(), "{}", long.join("\n"));
    let mut lengths: Vec<_> = files.iter().map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort_unstable();
    let (longest, path) = lengths[lengths.len() - 1];
    assert!(longest <= LONGEST_FILE, "{} has {longest} lines", path.display());
    assert!(lengths[lengths.len() / 2].0 <= MEDIAN_FILE, "the median is {:?}", lengths[lengths.len() / 2]);
    let ninth = lengths[lengths.len() * 9 / 10];
    assert!(ninth.0 <= NINE_FILES_IN_TEN, "one file in ten has more than {} lines", ninth.0);
}

#[test]
fn the_length_of_a_function_is_from_its_first_line_to_its_last() {
    let text = "impl A {\n    pub(super) async fn a(\n        b: u8,\n    ) -> u8\n    where\n        B: C,\n    {\n        f(\n            b,\n        )\n    }\n\n    fn c() {}\n    fn d(\n        e: u8,\n    ) -> u8;\n}\n// fn x() {\n";
    let expected = [(2, "a".to_owned(), 10), (13, "c".to_owned(), 1), (14, "d".to_owned(), 3)];
    assert_eq!(functions(text), expected);
    let mut files = sources();
    files.insert(
        "planted.rs".into(),
        format!("fn long() {{\n{}}}\n", "    f();\n".repeat(LONGEST_FUNCTION - 1)),
    );
    assert_eq!(long_functions(&files), [format!("planted.rs:1: `long` has {} lines", LONGEST_FUNCTION + 1)]);
}

/// The most columns of a line of a comment, which rustfmt leaves as it is. A table is as wide as it is.
const LONGEST_COMMENT: usize = 120;

/// Comments that are too wide, by `file:line`.
fn wide_comments(files: &Files) -> Vec<String> {
    let mut wide = Vec::new();
    for (path, text) in files {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| {
            let is_comment = line.trim_start().starts_with("//") && !line.contains("| ");
            is_comment && line.chars().count() > LONGEST_COMMENT
        });
        wide.extend(lines.map(|(number, _)| format!("{}:{number}", path.display())));
    }
    wide
}

#[test]
fn comments_are_as_wide_as_a_page() {
    let wide = wide_comments(&sources());
    assert!(wide.is_empty(), "more than {LONGEST_COMMENT} columns:\n{}", wide.join("\n"));
    let planted = |columns: usize| format!("    /// {}\n", "x".repeat(columns - 8));
    let files = |text: String| [("planted.rs".into(), text)].into();
    assert_eq!(wide_comments(&files(planted(LONGEST_COMMENT + 1))), ["planted.rs:1"]);
    assert!(wide_comments(&files(planted(LONGEST_COMMENT))).is_empty());
}
