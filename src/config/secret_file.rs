//! Secrets: given as they are, or by the name of a file that holds them (`<key>_file`, `SIDESTREAM_…_FILE`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::asked_key::AskedKey;
use crate::config::key_spec::KeySpec;
use crate::config::location::Location;
use crate::config::parsers::Parse;
use crate::config::raw::{RawValue, Rejection};
use crate::config::reader::{KeyKind, join};
use crate::config::section_reader::{SectionReader, subject};

/// A secret's file is read up to here.
const MAX: u64 = 64 << 10;

/// A secret, and whether it stands in a file of its own.
struct Found<'a> {
    raw: RawValue<'a>,
    place: Location,
    in_file: bool,
}

impl<'a> SectionReader<'_, 'a> {
    /// A secret, or the content of its file without a line end.
    pub(super) fn secret<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Option<T> {
        self.document(key, KeyKind::Optional, &parser);
        self.get_secret(key.name, &parser)
    }

    /// A secret, or `stand_in` where there is none.
    pub(super) fn secret_or<T>(&mut self, key: KeySpec, stand_in: T, parser: impl Parse<T>) -> T {
        self.document(key, KeyKind::Required, &parser);
        self.get_secret(key.name, &parser).unwrap_or(stand_in)
    }

    /// A secret that says in another way what the key before says.
    pub(super) fn instead_secret<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Option<T> {
        self.document(key, KeyKind::Instead, &parser);
        self.get_secret(key.name, &parser)
    }

    /// A secret that has to be given: `lack` says what to do without it.
    pub(super) fn required_secret<T>(
        &mut self,
        key: KeySpec,
        lack: &str,
        stand_in: T,
        parser: impl Parse<T>,
    ) -> T {
        self.document(key, KeyKind::Required, &parser);
        let value = self.get_secret(key.name, &parser);
        let file_key = format!("{}_file", key.name);
        self.or_lacks(value, &[key.name, &file_key], lack, stand_in)
    }

    /// The secrets of an array, or one a line in its file.
    pub(super) fn secrets<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Vec<T> {
        self.document(key, KeyKind::List, &parser);
        let Some(Found { raw, place, in_file }) = self.find_secret(key.name) else { return Vec::new() };
        let values = match raw {
            RawValue::Text(text) if in_file => {
                let lines =
                    text.lines().map(|line| (RawValue::Text(line.to_owned()), place.clone())).collect();
                let subject = format!("line {{}} of {}", content_of(key.name, &place));
                self.each_entry(key.name, &subject, lines, place, &parser)
            }
            raw => self.entries(key.name, raw, place, &parser),
        };
        values.unwrap_or_default()
    }

    /// The content of the file that a key names.
    pub(super) fn file<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Option<T> {
        self.document(key, KeyKind::File, &parser);
        let (raw, place) = self.find(key.name, false)?;
        let Found { raw, place, .. } = self.open(key.name, key.name, raw, place)?;
        let subject = format!("the file of {}", subject(key.name, &place));
        self.judge(key.name, &subject, place, parser.parse(&raw))
    }

    fn get_secret<T>(&mut self, key: &'static str, parser: &impl Parse<T>) -> Option<T> {
        let Found { raw, place, in_file } = self.find_secret(key)?;
        let subject = if in_file { content_of(key, &place) } else { subject(key, &place) };
        self.judge(key, &subject, place, parser.parse(&raw))
    }

    fn find_secret(&mut self, key: &'static str) -> Option<Found<'a>> {
        let file_key = format!("{key}_file");
        let direct = self.find(key, true);
        let by_file = self.find(&file_key, false);
        let from_variable = |place: &Location| matches!(place, Location::Variable(_));
        match (direct, by_file) {
            (None, None) => None,
            (Some((raw, place)), None) => Some(Found { raw, place, in_file: false }),
            (None, Some((raw, place))) => self.open(key, &file_key, raw, place),
            // As everywhere the environment goes before the file.
            (Some((raw, place)), Some((_, file))) if from_variable(&place) && !from_variable(&file) => {
                Some(Found { raw, place, in_file: false })
            }
            (Some((_, place)), Some((raw, file))) if from_variable(&file) && !from_variable(&place) => {
                self.open(key, &file_key, raw, file)
            }
            (Some((_, place)), Some((_, file))) => {
                let both = format!("{} is given too: only one of the two can be", subject(key, &place));
                self.judge(
                    key,
                    &format!("{} is given, but", subject(&file_key, &file)),
                    file,
                    Err(both.into()),
                )
            }
        }
    }

    /// The file that the value of `key` was taken from.
    pub(super) fn file_of(&self, key: &str) -> Option<PathBuf> {
        self.reader.secret_files.get(&join(&self.full, key)).cloned()
    }

    /// The path that a value is: from the file's own folder, where it stands in the file.
    pub(super) fn path(&self, raw: &RawValue<'_>, place: &Location) -> Result<PathBuf, Rejection> {
        let name = raw.text("the path of a file")?;
        Ok(match place {
            Location::File(_) => self.reader.folder.join(name),
            _ => Path::new(name).to_owned(),
        })
    }

    fn open(&mut self, key: &str, file_key: &str, raw: RawValue<'_>, place: Location) -> Option<Found<'a>> {
        let content = self.path(&raw, &place).and_then(|path| read(&path).map(|text| (path, text)));
        let subject = subject(file_key, &place);
        let (path, text) = self.judge(key, &subject, place.clone(), content)?;
        AskedKey::note_content(&mut self.reader.asked, &self.full, file_key, &text);
        self.reader.secret_files.insert(join(&self.full, key), path);
        Some(Found { raw: RawValue::Text(text), place, in_file: true })
    }
}

fn content_of(key: &str, place: &Location) -> String {
    format!("the file of {}", subject(&format!("{key}_file"), place))
}

/// The content of a secret's file without a last line end.
pub(super) fn read(path: &Path) -> Result<String, Rejection> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes))
        .map_err(|why| format!("names a file that cannot be read: {why}"))?;
    if bytes.len() as u64 > MAX {
        return Err("names a file that is too large for a secret (64KiB at most)".into());
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8")?;
    // Some editors begin a file with a byte order mark, which would be part of the secret.
    if let Some(rest) = text.strip_prefix('\u{feff}') {
        text = rest.to_owned();
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
