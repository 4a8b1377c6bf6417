//! The state of one reading: what has been asked for, where each value came from, and what is wrong.
//!
//! Invariant: every key that is asked for is known, so that what is left over at the end is unknown; and nothing stops
//! at the first problem. Which keys there are stands in `schema`, what they may hold in `parsers`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use crate::config::asked_key::AskedKey;
use crate::config::environment::{Environment, PREFIX};
use crate::config::location::Location;
use crate::config::problem::Severity;
use crate::suggest::nearest;

/// The state of one reading.
pub(super) struct Reader {
    pub(super) environment: Environment,
    /// Paths in the file are relative to this folder.
    pub(super) folder: PathBuf,
    /// Nothing is read: only the known keys are gathered.
    pub(super) dry: bool,
    pub(super) keys: Vec<KnownKey>,
    /// Where the value of a key, by its full name, came from; None = it was refused.
    pub(super) places: BTreeMap<String, Option<Location>>,
    /// The files of their own that values came from, by the full name of their key.
    pub(super) secret_files: BTreeMap<String, PathBuf>,
    /// What the reference says of sections, in order, and of keys.
    pub(super) sections: Vec<SectionDoc>,
    pub(super) docs: BTreeMap<(&'static str, &'static str), KeyDoc>,
    /// Every key that was asked for, with what it holds, to be shown.
    pub(super) asked: Vec<AskedKey>,
    unknown_keys: Vec<UnknownKey>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) hidden: Hidden,
}

/// A key that the configuration knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KnownKey {
    /// As it is written: `public`, `redis.channel`; empty for the sections themselves.
    pub(super) section: &'static str,
    pub(super) name: String,
    /// Its variable, unless it is a section or stands in an array of tables.
    pub(super) variable: Option<String>,
    pub(super) secret: bool,
}

/// What the reference says of a section.
pub(super) struct SectionDoc {
    pub(super) name: &'static str,
    pub(super) numbered: bool,
    pub(super) optional: bool,
    pub(super) about: &'static str,
}

/// What the reference says of a key.
pub(super) struct KeyDoc {
    pub(super) kind: KeyKind,
    pub(super) sample: &'static str,
    pub(super) about: &'static str,
    /// What a value, or an entry of an array, may be.
    pub(super) accepts: String,
}

/// How a key is given, for the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyKind {
    /// Its sample is the default.
    Value,
    /// An array; its sample is the default.
    List,
    /// Its sample is an example; it is unset by default.
    Optional,
    /// Its sample is an example; it has to be given.
    Required,
    /// The path of a file, whose content counts.
    File,
    /// Another way to say what the key before says.
    Instead,
}

/// A problem before its snippet is cut.
pub(super) struct Diagnostic {
    pub(super) place: Location,
    pub(super) key: String,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
    pub(super) severity: Severity,
}

/// What no snippet may show: parts of the file, and variables.
#[derive(Default)]
pub(super) struct Hidden {
    pub(super) parts: Vec<Range<usize>>,
    pub(super) variables: BTreeSet<String>,
}

/// A key of the file that nobody asked for.
struct UnknownKey {
    section: &'static str,
    /// The section is one of an array of tables.
    numbered: bool,
    name: String,
    at: Range<usize>,
    is_table: bool,
}

impl Reader {
    /// A reader of `environment` and of a file in `folder`.
    pub(super) fn new(environment: Environment, folder: Option<&Path>) -> Self {
        Self {
            environment,
            folder: folder.map(Path::to_owned).unwrap_or_default(),
            dry: false,
            keys: Vec::new(),
            places: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            sections: Vec::new(),
            docs: BTreeMap::new(),
            asked: Vec::new(),
            unknown_keys: Vec::new(),
            diagnostics: Vec::new(),
            hidden: Hidden::default(),
        }
    }

    pub(super) fn report(
        &mut self,
        place: Location,
        key: impl Into<String>,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if !self.dry {
            let (key, message, severity) = (key.into(), message.into(), Severity::Error);
            self.diagnostics.push(Diagnostic { place, key, message, suggestion, severity });
        }
    }

    /// Whether the value of the key with this full name has been complained of.
    pub(super) fn refused(&self, name: &str) -> bool {
        matches!(self.places.get(name), Some(None))
    }

    /// No snippet will show this part of the file.
    pub(super) fn hide(&mut self, part: Range<usize>) {
        self.hidden.parts.push(part);
    }

    /// No snippet will show the values in `value`.
    pub(super) fn hide_all(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => table.values().for_each(|value| self.hide_all(value)),
            DeValue::Array(array) => array.iter().for_each(|value| self.hide_all(value)),
            _ => self.hide(value.span()),
        }
    }

    pub(super) fn hide_variable(&mut self, name: String) {
        self.hidden.variables.insert(name);
    }

    /// Notes a key that nobody asked for, with its value.
    pub(super) fn note_unknown(
        &mut self,
        section: &'static str,
        numbered: bool,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        // Under its right name it may be a secret.
        self.hide_all(value);
        let is_table = match value.get_ref() {
            DeValue::Table(_) => true,
            DeValue::Array(array) => matches!(array.first().map(Spanned::get_ref), Some(DeValue::Table(_))),
            _ => false,
        };
        let name = key.get_ref().as_ref().to_owned();
        self.unknown_keys.push(UnknownKey { section, numbered, name, at: key.span(), is_table });
    }

    pub(super) fn report_unknown_keys(&mut self, known: &[KnownKey]) {
        for UnknownKey { section, numbered, name, at, is_table } in std::mem::take(&mut self.unknown_keys) {
            let siblings = known.iter().filter(|key| key.section == section).map(|key| &*key.name);
            let homes: Vec<String> = known
                .iter()
                .filter(|key| key.name == name && !key.section.is_empty())
                .map(|key| written(key.section, key.variable.is_none()))
                .collect();
            let suggestion = match nearest(&name, siblings.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if !homes.is_empty() => format!("it belongs in {}", homes.join(" or ")),
                None => format!("known here: {}", siblings.collect::<Vec<_>>().join(", ")),
            };
            let name = printable(&name);
            let message = match section {
                "" if is_table => format!("unknown section `{name}`"),
                "" => format!("unknown key `{name}` outside of all sections"),
                section => format!("unknown key `{name}` in {}", written(section, numbered)),
            };
            self.report(Location::File(at), join(section, &name), message, Some(suggestion));
        }
    }

    pub(super) fn report_unknown_variables(&mut self, known: &[KnownKey]) {
        let unknown: Vec<String> = self.environment.unknown().map(str::to_owned).collect();
        for name in unknown {
            let in_file_only = known
                .iter()
                .filter(|key| key.variable.is_none() && !key.section.is_empty())
                .find(|key| Environment::name(key.section, &key.name) == name);
            let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
            let variables: Vec<String> =
                known.iter().filter_map(|key| key.variable.as_deref()).map(bare).collect();
            let meant = nearest(&bare(&name), variables.iter().map(String::as_str));
            let in_a_section = known
                .iter()
                .filter(|key| !key.section.is_empty())
                .any(|key| name.starts_with(&Environment::name(key.section, "")));
            let suggestion = match (in_file_only, meant) {
                (Some(key), _) => Some(format!("[[{}]] is read from the file only", key.section)),
                (None, Some(meant)) => Some(format!("did you mean `{PREFIX}{meant}`?")),
                (None, None) if in_a_section => None,
                // Somebody else's.
                (None, None) => continue,
            };
            self.hide_variable(name.clone());
            let message = format!("unknown variable `{}`", printable(&name));
            self.report(Location::Variable(name), "", message, suggestion);
        }
    }
}

/// A key's full name.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A section as it is written in the file.
pub(super) fn written(section: &str, numbered: bool) -> String {
    if numbered { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// A word that somebody typed, fit for a line of a message.
fn printable(word: &str) -> String {
    let mut shown: String = word.chars().take(60).flat_map(char::escape_debug).collect();
    if word.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}
