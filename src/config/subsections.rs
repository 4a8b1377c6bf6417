//! The sections below a section: tables, tables that may be left out, and arrays of tables.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::location::Location;
use crate::config::raw::kind;
use crate::config::reader::join;
use crate::config::section_reader::SectionReader;

/// A section below another.
struct Child<'a> {
    name: &'static str,
    full: String,
    table: Option<&'a DeTable<'a>>,
    place: Location,
    numbered: bool,
    optional: bool,
}

impl<'a> SectionReader<'_, 'a> {
    /// Reads the section `key`, whether it is there or not.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut SectionReader<'_, 'a>) -> T,
    ) -> T {
        self.subsection(key, key, false, read)
    }

    /// Reads the section that is written `[name]`; `key` is its name's last word.
    fn subsection<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        optional: bool,
        read: impl FnOnce(&mut SectionReader<'_, 'a>) -> T,
    ) -> T {
        self.know(key, false);
        let (table, place) = match self.entry(key) {
            Some((at, value)) => match value.get_ref() {
                // A header is shown with its brackets.
                DeValue::Table(table) if value.span().start < at.start => {
                    (Some(table), Location::File(value.span()))
                }
                DeValue::Table(table) => (Some(table), Location::File(at)),
                other => {
                    let message = format!("`{key}` must be one table, not {}", kind(other));
                    self.misshapen(key, at, value, message, format!("write [{name}]"));
                    (None, Location::Missing)
                }
            },
            None => (None, Location::Missing),
        };
        let full = join(&self.full, key);
        self.child(Child { name, full, table, place, numbered: false, optional }, read)
    }

    /// Reads the section that is written `[name]` if it stands in the file or one of its variables is set; `key` is
    /// its name's last word.
    pub(super) fn optional_section<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl FnOnce(&mut SectionReader<'_, 'a>) -> T,
    ) -> Option<T> {
        let there = self.reader.dry
            || self.table.is_some_and(|table| table.contains_key(key))
            || self.reader.environment.any_of(name);
        there.then(|| self.subsection(name, key, true, read))
    }

    /// Reads every table of the array of tables that is written `[[name]]`; `key` is its name's last word.
    pub(super) fn tables<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl Fn(&mut SectionReader<'_, 'a>) -> T,
    ) -> Vec<T> {
        self.array(name, key, true, read)
    }

    /// As [`tables`](Self::tables), but without any there is one with the defaults.
    pub(super) fn tables_or_default<T: Default>(
        &mut self,
        name: &'static str,
        key: &'static str,
        read: impl Fn(&mut SectionReader<'_, 'a>) -> T,
    ) -> Vec<T> {
        let tables = self.array(name, key, false, read);
        if tables.is_empty() { vec![T::default()] } else { tables }
    }

    fn array<T>(
        &mut self,
        name: &'static str,
        key: &'static str,
        optional: bool,
        read: impl Fn(&mut SectionReader<'_, 'a>) -> T,
    ) -> Vec<T> {
        self.know(key, false);
        let full = join(&self.full, key);
        if self.reader.dry {
            let child = Child { name, full, table: None, place: Location::Missing, numbered: true, optional };
            return vec![self.child(child, read)];
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
            let place = Location::File(value.span());
            let child = Child { name, full, table: Some(table), place, numbered: true, optional };
            all.push(self.child(child, &read));
        }
        all
    }

    fn child<T>(&mut self, child: Child<'a>, read: impl FnOnce(&mut SectionReader<'_, 'a>) -> T) -> T {
        let Child { name, full, table, place, numbered, optional } = child;
        if let (false, Location::File(_)) = (numbered, &place) {
            self.reader.places.insert(full.clone(), Some(place.clone()));
        }
        let (reader, asked) = (&mut *self.reader, BTreeSet::new());
        let mut section = SectionReader { reader, name, full, table, place, numbered, optional, asked };
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
        self.reader.report(Location::File(at), name, message, Some(suggestion));
    }
}
