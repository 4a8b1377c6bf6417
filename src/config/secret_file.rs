//! Secrets: given as they are, or by the name of a file that holds them (`<key>_file`, `SIDESTREAM_…_FILE`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::raw::{Raw, Refusal};
use crate::config::reader::Place;
use crate::config::section::{Section, subject};

/// A secret's file is read up to here.
const MAX: u64 = 64 << 10;

/// A secret, and whether it stands in a file of its own.
struct Found<'a> {
    raw: Raw<'a>,
    place: Place,
    in_file: bool,
}

impl<'a> Section<'_, 'a> {
    /// The secret `key`, or the content of its file without a line end.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let Found { raw, place, in_file } = self.find_secret(key)?;
        let subject = if in_file { content_of(key, &place) } else { subject(key, &place) };
        self.judge(key, &subject, place, form(&raw))
    }

    /// The secrets in the array `key`, or one a line in its file.
    pub(super) fn secrets<T>(
        &mut self,
        key: &'static str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let Found { raw, place, in_file } = self.find_secret(key)?;
        match raw {
            Raw::Text(text) if in_file => {
                let lines = text.lines().map(|line| (Raw::Text(line.to_owned()), place.clone())).collect();
                let subject = format!("line {{}} of {}", content_of(key, &place));
                self.each_entry(key, &subject, lines, place, form)
            }
            raw => self.entries(key, raw, place, form),
        }
    }

    /// The content of the file that `key` names.
    pub(super) fn file<T>(
        &mut self,
        key: &'static str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let (raw, place) = self.find(key, false)?;
        let Found { raw, place, .. } = self.open(key, key, raw, place)?;
        let subject = format!("the file of {}", subject(key, &place));
        self.judge(key, &subject, place, form(&raw))
    }

    fn find_secret(&mut self, key: &'static str) -> Option<Found<'a>> {
        let file_key = format!("{key}_file");
        let direct = self.find(key, true);
        let by_file = self.find(&file_key, false);
        let from_variable = |place: &Place| matches!(place, Place::Variable(_));
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

    fn open(&mut self, key: &str, file_key: &str, raw: Raw<'_>, place: Place) -> Option<Found<'a>> {
        let content = raw.text("the path of a file").and_then(|name| {
            let path = match place {
                Place::File(_) => self.reader.folder.join(name),
                _ => Path::new(name).to_owned(),
            };
            read(&path)
        });
        let subject = subject(file_key, &place);
        let text = self.judge(key, &subject, place.clone(), content)?;
        Some(Found { raw: Raw::Text(text), place, in_file: true })
    }
}

fn content_of(key: &str, place: &Place) -> String {
    format!("the file of {}", subject(&format!("{key}_file"), place))
}

/// The content of a secret's file without a last line end.
fn read(path: &Path) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX + 1).read_to_end(&mut bytes))
        .map_err(|why| format!("names a file that cannot be read: {why}"))?;
    if bytes.len() as u64 > MAX {
        return Err("names a file that is too large for a secret (64KiB at most)".into());
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "names a file that is not UTF-8")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
