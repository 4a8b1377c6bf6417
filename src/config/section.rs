//! One section, asked key by key: the environment's value goes before the file's, the file's before the default.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::environment::Environment;
use crate::config::raw::{Raw, Refusal, kind};
use crate::config::reader::{Key, Place, Reader, join, written};

/// One table of the file with the variables of its keys. A refused value is complained of, and replaced by the
/// default so that the reading goes on.
pub(super) struct Section<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    /// As it is written; empty for the whole file.
    name: &'static str,
    /// With its place in an array of tables: `stream[2]`.
    full: String,
    table: Option<&'a DeTable<'a>>,
    place: Place,
    /// One of an array of tables: it has no variables.
    numbered: bool,
    asked: BTreeSet<String>,
}

impl<'r, 'a> Section<'r, 'a> {
    pub(super) fn root(reader: &'r mut Reader<'a>, table: Option<&'a DeTable<'a>>) -> Self {
        Self {
            reader,
            name: "",
            full: String::new(),
            table,
            place: Place::Missing,
            numbered: false,
            asked: BTreeSet::new(),
        }
    }

    /// The value of `key`, or `default`.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        default: T,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> T {
        self.optional(key, form).unwrap_or(default)
    }

    /// The value of `key`, if there is one.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let (raw, place) = self.find(key, false)?;
        let subject = subject(key, &place);
        self.judge(key, &subject, place, form(&raw))
    }

    /// The value of `key`, if there is one; what stands there by mistake may be a secret, and is not shown.
    pub(super) fn hidden<T>(
        &mut self,
        key: &'static str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let (raw, place) = self.find(key, true)?;
        let subject = subject(key, &place);
        self.judge(key, &subject, place, form(&raw))
    }

    /// The value of `key`, which has no default: `lack` says what to do without it.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        stand_in: T,
        lack: &str,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> T {
        let value = self.optional(key, form);
        if value.is_none() {
            self.lacks(key, lack);
        }
        value.unwrap_or(stand_in)
    }

    /// The values of the array `key` (in the environment: with commas between them), or `default`.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        default: Vec<T>,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Vec<T> {
        match self.find(key, false) {
            Some((raw, place)) => self.entries(key, raw, place, form).unwrap_or_default(),
            None => default,
        }
    }

    /// Complains of `keys`, which do not fit together, unless one of them has been complained of already. What is
    /// shown is the first of them that somebody set.
    pub(super) fn complain(&mut self, keys: &[&str], message: impl Into<String>, suggestion: Option<String>) {
        let names: Vec<String> = keys.iter().map(|key| join(&self.full, key)).collect();
        if self.reader.refused(&self.full) || names.iter().any(|name| self.reader.refused(name)) {
            return;
        }
        let place = names.iter().find_map(|name| self.reader.places.get(name).cloned().flatten());
        let place = place.unwrap_or_else(|| self.place.clone());
        let name = names.into_iter().next().unwrap_or_default();
        self.reader.complain(place, name, message, suggestion);
    }

    /// Complains that `key` is not there, unless it was refused.
    pub(super) fn lacks(&mut self, key: &'static str, lack: &str) {
        let message = format!("`{key}` is missing in {}", written(self.name, self.numbered));
        self.complain(&[key], message, Some(lack.to_owned()));
    }

    /// Reads the section `key`, whether it is there or not.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        self.subsection(key, key, read)
    }

    /// Reads the section that is written `[name]`; `key` is its name's last word.
    pub(super) fn subsection<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        self.know(key, false);
        let (table, place) = match self.entry(key) {
            Some((at, value)) => match value.get_ref() {
                // A header is shown with its brackets.
                DeValue::Table(table) if value.span().start < at.start => {
                    (Some(table), Place::File(value.span()))
                }
                DeValue::Table(table) => (Some(table), Place::File(at)),
                other => {
                    let message = format!("`{key}` must be one table, not {}", kind(other));
                    self.misshapen(key, at, value, message, format!("write [{name}]"));
                    (None, Place::Missing)
                }
            },
            None => (None, Place::Missing),
        };
        let full = join(&self.full, key);
        self.child(name, full, table, place, false, read)
    }

    /// Reads the section `key` if it stands in the file or one of its variables is set.
    pub(super) fn section_if_there<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> Option<T> {
        self.subsection_if_there(key, key, read)
    }

    /// Reads the section that is written `[name]` if it stands in the file or one of its variables is set; `key` is
    /// its name's last word.
    pub(super) fn subsection_if_there<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> Option<T> {
        let there = self.reader.dry
            || self.table.is_some_and(|table| table.contains_key(key))
            || self.reader.environment.any_of(name);
        there.then(|| self.subsection(name, key, read))
    }

    /// Reads every table of the array of tables that is written `[[name]]`; `key` is its name's last word.
    pub(super) fn each<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl Fn(&mut Section<'_, 'a>) -> T,
    ) -> Vec<T> {
        self.know(key, false);
        let full = join(&self.full, key);
        if self.reader.dry {
            return vec![self.child(name, full, None, Place::Missing, true, read)];
        }
        let Some((at, value)) = self.entry(key) else { return Vec::new() };
        let write = format!("write [[{name}]]");
        let DeValue::Array(array) = value.get_ref() else {
            let message = format!("`{key}` must be an array of tables, not {}", kind(value.get_ref()));
            self.misshapen(key, at, value, message, write);
            return Vec::new();
        };
        let mut all = Vec::new();
        for (index, value) in array.iter().enumerate() {
            let DeValue::Table(table) = value.get_ref() else {
                let message = format!("`{key}` must hold tables, not {}", kind(value.get_ref()));
                self.misshapen(key, value.span(), value, message, write.clone());
                continue;
            };
            let full = format!("{full}[{}]", index + 1);
            all.push(self.child(name, full, Some(table), Place::File(value.span()), true, &read));
        }
        all
    }

    /// Notes the keys that nobody asked for.
    pub(super) fn leave(self) {
        for (key, value) in self.table.into_iter().flatten() {
            if !self.asked.contains(key.get_ref().as_ref()) {
                self.reader.stranger(self.name, self.numbered, key, value);
            }
        }
    }

    fn child<T>(
        &mut self,
        name: &'static str,
        full: String,
        table: Option<&'a DeTable<'a>>,
        place: Place,
        numbered: bool,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let reader = &mut *self.reader;
        let mut section = Section { reader, name, full, table, place, numbered, asked: BTreeSet::new() };
        let value = read(&mut section);
        section.leave();
        value
    }

    fn misshapen(
        &mut self,
        key: &str,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        message: String,
        suggestion: String,
    ) {
        let name = join(&self.full, key);
        self.reader.hide_all(value);
        self.reader.places.insert(name.clone(), None);
        self.reader.complain(Place::File(at), name, message, Some(suggestion));
    }

    /// The value of `key`, and where it stands.
    pub(super) fn find(&mut self, key: &str, secret: bool) -> Option<(Raw<'a>, Place)> {
        self.know(key, secret);
        let variable = self.variable(key, secret);
        if let (Some(text), "public", "backend") = (self.reader.backend, self.name, key) {
            return Some((Raw::Text(text.to_owned()), Place::Argument));
        }
        if let Some((text, place)) = variable {
            return Some((Raw::Text(text), place));
        }
        let (_, value) = self.entry(key)?;
        if secret {
            self.reader.hide_all(value);
        }
        Some((Raw::Toml(value.get_ref()), Place::File(value.span())))
    }

    /// The text of the variable of `key`, if it is set.
    fn variable(&mut self, key: &str, secret: bool) -> Option<(String, Place)> {
        if self.numbered {
            return None;
        }
        let name = Environment::name(self.name, key);
        let set = self.reader.environment.take(&name)?;
        if secret {
            self.reader.hide_variable(name.clone());
        }
        let place = Place::Variable(name.clone());
        let lack = match set.as_deref() {
            Some("") => "is set, but empty: unset it or give it a value",
            None => "is not UTF-8",
            Some(_) => return set.map(|text| (text, place)),
        };
        self.judge::<String>(key, &format!("`{name}`"), place, Err(lack.into()))?;
        None
    }

    fn entry(&self, key: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        self.table?.get_key_value(key).map(|(key, value)| (key.span(), value))
    }

    /// From now on `key` is a key of this section.
    fn know(&mut self, key: &str, secret: bool) {
        self.asked.insert(key.to_owned());
        if self.reader.dry {
            let has_variable = !self.numbered && !self.name.is_empty();
            let variable = has_variable.then(|| Environment::name(self.name, key));
            self.reader.keys.push(Key { section: self.name, name: key.to_owned(), variable, secret });
        }
    }

    /// Keeps in mind where the value came from, or complains of it: `subject` begins the sentence.
    pub(super) fn judge<T>(
        &mut self,
        key: &str,
        subject: &str,
        place: Place,
        value: Result<T, Refusal>,
    ) -> Option<T> {
        let name = join(&self.full, key);
        match value {
            Ok(value) => {
                self.reader.places.insert(name, Some(place));
                Some(value)
            }
            Err(Refusal { message, suggestion }) => {
                self.reader.complain(place, name.clone(), format!("{subject} {message}"), suggestion);
                self.reader.places.insert(name, None);
                None
            }
        }
    }

    /// The entries of an array, or of a variable with commas.
    pub(super) fn entries<T>(
        &mut self,
        key: &str,
        raw: Raw<'_>,
        place: Place,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let subject = subject(key, &place);
        let entries = match raw {
            Raw::Text(text) => {
                text.split(',').map(|entry| (Raw::Text(entry.trim().to_owned()), place.clone())).collect()
            }
            Raw::Toml(DeValue::Array(array)) => array
                .iter()
                .map(|value| (Raw::Toml(value.get_ref()), Place::File(value.span())))
                .collect::<Vec<_>>(),
            Raw::Toml(other) => {
                let refusal = Refusal::with(
                    format!("must be an array, not {}", kind(other)),
                    format!("write it in brackets: {key} = [\"…\"]"),
                );
                return self.judge(key, &subject, place, Err(refusal));
            }
        };
        self.each_entry(key, &format!("entry {{}} of {subject}"), entries, place, form)
    }

    /// The values of `entries`; in `subject`, `{}` stands for an entry's number.
    pub(super) fn each_entry<T>(
        &mut self,
        key: &str,
        subject: &str,
        entries: Vec<(Raw<'_>, Place)>,
        place: Place,
        form: impl Fn(&Raw<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let mut values = Vec::with_capacity(entries.len());
        let mut refused = false;
        for (number, (raw, at)) in (1..).zip(entries) {
            let subject = subject.replace("{}", &format!("{number}"));
            match self.judge(key, &subject, at, form(&raw)) {
                Some(value) => values.push(value),
                None => refused = true,
            }
        }
        self.reader.places.insert(join(&self.full, key), (!refused).then_some(place));
        (!refused).then_some(values)
    }
}

/// What a sentence about a value begins with.
pub(super) fn subject(key: &str, place: &Place) -> String {
    match place {
        Place::Variable(name) => format!("`{name}`"),
        Place::Argument => format!("`--{key}`"),
        Place::File(_) | Place::Missing => format!("`{key}`"),
    }
}
