//! A reading from its beginning to its end: of a file and the environment, of nothing at all, or of the keys alone.

use toml::de::DeTable;

use crate::config::asked_key::AskedKey;
use crate::config::environment::Environment;
use crate::config::reader::{Diagnostic, Hidden, KnownKey, Reader};
use crate::config::section_reader::SectionReader;

/// What came of a reading. The value is whole only without complaints.
pub(super) struct Findings<T> {
    pub(super) value: T,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) hidden: Hidden,
    pub(super) environment: Environment,
    pub(super) asked: Vec<AskedKey>,
}

/// Gathers what `read` asks for, whatever a file holds: its keys, and what the reference says of them.
pub(super) fn survey<T>(read: impl FnOnce(&mut SectionReader<'_, '_>) -> T) -> Reader {
    let mut reader = Reader::new(Environment::default(), None);
    reader.dry = true;
    read(&mut SectionReader::root(&mut reader, None));
    reader
}

/// Every key that `read` asks for.
pub(super) fn keys_of<T>(read: impl FnOnce(&mut SectionReader<'_, '_>) -> T) -> Vec<KnownKey> {
    survey(read).keys
}

/// What `read` makes of nothing at all: the defaults.
pub(super) fn defaults<T>(read: impl FnOnce(&mut SectionReader<'_, '_>) -> T) -> T {
    let mut reader = Reader::new(Environment::default(), None);
    read(&mut SectionReader::root(&mut reader, None))
}

/// Reads everything from `table` and the environment of `reader`.
pub(super) fn read_all<'a, T>(
    mut reader: Reader,
    table: Option<&'a DeTable<'a>>,
    read: impl FnOnce(&mut SectionReader<'_, 'a>) -> T,
    known: &[KnownKey],
) -> Findings<T> {
    let mut root = SectionReader::root(&mut reader, table);
    let value = read(&mut root);
    root.leave();
    reader.report_unknown_keys(known);
    reader.report_unknown_variables(known);
    let Reader { environment, diagnostics, hidden, asked, .. } = reader;
    Findings { value, diagnostics, hidden, environment, asked }
}
