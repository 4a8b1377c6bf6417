//! What every parser is.

use toml::de::{DeTable, DeValue};

use crate::config::raw::{RawValue, Rejection};

/// Makes a `T` of a value. Functions from `&RawValue` to a result are parsers.
pub(in crate::config) trait Parse<T> {
    fn parse(&self, raw: &RawValue<'_>) -> Result<T, Rejection>;

    /// What a value may be, for the reference: what the rejection of a value of the wrong type asks for.
    fn accepts(&self) -> String {
        let table = DeValue::Table(DeTable::new());
        let message = match self.parse(&RawValue::Toml(&table)) {
            Ok(_) => String::new(),
            Err(rejection) => rejection.message,
        };
        let wanted = message.strip_prefix("must be ").unwrap_or(&message);
        wanted.strip_suffix(", not a table").unwrap_or(wanted).to_owned()
    }
}

impl<T, F: Fn(&RawValue<'_>) -> Result<T, Rejection>> Parse<T> for F {
    fn parse(&self, raw: &RawValue<'_>) -> Result<T, Rejection> {
        self(raw)
    }
}
