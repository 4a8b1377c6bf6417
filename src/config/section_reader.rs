//! One section, asked key by key: the environment's value goes before the file's, the file's before the default.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::asked_key::AskedKey;
use crate::config::environment::{Environment, PORT, Variable};
use crate::config::key_spec::KeySpec;
use crate::config::location::Location;
use crate::config::parsers::Parse;
use crate::config::problem::Severity;
use crate::config::raw::{RawValue, Rejection, kind};
use crate::config::reader::{KeyDoc, KeyKind, KnownKey, Reader, SectionDoc, join, written};

/// One table of the file with the variables of its keys. A refused value is complained of, and replaced by the
/// default so that the reading goes on.
pub(super) struct SectionReader<'r, 'a> {
    pub(super) reader: &'r mut Reader,
    /// As it is written; empty for the whole file.
    pub(super) name: &'static str,
    /// With its place in an array of tables: `stream[2]`.
    pub(super) full: String,
    pub(super) table: Option<&'a DeTable<'a>>,
    pub(super) place: Location,
    /// One of an array of tables: it has no variables.
    pub(super) numbered: bool,
    /// Nothing of it holds unless it is there.
    pub(super) optional: bool,
    pub(super) asked: BTreeSet<String>,
}

impl<'r, 'a> SectionReader<'r, 'a> {
    pub(super) fn root(reader: &'r mut Reader, table: Option<&'a DeTable<'a>>) -> Self {
        Self {
            reader,
            name: "",
            full: String::new(),
            table,
            place: Location::Missing,
            numbered: false,
            optional: false,
            asked: BTreeSet::new(),
        }
    }

    /// Says what the section is, for the reference.
    pub(super) fn describe(&mut self, about: &'static str) {
        if self.reader.dry && !about.is_empty() {
            let Self { name, numbered, optional, .. } = *self;
            self.reader.sections.push(SectionDoc { name, numbered, optional, about });
        }
    }

    /// Says what a key is, for the reference.
    pub(super) fn document<T>(&mut self, key: KeySpec, kind: KeyKind, parser: &impl Parse<T>) {
        if self.reader.dry {
            let doc = KeyDoc { kind, sample: key.sample, about: key.about, accepts: parser.accepts() };
            self.reader.docs.insert((self.name, key.name), doc);
        }
    }

    /// The value of a key, or its default.
    pub(super) fn value<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> T {
        self.document(key, KeyKind::Value, &parser);
        self.get(key.name, false, &parser).unwrap_or_else(|| default_value(key, &parser))
    }

    /// The values of an array (in the environment: with commas between them), or its default.
    pub(super) fn list<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Vec<T> {
        self.document(key, KeyKind::List, &parser);
        match self.find(key.name, false) {
            Some((raw, place)) => self.entries(key.name, raw, place, &parser).unwrap_or_default(),
            None => default_list(key, &parser),
        }
    }

    /// The values of an array, or one value alone, or the default. Never empty.
    pub(super) fn one_or_more<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Vec<T> {
        self.document(key, KeyKind::Value, &parser);
        if let Some(doc) = self.reader.docs.get_mut(&(self.name, key.name)) {
            doc.accepts.push_str(", or an array of them");
        }
        let found = self.find(key.name, false).and_then(|(raw, place)| {
            let many = match &raw {
                RawValue::Text(text) => text.contains(','),
                RawValue::Toml(value) => matches!(value, DeValue::Array(_)),
            };
            let subject = subject(key.name, &place);
            if !many {
                let value = parser.parse(&raw);
                return self.judge(key.name, &subject, place, value).map(|value| vec![value]);
            }
            let values = self.entries(key.name, raw, place.clone(), &parser)?;
            let some =
                if values.is_empty() { Err("must have at least one entry".into()) } else { Ok(values) };
            self.judge(key.name, &subject, place, some)
        });
        found.unwrap_or_else(|| vec![default_value(key, &parser)])
    }

    /// The values of an array that is empty by default: its sample is an example.
    pub(super) fn list_or_empty<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Vec<T> {
        self.document(key, KeyKind::Optional, &parser);
        let found = self.find(key.name, false);
        found.and_then(|(raw, place)| self.entries(key.name, raw, place, &parser)).unwrap_or_default()
    }

    /// The value of a key, if there is one.
    pub(super) fn optional<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Option<T> {
        self.document(key, KeyKind::Optional, &parser);
        self.get(key.name, false, &parser)
    }

    /// The value of a key that says in another way what the key before says. What stands there by mistake may be a
    /// secret, and is not shown.
    pub(super) fn instead<T>(&mut self, key: KeySpec, parser: impl Parse<T>) -> Option<T> {
        self.document(key, KeyKind::Instead, &parser);
        self.get(key.name, true, &parser)
    }

    /// The value of a key that has no default: `lack` says what to do without it.
    pub(super) fn required<T>(&mut self, key: KeySpec, lack: &str, stand_in: T, parser: impl Parse<T>) -> T {
        self.document(key, KeyKind::Required, &parser);
        let value = self.get(key.name, false, &parser);
        self.or_lacks(value, &[key.name], lack, stand_in)
    }

    /// As [`required`](Self::required); what stands there may be a secret, and is not shown.
    pub(super) fn required_hidden<T>(
        &mut self,
        key: KeySpec,
        lack: &str,
        stand_in: T,
        parser: impl Parse<T>,
    ) -> T {
        self.document(key, KeyKind::Required, &parser);
        let value = self.get(key.name, true, &parser);
        self.or_lacks(value, &[key.name], lack, stand_in)
    }

    /// `value`, or `stand_in` with the complaint that the first of `keys` is not there, unless one was refused.
    pub(super) fn or_lacks<T>(&mut self, value: Option<T>, keys: &[&str], lack: &str, stand_in: T) -> T {
        value.unwrap_or_else(|| {
            let message = format!("`{}` is missing in {}", keys[0], written(self.name, self.numbered));
            self.report(keys, message, Some(lack.to_owned()));
            stand_in
        })
    }

    /// Whether anything in the section of this name has been complained of.
    pub(super) fn reported(&self, section: &str) -> bool {
        let within = |key: &str| {
            key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let errors = self.reader.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        errors.into_iter().any(|one| within(&one.key))
    }

    fn get<T>(&mut self, key: &str, hidden: bool, parser: &impl Parse<T>) -> Option<T> {
        let (raw, place) = self.find(key, hidden)?;
        let subject = subject(key, &place);
        self.judge(key, &subject, place, parser.parse(&raw))
    }

    /// Whether a value was given for the key, and was not refused; dots lead into sections below.
    pub(super) fn given(&self, key: &str) -> bool {
        matches!(self.reader.places.get(&join(&self.full, key)), Some(Some(_)))
    }

    /// Whether somebody wrote the key, refused or not.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.reader.places.contains_key(&join(&self.full, key))
    }

    /// The value of a variable that is not one of ours; an empty one counts as unset.
    pub(super) fn foreign_variable(&self, name: &str) -> Option<String> {
        self.reader.environment.foreign(name).map(str::to_owned)
    }

    /// Whether the platform said it, by `PORT`.
    pub(super) fn is_of_the_platform(&self, key: &str) -> bool {
        let place = self.reader.places.get(&join(&self.full, key));
        matches!(place, Some(Some(Location::Variable(name))) if name == PORT)
    }

    /// As [`report`](Self::report), but the configuration is taken all the same.
    pub(super) fn warn(
        &mut self,
        severity: Severity,
        keys: &[&str],
        message: impl Into<String>,
        suggestion: &str,
    ) {
        let before = self.reader.diagnostics.len();
        self.report(keys, message, Some(suggestion.to_owned()));
        self.reader.diagnostics[before..].iter_mut().for_each(|diagnostic| diagnostic.severity = severity);
    }

    /// Complains of `keys`, which do not fit together, unless one of them has been complained of already. What is
    /// shown is the first of them that somebody set.
    pub(super) fn report(&mut self, keys: &[&str], message: impl Into<String>, suggestion: Option<String>) {
        let names: Vec<String> = keys.iter().map(|key| join(&self.full, key)).collect();
        if self.reader.refused(&self.full) || names.iter().any(|name| self.reader.refused(name)) {
            return;
        }
        let place = names.iter().find_map(|name| self.reader.places.get(name).cloned().flatten());
        let place = place.unwrap_or_else(|| self.place.clone());
        let name = names.into_iter().next().unwrap_or_default();
        self.reader.report(place, name, message, suggestion);
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn leave(self) {
        for (key, value) in self.table.into_iter().flatten() {
            if !self.asked.contains(key.get_ref().as_ref()) {
                self.reader.note_unknown(self.name, self.numbered, key, value);
            }
        }
    }

    /// The value of `key`, and where it stands.
    pub(super) fn find(&mut self, key: &str, secret: bool) -> Option<(RawValue<'a>, Location)> {
        let found = self.look_up(key, secret);
        if !self.reader.dry {
            let (full, name) = (self.full.clone(), key.to_owned());
            let written = found.as_ref().map(|(raw, place)| (raw, place));
            self.reader.asked.push(AskedKey::new(self.name, full, name, secret, written));
        }
        found
    }

    fn look_up(&mut self, key: &str, secret: bool) -> Option<(RawValue<'a>, Location)> {
        self.know(key, secret);
        if let Some((text, place)) = self.variable(key, secret) {
            return Some((RawValue::Text(text), place));
        }
        let Some((_, value)) = self.entry(key) else { return self.of_the_platform(key) };
        if secret {
            self.reader.hide_all(value);
        }
        let place = Location::File(value.span());
        match self.expanded(RawValue::Toml(value.get_ref())) {
            Ok(raw) => Some((raw, place)),
            Err(rejection) => {
                self.judge::<String>(key, &subject(key, &place), place.clone(), Err(rejection))?;
                None
            }
        }
    }

    /// What the platform says of a key that nobody has given: `PORT` is where the public listener has to be.
    fn of_the_platform(&mut self, key: &str) -> Option<(RawValue<'a>, Location)> {
        if (self.name, key) != ("public", "listen") {
            return None;
        }
        let port = self.foreign_variable(PORT)?;
        let place = Location::Variable(PORT.to_owned());
        match port.parse::<u16>() {
            Ok(port) => Some((RawValue::Text(format!("0.0.0.0:{port}")), place)),
            Err(_) => {
                let lack = "must be a port from 0 to 65535: it says where the public listener is, unless listen in \
                            [public] does";
                self.judge::<String>(key, &subject(key, &place), place.clone(), Err(lack.into()))?;
                None
            }
        }
    }

    /// A string of the file with the variables that it names put in.
    fn expanded<'v>(&self, raw: RawValue<'v>) -> Result<RawValue<'v>, Rejection> {
        match raw {
            RawValue::Toml(DeValue::String(text)) if text.contains("${") => {
                self.reader.environment.expand(text).map(RawValue::Text)
            }
            raw => Ok(raw),
        }
    }

    /// The text of the variable of `key`, if it is set.
    fn variable(&mut self, key: &str, secret: bool) -> Option<(String, Location)> {
        if self.numbered {
            return None;
        }
        let name = Environment::name(self.name, key);
        let set = self.reader.environment.take(&name);
        if set == Variable::Unset {
            return None;
        }
        if secret {
            self.reader.hide_variable(name.clone());
        }
        let place = match self.reader.environment.option(&name) {
            Some(option) => Location::Argument(option, name.clone()),
            None => Location::Variable(name.clone()),
        };
        let lack = match set {
            Variable::Text(text) if !text.is_empty() => return Some((text, place)),
            Variable::Text(_) => "is set, but empty: unset it or give it a value",
            Variable::Unset | Variable::NotUtf8 => "is not UTF-8",
        };
        self.judge::<String>(key, &subject(key, &place), place.clone(), Err(lack.into()))?;
        None
    }

    pub(super) fn entry(&self, key: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        self.table?.get_key_value(key).map(|(key, value)| (key.span(), value))
    }

    /// From now on `key` is a key of this section.
    pub(super) fn know(&mut self, key: &str, secret: bool) {
        self.asked.insert(key.to_owned());
        if self.reader.dry {
            let has_variable = !self.numbered && !self.name.is_empty();
            let variable = has_variable.then(|| Environment::name(self.name, key));
            let (section, name) = (self.name, key.to_owned());
            self.reader.keys.push(KnownKey { section, name, variable, secret });
        }
    }

    /// Keeps in mind where the value came from, or complains of it: `subject` begins the sentence.
    pub(super) fn judge<T>(
        &mut self,
        key: &str,
        subject: &str,
        place: Location,
        value: Result<T, Rejection>,
    ) -> Option<T> {
        let name = join(&self.full, key);
        match value {
            Ok(value) => {
                self.reader.places.insert(name, Some(place));
                Some(value)
            }
            Err(Rejection { message, suggestion }) => {
                self.reader.report(place, name.clone(), format!("{subject} {message}"), suggestion);
                self.reader.places.insert(name, None);
                None
            }
        }
    }

    /// The entries of an array, or of a variable with commas.
    pub(super) fn entries<T>(
        &mut self,
        key: &str,
        raw: RawValue<'_>,
        place: Location,
        parser: &impl Parse<T>,
    ) -> Option<Vec<T>> {
        let subject = subject(key, &place);
        let entries = match raw {
            RawValue::Text(text) => text
                .split(',')
                .map(|entry| (RawValue::Text(entry.trim().to_owned()), place.clone()))
                .collect(),
            RawValue::Toml(DeValue::Array(array)) => array
                .iter()
                .map(|value| (RawValue::Toml(value.get_ref()), Location::File(value.span())))
                .collect::<Vec<_>>(),
            RawValue::Toml(other) => {
                let refusal = Rejection::with(
                    format!("must be an array, not {}", kind(other)),
                    format!("write it in brackets: {key} = [\"…\"]"),
                );
                return self.judge(key, &subject, place, Err(refusal));
            }
        };
        self.each_entry(key, &format!("entry {{}} of {subject}"), entries, place, parser)
    }

    /// The values of `entries`; in `subject`, `{}` stands for an entry's number.
    pub(super) fn each_entry<T>(
        &mut self,
        key: &str,
        subject: &str,
        entries: Vec<(RawValue<'_>, Location)>,
        place: Location,
        parser: &impl Parse<T>,
    ) -> Option<Vec<T>> {
        let mut values = Vec::with_capacity(entries.len());
        let mut refused = false;
        for (number, (raw, at)) in (1..).zip(entries) {
            let subject = subject.replace("{}", &format!("{number}"));
            let value = self.expanded(raw).and_then(|raw| parser.parse(&raw));
            match self.judge(key, &subject, at, value) {
                Some(value) => values.push(value),
                None => refused = true,
            }
        }
        self.reader.places.insert(join(&self.full, key), (!refused).then_some(place));
        (!refused).then_some(values)
    }
}

/// What a sentence about a value begins with.
pub(super) fn subject(key: &str, place: &Location) -> String {
    match place {
        Location::Variable(name) => format!("`{name}`"),
        Location::Argument(option, _) => format!("`{option}`"),
        Location::File(_) | Location::Missing => format!("`{key}`"),
    }
}

/// The default of a key, which is written as it would be in a file.
fn default_value<T>(key: KeySpec, parser: &impl Parse<T>) -> T {
    let value = DeValue::parse(key.sample).expect("a default is TOML");
    understood(key, parser, &value)
}

fn default_list<T>(key: KeySpec, parser: &impl Parse<T>) -> Vec<T> {
    let value = DeValue::parse(key.sample).expect("a default is TOML");
    let DeValue::Array(entries) = value.get_ref() else {
        panic!("the default of {} is an array", key.name);
    };
    entries.iter().map(|entry| understood(key, parser, entry)).collect()
}

fn understood<T>(key: KeySpec, parser: &impl Parse<T>, value: &Spanned<DeValue<'_>>) -> T {
    let value = parser.parse(&RawValue::Toml(value.get_ref()));
    value.unwrap_or_else(|rejection| panic!("the default of {} {}", key.name, rejection.message))
}
