//! `[instance]`

use crate::config::parsers::label;
use crate::config::schema::table::section;

section! {
    /// This daemon among those that share a Redis. Every start draws an id of its own; the name is for people.
    pub struct Instance {
        /// Letters, digits, `-`, `_` and `.`; the machine's name unless it is set.
        name: Option<String> = optional("sidestream-1", label);
    }
}
